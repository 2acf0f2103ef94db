"""A study as frozen models, each value checked. `loading` reads one from a file. Nothing here looks inside the data."""

import math
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    Field,
    SerializationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from foldrace.errors import FoldraceError
from foldrace.studies.data import Data, Section
from foldrace.studies.knobs import DEFAULTS, MARKED, Hyperparameters, Value
from foldrace.studies.sections import Final, Folds, Model, Slurm
from foldrace.studies.settings import (
    Choices,
    Range,
    Setting,
    active_knobs,
    check_baseline,
    check_conditions,
    check_setting,
    searched_knobs,
)

Metric = Literal["accuracy", "micro_f1", "macro_f1", "auprc"]
Sampler = Literal["gp", "tpe"]
Pruner = Literal["racing", "median", "successive_halving", "hyperband", "none"]
Tracker = Literal["neptune", "mlflow", "tensorboard"]


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
NAME_RULE = "expected up to 100 Latin letters, digits, dots, dashes and underscores, the first a letter or digit"
SHIPPED_PRIORS = "shipped"  # among the names of `search.prior`
MAX_TRIALS = 20_000  # they are queued in one transaction
MAX_COMBINATIONS = 1000  # of choices that decide which knobs a trial has; each is checked


def is_file(prior: str) -> bool:
    """Whether an entry of `search.prior` is a file; else it is the name of a run, or `shipped`."""
    return prior.endswith(".json")


class StudyError(FoldraceError):
    """The study file cannot be run as it is."""


class Search(Section):
    """The budget, what is maximised, how trials are sampled and pruned, and where the study is stored.

    Attributes:
        prior: earlier studies: names of runs, files of JSON, or `shipped`; only the sampler gp reads them.
        risk: of the racing pruner: the share of the expected improvement that it may lose.
        order: `folds`: every trial races in its first fold, and what is believed then says which fold is next; the
            default with racing. `trials`: each trial runs to its end; the default without, and nothing else goes there.
        finals: folds that the best trials get once no trial waits.
        stop: `trials`: when there are so many; `converged`: also when further ones can be expected to gain little.
        min_gain: a gain that is little in any case, in the metric's units.
        gpu_hours, fold_epochs: of all workers together, from the study's beginning; when they are used, it ends.
        patience: so many trials end in a row without a better one, and the study ends.
        target: a value of the metric that ends the study.
        storage: the URL of a database; a relative SQLite path begins at the folder of the study file. `workspace`: the
            server of the workspace itself. None: a file with the run.
        checkpoint_minutes: between two checkpoints of a fold.
        lease_seconds: a worker that is silent for so long loses its trial.
        baseline: the values of the first trials, by knob: of one, or of several in their order.
    """

    trials: int = Field(60, ge=1, le=MAX_TRIALS)
    metric: Metric = "accuracy"
    sampler: Sampler = "gp"
    prior: tuple[str, ...] = ()
    pruner: Pruner = "racing"
    risk: float = Field(0.05, ge=0, le=1)
    order: Literal["folds", "trials"] | None = None
    finals: int = Field(10, ge=0)
    stop: Literal["trials", "converged"] = "trials"
    min_gain: float = Field(0.0, ge=0, le=1)
    gpu_hours: float | None = Field(None, gt=0)
    fold_epochs: float | None = Field(None, gt=0)
    patience: int | None = Field(None, ge=1)
    target: float | None = Field(None, ge=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)
    storage: str | None = None
    trackers: tuple[Tracker, ...] = ()
    checkpoint_minutes: float = Field(5.0, ge=0)
    lease_seconds: float = Field(60.0, gt=0)
    baseline: tuple[dict[str, Value], ...] = ()

    @property
    def is_by_folds(self) -> bool:
        """Whether folds are claimed one by one."""
        return self.pruner == "racing" and self.order != "trials"

    @model_validator(mode="before")
    @classmethod
    def _below_the_noise_is_converged(cls, raw: Any) -> Any:
        """A key of version 0.1.0, which named another rule for the same wish."""
        if not isinstance(raw, Mapping) or not isinstance(asked := raw.get("stop_below_noise"), bool):
            return raw
        rest = {key: value for key, value in raw.items() if key != "stop_below_noise"}
        return {"stop": "converged", **rest} if asked else rest

    @field_validator("baseline", mode="before")
    @classmethod
    def _one_may_stand_alone(cls, baseline: Any) -> Any:
        baselines = [baseline] if isinstance(baseline, Mapping) else baseline
        return [one for one in baselines if one != {}] if isinstance(baselines, list | tuple) else baselines

    @field_validator("prior")
    @classmethod
    def _priors_have_names_of_their_own(cls, priors: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((prior for prior in priors if not (is_file(prior) or re.fullmatch(NAME, prior))), None)
        if wrong is not None:
            raise ValueError(f"expected the name of a run, a .json file, or {SHIPPED_PRIORS}; found {wrong!r}")
        names = [Path(prior).name for prior in priors]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated} is listed twice")
        return priors

    @model_validator(mode="after")
    def _folds_need_the_race(self) -> Self:
        if self.order == "folds" and self.pruner != "racing":
            found = f'order = "folds" needs pruner = "racing", found "{self.pruner}"'
            raise ValueError(f'{found}; write order = "trials", or leave it out')
        return self

    @model_validator(mode="after")
    def _priors_need_the_process(self) -> Self:
        if self.prior and self.sampler != "gp":
            raise ValueError(f'sampler = "{self.sampler}" reads no prior; write sampler = "gp", or leave it out')
        return self


