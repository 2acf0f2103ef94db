"""The section [data] of a study: where its rows are, and what their columns are called."""

from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from foldrace.errors import short_repr

Task = Literal["relation", "text", "pair"]
PATH_KEYS = ("train", "test", "labels", "extra")  # of [data]


class Section(BaseModel):
    """A section of a study file: no key that is unknown, and no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(given, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError(f"expected a number, found {str(given).lower()}")
        return given


class Columns(Section):
    """Which column of the data is what; one that is not given is found by its usual names.

    Attributes:
        text: the sentence; of a pair, its first one.
        pair: the second sentence of a pair.
        group: rows with the same value are never on both sides of a split.
        fold: the fold of each row, as the user splits them.
    """

    id: str | None = None
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    group: str | None = None
    fold: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The columns that are given, by what they are."""
        return {part: name for part, name in self if name is not None}

    @model_validator(mode="after")
    def _each_column_is_one_thing(self) -> Self:
        names = [name.strip().lower() for name in self.given.values()]
        for part, name in self.given.items():
            if not name.strip():
                raise ValueError(f"{part}: expected the name of a column, found {name!r}")
            if names.count(name.strip().lower()) > 1:
                raise ValueError(f"{part}: the column {name} is given twice")
        return self


class Data(Section):
    """Where the examples are. Paths are relative to the study file.

    Attributes:
        train: a file, or several whose rows are taken in their order.
        extra: files of rows that every fold trains on, and none is judged by.
        extra_copies: whether an extra row that is a copy of a training or test row is refused, or left out.
        task: whether rows are a sentence with two entities, a sentence, or a pair of sentences; None: by their columns.
        morphemes: splits texts into their morphemes before the tokenizer sees them; None: they stay as they are.
        inverse: the label of a row whose subject and object are exchanged, by its label. Each entry holds both ways; a
            symmetric relation is its own inverse. None: those of KLUE-RE and P-Stage.
        max_unknown: the share of tokens unknown to the model's tokenizer above which data is refused.
    """

    train: Path | tuple[Path, ...]
    test: Path | None = None
    labels: Path | None = None
    exclude_labels: tuple[str, ...] = ()
    extra: tuple[Path, ...] = ()
    extra_copies: Literal["refuse", "drop"] = "refuse"
    task: Task | None = None
    columns: Columns = Columns()
    morphemes: Literal["mecab"] | None = None
    inverse: dict[str, str] | None = None
    max_unknown: float = Field(0.05, ge=0, le=1)

    @property
    def files(self) -> dict[str, tuple[Path, ...]]:
        """The files that are given, by their key."""
        given = {key: getattr(self, key) for key in PATH_KEYS}
        return {key: one if isinstance(one, tuple) else (one,) for key, one in given.items() if one}

    @property
    def source(self) -> str:
        """The training files, for messages."""
        first, *more = self.files["train"]
        return f"{first} and {len(more)} more" if more else str(first)

    @field_validator("train", "extra", mode="before")
    @classmethod
    def _is_a_file_or_some(cls, given: Any, info: ValidationInfo) -> Any:
        listed = given if isinstance(given, list | tuple) else [given]
        is_missing = info.field_name == "train" and not listed
        if is_missing or not all(isinstance(one, str | Path) for one in listed):
            raise ValueError(f"expected a file or a list of files, found {short_repr(given)}")
        return given if info.field_name == "train" else listed

    @field_validator("train", "extra")
    @classmethod
    def _each_once(cls, files: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
        if isinstance(files, Path):
            return files
        repeated = next((file for file in files if files.count(file) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated} is listed twice")
        return files
