"""The section [data] of a study: where its rows are, and what their columns are called."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Task = Literal["relation", "text", "pair"]
PATH_KEYS = ("train", "test", "labels")  # of [data]


class Section(BaseModel):
    """A section of a study file: no key that is unknown, and no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
        task: whether rows are a sentence with two entities, a sentence, or a pair of sentences; None: by their columns.
        inverse: the label of a row whose subject and object are exchanged, by its label. Each entry holds both ways; a
            symmetric relation is its own inverse. None: those of KLUE-RE and P-Stage.
        max_unknown: the share of tokens unknown to the model's tokenizer above which data is refused.
    """

    train: Path
    test: Path | None = None
    labels: Path | None = None
    exclude_labels: tuple[str, ...] = ()
    task: Task | None = None
    columns: Columns = Columns()
    inverse: dict[str, str] | None = None
    max_unknown: float = Field(0.05, ge=0, le=1)