class Study(Section):
    """A whole study file. `training` holds the knobs that the file names; every other knob has its default."""

    name: str = Field(pattern=NAME)
    data: Data
    model: Model = Model()
    folds: Folds = Folds()
    training: dict[str, Setting] = Field({})
    search: Search = Search()
    final: Final = Final()
    slurm: Slurm = Slurm()

    @model_validator(mode="after")
    def _knobs_are_known_and_within_bounds(self) -> Self:
        if self.name in self.search.prior:
            raise ValueError(f"search.prior: {self.name} is the study itself")
        for knob, setting in self.training.items():
            check_setting(knob, setting)
        check_conditions(self.training)
        for number, baseline in enumerate(self.search.baseline):
            place = "search.baseline" if len(self.search.baseline) == 1 else f"search.baseline[{number}]"
            for knob, value in baseline.items():
                if knob not in self.searched:
                    raise ValueError(f"{place}.{knob}: not a knob that [training] searches")
                check_setting(knob, value, where=f"{place}.{knob}")
                check_baseline(f"{place}.{knob}", value, self.searched[knob], baseline)
        _refuse_many_combinations(self)
        return self

    @model_validator(mode="after")
    def _pooled_entities_are_marked(self) -> Self:
        if "entities" not in self.values("pooling"):
            return self
        for knobs in self._far_ends("pooling", "entity_marking"):
            if knobs.pooling == "entities" and knobs.entity_marking not in MARKED:
                raise ValueError(
                    f'training.pooling: "entities" reads the markers of two entities: every trial needs entity_marking '
                    f'= "{MARKED[0]}", and training.entity_marking can be "{knobs.entity_marking}"; '
                    f'without entities, take "mean"'
                )
        return self

    @field_serializer("training", "search")
    def _as_plain(self, value: Any, info: SerializationInfo) -> Any:
        if isinstance(value, Search):
            plain = value.model_dump(mode="json", exclude_defaults=True)
            one_alone = {"baseline": value.baseline[0]} if len(value.baseline) == 1 else {}
            return plain | one_alone  # as versions before stored it
        return {k: v.model_dump(exclude_defaults=True) if isinstance(v, BaseModel) else v for k, v in value.items()}

    @property
    def searched(self) -> dict[str, Range | Choices]:
        """The knobs that trials differ in, by name, in the file's order. Each condition is on another of them."""
        return searched_knobs(self.training)

    @property
    def fixed(self) -> dict[str, Value]:
        """The knobs that the file gives one value, by name."""
        return {knob: s for knob, s in self.training.items() if not isinstance(s, Range | Choices)}

    def values(self, knob: str) -> tuple[Value, ...]:
        """The values that a knob without a range can have: its choices, the fixed one, or its default."""
        searched = self.searched.get(knob)
        return searched.choices if isinstance(searched, Choices) else (getattr(self.defaults, knob),)

    @property
    def defaults(self) -> Hyperparameters:
        """Every knob with its fixed value or its default; searched ones have their default."""
        return Hyperparameters.model_validate(self.fixed)

    @property
    def furthest(self) -> tuple[Hyperparameters, ...]:
        """What trials can ask of a model, for each combination of choices that decides which knobs a trial has.

        Every other searched knob is at the choice or end of its range furthest from its default. Of `pooling`, each
        choice is there: it decides which classifier the knobs meet.
        """
        return tuple(self._far_ends("pooling"))

    def _far_ends(self, *listed: str) -> Iterator[Hyperparameters]:
        """`furthest`, with each combination of the choices of the `listed` knobs, of those that are searched."""
        ends = {k: (s.low, s.high) if isinstance(s, Range) else s.choices for k, s in self.searched.items()}
        for knob in ends.keys() - _deciding(self, *listed):
            ends[knob] = (max(ends[knob], key=lambda end: _distance(end, getattr(DEFAULTS, knob))),)
        for values in product(*ends.values()):
            yield self.hyperparameters(dict(zip(ends, values, strict=True)))

    def active(self, values: Mapping[str, Value]) -> list[str]:
        """The searched knobs of a trial with these values: all whose conditions are met."""
        return active_knobs(self.searched, values)

    def hyperparameters(self, sampled: Mapping[str, Value]) -> Hyperparameters:
        """Every knob with its value in a trial: fixed, `sampled`, or its default, which an inactive one has.

        Raises:
            StudyError: an active knob was not sampled.
        """
        active = self.active(sampled)
        missing = sorted(set(active) - set(sampled))
        if missing:
            raise StudyError(
                f"study {self.name}: training.{missing[0]} is searched, so it has no one value; export first"
            )
        inactive = self.searched.keys() - active
        return Hyperparameters.model_validate({**self.fixed, **{k: v for k, v in sampled.items() if k not in inactive}})

    def with_fixed(self, sampled: Mapping[str, Value]) -> Self:
        """The same study with every knob fixed: at what a trial `sampled`, at the file's value, or at its default."""
        active = {*self.active(sampled), *self.fixed}
        own = {knob: sampled.get(knob, setting) for knob, setting in self.training.items() if knob in active}
        training = {**self.defaults.model_dump(mode="json"), **own}
        search = self.search.model_copy(update={"baseline": (), "prior": ()})
        return self.model_copy(update={"training": training, "search": search})

    def to_toml(self) -> str:
        """The study as a file, without defaults; `load` reads an equal study from it."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_defaults=True, exclude_none=True))


def _refuse_many_combinations(study: Study) -> None:
    counts = {knob: len(study.values(knob)) for knob in _deciding(study, "pooling", "entity_marking")}
    if (found := math.prod(counts.values())) > MAX_COMBINATIONS:
        knobs = ", ".join(sorted(knob for knob, count in counts.items() if count > 1))
        right = f"at most {MAX_COMBINATIONS:,} are checked, so give fewer choices"
        raise ValueError(f"training: {found:,} combinations of {knobs} decide which knobs a trial has; {right}")


def _deciding(study: Study, *listed: str) -> set[str]:
    """The knobs that decide which ones a trial has, and those that are `listed`."""
    return {*listed, *(other for setting in study.searched.values() for other in setting.when)}


def _distance(value: Value, other: Value) -> float:
    if isinstance(value, str) or isinstance(other, str):
        return float(value != other)
    return abs(value - other)
