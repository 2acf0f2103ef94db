"""The priors of a study: what is known of earlier studies, as plain JSON, copied into the database of the new one.

A copy is never changed: it stays when its source goes on, moves or is deleted, and every worker reads the same.
Nothing here imports optuna: `foldrace status` does without.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, Literal, Self

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foldrace.errors import FoldraceError
from foldrace.storage import optuna_rows, tables
from foldrace.studies.knobs import Hyperparameters, Value, bounds
from foldrace.studies.settings import (
    Choices,
    Range,
    Setting,
    active_knobs,
    check_conditions,
    check_setting,
    explain_value,
    searched_knobs,
)
from foldrace.studies.study import Metric

CREDIBLE_PRIORS = "priors"  # the user attribute of a trial: the priors that counted when its values were sampled
KEYS = "prior/%"  # the pattern of SQL's LIKE that the system attributes of a study match which hold its priors
FORMAT: Literal["foldrace-prior-1"] = "foldrace-prior-1"
_ABOUT, _TRIALS = "prior/about/", "prior/trials/"
_ATTRS = tables.study_system_attrs.c
_MOST_TRIALS, _MOST_FOLDS = 1000, 100
_MOST_EVALUATIONS = int(bounds("evaluations")[1])


Score = Annotated[float, Field(ge=0, le=1)]  # of any metric


class PriorError(FoldraceError):
    """A prior cannot be read."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EarlierTrial(_Part):
    """What a trial of an earlier study has shown: its folds, or its level alone.

    Attributes:
        number: in its study, where it has one.
        params: the value of each knob that was searched.
        folds: of each fold the best so far at its evaluations; shorter where it was stopped, empty where not begun.
        level: the mean over its folds.
        noise: the standard error of the level.
    """

    number: int | None = None
    params: dict[str, Value]
    folds: Annotated[tuple[tuple[Score, ...], ...], Field(max_length=_MOST_FOLDS)] = ()
    level: Score | None = None
    noise: Score | None = None

    @model_validator(mode="after")
    def _has_shown_something(self) -> Self:
        if any(self.folds) == (self.level is not None) or (self.level is None) != (self.noise is None):
            raise ValueError("expected either folds, or level and noise")
        return self


class EarlierStudy(_Part):
    """An earlier study. As JSON it is the file that `search.prior` names.

    Attributes:
        metric: of all values.
        evaluations: of each fold.
        identity: what makes it the same study, as foldrace stores it; empty: it is the same as none.
        knobs: as in [training]: a value, a range, or choices.
        running: trials that had not ended, and are not among these.
    """

    format: Literal["foldrace-prior-1"]
    metric: Metric
    evaluations: int = Field(8, ge=1, le=_MOST_EVALUATIONS)
    identity: dict[str, str] = {}
    knobs: dict[str, Setting]
    running: int = Field(0, ge=0)
    trials: Annotated[tuple[EarlierTrial, ...], Field(max_length=_MOST_TRIALS)]

    @model_validator(mode="after")
    def _trials_fit(self) -> Self:
        for knob, setting in self.knobs.items():
            if knob in Hyperparameters.model_fields:
                check_setting(knob, setting, f"knobs.{knob}")
        check_conditions(self._known, "knobs")
        for i, trial in enumerate(self.trials):
            if any(len(fold) > self.evaluations for fold in trial.folds):
                raise ValueError(f"trials.{i}.folds: more than {self.evaluations} evaluations in a fold")
            active = active_knobs(self.searched, trial.params)
            wrong = [knob for knob in active if not _fits(self.searched[knob], trial.params.get(knob))]
            if wrong:
                raise ValueError(f"trials.{i}.params.{wrong[0]}: missing, or not a value of that knob")
        return self

    @property
    def searched(self) -> dict[str, Range | Choices]:
        """The knobs that its trials differ in; without those that this version does not have."""
        return searched_knobs(self._known)

    @property
    def _known(self) -> dict[str, Setting]:
        return {knob: setting for knob, setting in self.knobs.items() if knob in Hyperparameters.model_fields}

    def values(self, trial: EarlierTrial) -> dict[str, Value]:
        """The knobs that one of its trials was trained with: fixed, its own, and inactive ones at their default."""
        active = active_knobs(self.searched, trial.params)
        defaults = {k: Hyperparameters.model_fields[k].default for k in self.searched.keys() - active}
        return self.fixed | {k: v for k, v in trial.params.items() if k not in defaults} | defaults

    @property
    def fixed(self) -> dict[str, Value]:
        """The knobs that have one value in all its trials."""
        return {knob: setting for knob, setting in self.knobs.items() if not isinstance(setting, Range | Choices)}

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Read it from JSON; `source` is named in errors. Raises PriorError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise PriorError(f"{source}: {f'{key}: ' if key else ''}{explain_value(first)}") from None

    def to_json(self) -> str:
        """The text of its file."""
        return self.model_dump_json(exclude_defaults=True)


