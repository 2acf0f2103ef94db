"""What is asked for: a study as frozen models, each value checked against the table of knobs.

`loading` reads one from a file. Nothing here looks inside the data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from foldrace.errors import FoldraceError
from foldrace.studies.knobs import (
    Choices,
    Hyperparameters,
    Range,
    Setting,
    Value,
    bounds,
    is_integer,
    is_numeric,
    is_searchable,
)

Metric = Literal["accuracy", "micro_f1", "macro_f1", "auprc"]
Sampler = Literal["gp", "tpe"]
Pruner = Literal["racing", "median", "successive_halving", "hyperband", "none"]
Tracker = Literal["neptune", "mlflow", "tensorboard"]


class StudyError(FoldraceError):
    """The study file cannot be run as it is."""


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
NAME_RULE = "expected up to 100 Latin letters, digits, dots, dashes and underscores, the first a letter or digit"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(_Section):
    """Where the examples are. Paths are relative to the study file."""

    train: Path
    test: Path | None = None
    labels: Path | None = None
    exclude_labels: tuple[str, ...] = ()


class Model(_Section):
    """A name on the hub, a folder, or `tiny`; sentences are cut at `max_length` tokens."""

    name: str = Field("tiny", min_length=1)
    max_length: int = Field(128, ge=8, le=8192)


class Folds(_Section):
    """How the rows are split. One seed rules the split, the initial weights and the order of the batches."""

    count: int = Field(5, ge=2, le=100)
    seed: int = Field(77, ge=0, lt=2**31)
    oversample_minority: bool = True
    leaky_oversampling: bool = False


class Search(_Section):
    """The budget, what is maximised, and where it is remembered (a relative SQLite path: from the current folder).

    `risk` is the racing pruner's: the share of what trials can be expected to gain that may be lost.
    `stop_below_noise` ends the study when further trials can be expected to gain less than the folds' noise.
    """

    trials: int = Field(60, ge=1)
    metric: Metric = "accuracy"
    sampler: Sampler = "tpe"
    pruner: Pruner = "racing"
    risk: float = Field(0.05, ge=0, le=1)
    stop_below_noise: bool = False
    seed: int = Field(0, ge=0, lt=2**31)
    storage: str | None = None
    trackers: tuple[Tracker, ...] = ()
    checkpoint_minutes: float = Field(5.0, ge=0)
    lease_seconds: float = Field(60.0, gt=0)
    baseline: dict[str, Value] = {}


class Final(_Section):
    """The job that is handed in: its folds, how they vote, and the format of the submission."""

    folds: int = Field(8, ge=2, le=100)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((77,), min_length=1)
    vote: Literal["probabilities", "logits"] = "probabilities"
    submission: Literal["pred", "probs"] = "pred"

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        repeated = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if repeated is not None:
            raise ValueError(f"the seed {repeated} is listed twice; its folds would vote twice")
        return seeds


class Study(_Section):
    """A whole study file. `training` holds only what the file says; every other knob has its default."""

    name: str = Field(pattern=NAME)
    data: Data
    model: Model = Model()
    folds: Folds = Folds()
    training: dict[str, Setting] = {}
    search: Search = Search()
    final: Final = Final()

    @model_validator(mode="after")
    def _knobs_are_known_and_within_bounds(self) -> Self:
        for knob, setting in self.training.items():
            check_setting(knob, setting)
        for knob, value in self.search.baseline.items():
            if knob not in self.searched:
                raise ValueError(f"search.baseline.{knob}: not a knob that [training] searches")
            check_setting(knob, value, where=f"search.baseline.{knob}")
            _check_within(knob, value, self.searched[knob])
        return self

    @field_serializer("training", "search")
    def _as_plain(self, value: Any, info: SerializationInfo) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json", exclude_defaults=True)
        return {k: v.model_dump(exclude_defaults=True) if isinstance(v, BaseModel) else v for k, v in value.items()}

    @property
    def searched(self) -> dict[str, Range | Choices]:
        """The knobs that trials differ in, by name, in the file's order."""
        return {knob: s for knob, s in self.training.items() if isinstance(s, Range | Choices)}

    @property
    def fixed(self) -> dict[str, Value]:
        return {knob: s for knob, s in self.training.items() if not isinstance(s, Range | Choices)}

    @property
    def defaults(self) -> Hyperparameters:
        """The fixed values, and the default of every other knob, searched ones too."""
        return Hyperparameters.model_validate(self.fixed)

    def hyperparameters(self, sampled: Mapping[str, Value]) -> Hyperparameters:
        """Every knob's value in a trial: the fixed ones, the `sampled` ones, and defaults for the rest."""
        missing = sorted(set(self.searched) - set(sampled))
        if missing:
            raise StudyError(
                f"study {self.name}: training.{missing[0]} is searched, so it has no one value; export first"
            )
        return Hyperparameters.model_validate({**self.fixed, **sampled})

    def with_fixed(self, sampled: Mapping[str, Value]) -> Self:
        """The same study with the searched knobs fixed at the values of a trial; nothing is left to search."""
        training = {knob: sampled.get(knob, setting) for knob, setting in self.training.items()}
        search = self.search.model_copy(update={"baseline": {}})
        return self.model_copy(update={"training": training, "search": search})

    def to_toml(self) -> str:
        """The study as a file that `load` reads back to an equal study (comments and defaults are not kept)."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_defaults=True, exclude_none=True))


def check_setting(knob: str, setting: Setting, where: str | None = None) -> None:
    """Raise ValueError unless `setting` is one that the knob can have."""
    where = where or f"training.{knob}"
    if knob not in Hyperparameters.model_fields:
        known = ", ".join(Hyperparameters.model_fields)
        raise ValueError(f"{where}: unknown knob; known: {known}")
    if isinstance(setting, Range | Choices) and not is_searchable(knob):
        raise ValueError(f"{where}: cannot be searched; give it one value")
    if isinstance(setting, Range):
        _check_range(knob, setting, where)
        return
    for value in setting.choices if isinstance(setting, Choices) else (setting,):
        try:
            Hyperparameters.model_validate({knob: value}, strict=True)
        except ValidationError as error:
            raise ValueError(f"{where}: {explain_one(error.errors()[0])}") from None


def _check_range(knob: str, setting: Range, where: str) -> None:
    if not is_numeric(knob):
        raise ValueError(f"{where}: not a number; search it with {{ choices = [...] }}")
    low, high = bounds(knob)
    if setting.low < low or setting.high > high:
        raise ValueError(
            f"{where}: the range {setting.low:g} to {setting.high:g} leaves the knob's bounds, {low:g} to {high:g}"
        )
    edges = [setting.low, setting.high, *([] if setting.step is None else [setting.step])]
    if is_integer(knob) and any(edge != int(edge) for edge in edges):
        raise ValueError(f"{where}: counts whole {knob}; the range {setting.low:g} to {setting.high:g} does not")
    check_setting(knob, int(setting.high) if is_integer(knob) else setting.high, where)


def _check_within(knob: str, value: Value, setting: Range | Choices) -> None:
    """Optuna would use a queued value outside its range as it is (and model it wrongly)."""
    if isinstance(setting, Choices):
        if value not in setting.choices:
            raise ValueError(f"search.baseline.{knob}: {value!r} is not one of {list(setting.choices)}")
    elif not setting.low <= float(value) <= setting.high:
        raise ValueError(
            f"search.baseline.{knob}: {value!r} lies outside the searched {setting.low:g} to {setting.high:g}"
        )


def explain_one(error: Any) -> str:
    """One of a validation's errors as words, with what was found."""
    if error["type"] == "extra_forbidden":
        known = ", ".join(_keys_beside(error["loc"]))
        return f"unknown key; known: {known}" if known else "unknown key"
    if error["type"] == "missing":
        return "missing"
    if error["type"] == "string_pattern_mismatch":  # of a name, the only one
        return f"{NAME_RULE}, found {error['input']!r}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}, found {error['input']!r}"


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    """The keys of the section that a key is in; [] where it is in none."""
    section: Any = Study
    for part in place[:-1]:
        field = section.model_fields.get(part)
        section = None if field is None else field.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
    return list(section.model_fields)