def _fits(setting: Range | Choices, value: Value | None) -> bool:
    if isinstance(setting, Choices):
        return value in setting.choices
    return isinstance(value, int | float) and not isinstance(value, bool)


Use = Literal["taken over", "trend", "unused"]


@dataclass(frozen=True)
class Prior:
    """An earlier study as a new one uses it.

    Attributes:
        name: as the new study calls it.
        use: its trials are `taken over` as evidence; or they give a `trend`; or they say nothing and are `unused`.
        note: how many trials these are, or why they are unused.
        study: with the trials that are used.
    """

    name: str
    use: Use
    note: str
    study: EarlierStudy

    def __str__(self) -> str:
        return f"{self.name}: {_WORDS[self.use].format(note=self.note)}"


_WORDS = {
    "taken over": "{note}",
    "trend": "a prior mean ({note})",
    "trusted": "trusted ({note})",
    "dropped": "dropped at trial {since} ({note})",
    "waiting": "not asked yet ({note})",
    "unused": "not used: {note}",
}


@dataclass(frozen=True)
class PriorStatus:
    """How a study has used a prior so far.

    Attributes:
        state: `taken over`; `trusted`, or `dropped`, by the trial that was sampled last; `waiting` for the first of
            these; or `unused`.
        since: the number of the trial that dropped it.
    """

    name: str
    state: Literal["taken over", "trusted", "dropped", "waiting", "unused"]
    since: int | None
    note: str

    def __str__(self) -> str:
        return f"{self.name}: {_WORDS[self.state].format(note=self.note, since=self.since)}"


def copy_priors(connection: sa.Connection, study_id: int, priors: Sequence[Prior]) -> None:
    """Store priors with a study. One that is there already stays as it is."""
    for prior in priors:
        about = json.dumps({"use": prior.use, "note": prior.note}, ensure_ascii=False)
        for key, text in ((_TRIALS, prior.study.to_json()), (_ABOUT, about)):
            row = {"study_id": study_id, "key": key + prior.name, "value_json": text}
            insert = optuna_rows.dialect_insert(connection, tables.study_system_attrs).values(**row)
            connection.execute(insert.on_conflict_do_nothing())


def read_prior_names(connection: sa.Connection, study_id: int) -> list[str]:
    """The names of a study's priors, in their order."""
    return list(_read(connection, study_id, _ABOUT))


def read_priors(connection: sa.Connection, study_id: int) -> list[Prior]:
    """The priors of a study by name. Raises PriorError: a newer foldrace has stored one."""
    abouts = _read(connection, study_id, _ABOUT)
    trials = _read(connection, study_id, _TRIALS)  # later: one that comes in between has its trials
    return [
        Prior(name, **json.loads(about), study=EarlierStudy.from_json(trials[name], f"prior {name}"))
        for name, about in abouts.items()
    ]


def read_taken_over(connection: sa.Connection, study_id: int) -> dict[str, list[EarlierTrial]]:
    """The trials that a study has taken over, by the name of their prior."""
    return {
        prior.name: list(prior.study.trials) for prior in read_priors(connection, study_id) if prior.use == "taken over"
    }


def read_prior_statuses(connection: sa.Connection, study_id: int) -> tuple[PriorStatus, ...]:
    """How a study has used each of its priors, by name."""
    abouts = {name: json.loads(text) for name, text in _read(connection, study_id, _ABOUT).items()}
    if not abouts:
        return ()
    trials, attrs = tables.trials.c, tables.trial_attrs.c
    query = sa.select(trials.number, attrs.value_json).join(tables.trials, trials.trial_id == attrs.trial_id)
    query = query.where(trials.study_id == study_id, attrs.key == CREDIBLE_PRIORS).order_by(trials.number)
    credible = {number: json.loads(text) for number, text in connection.execute(query)}
    return tuple(_status(name, about, credible) for name, about in abouts.items())


def _status(name: str, about: dict[str, Any], credible: dict[int, Sequence[str]]) -> PriorStatus:
    use, note = about["use"], about["note"]
    if use != "trend":
        return PriorStatus(name, use, None, note)
    without = list(takewhile(lambda number: name not in credible[number], reversed(credible)))
    if not credible or not without:
        return PriorStatus(name, "trusted" if credible else "waiting", None, note)
    return PriorStatus(name, "dropped", without[-1], note)


def _read(connection: sa.Connection, study_id: int, prefix: str) -> dict[str, str]:
    """The texts below a prefix by the name of the prior, in the names' order."""
    found = connection.execute(
        sa.select(_ATTRS.key, _ATTRS.value_json).where(_ATTRS.study_id == study_id, _ATTRS.key.startswith(prefix))
    )
    return dict(sorted((key.removeprefix(prefix), text) for key, text in found))
