"""What a claimed trial asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from foldrace.errors import short_repr
from foldrace.studies.knobs import Hyperparameters, is_integer
from foldrace.studies.settings import Choices, check_setting, condition_words
from foldrace.studies.study import Study
from foldrace.trainer.data.folds import FoldPlan


@dataclass(frozen=True)
class Assignment:
    """What a claimed trial asks for: these folds of this plan, with these values of the knobs.

    Attributes:
        folder: of a fold's files, by its number.
        is_final: the fold is part of an ensemble: it is not pruned, it predicts the test rows, its model is kept.
    """

    knobs: Hyperparameters
    plan: FoldPlan
    folds: tuple[int, ...]
    folder: Callable[[int], Path]
    is_final: bool

    @property
    def is_scored(self) -> bool:
        """Whether rows are held out that judge the model."""
        return self.plan.count > 0


def refuse_impossible(trial: FrozenTrial, study: Study, is_final: bool) -> None:
    """Refuse a trial that somebody queued with what cannot be run, or with a knob that the study would pass over.

    A number outside of a knob's range is run as it was asked for; the knob must be able to have it.

    Raises:
        ValueError: it says which value, and what would be right, in one line.
    """
    queued = trial.system_attrs.get("fixed_params", {})
    if not isinstance(queued, Mapping):
        raise ValueError(f"fixed_params: expected values by knob, found {short_repr(queued)}")
    check_values({**queued, **trial.params}, study)
    if is_final:
        _check_fold(trial.user_attrs, study)


def check_values(given: Mapping[str, object], study: Study) -> None:
    """Raise ValueError unless a trial of the study can have these values of knobs."""
    for knob, value in given.items():
        if knob in study.searched:
            _check_value(knob, value, study)
            _check_active(knob, value, given, study)
        elif knob not in Hyperparameters.model_fields:
            near = get_close_matches(knob, study.searched, 1) or sorted(study.searched)
            name = knob if knob.isprintable() and len(knob) <= 40 else short_repr(knob)
            raise ValueError(f"{name}: unknown knob; is {' or '.join(near) or 'nothing'} meant?")
        elif value != getattr(study.defaults, knob):
            raise ValueError(
                f"{knob}: the study fixes it at {getattr(study.defaults, knob)!r}, so it cannot be {short_repr(value)}"
            )


def _check_active(knob: str, value: object, given: Mapping[str, object], study: Study) -> None:
    """An inactive knob is as one that is fixed at its default. What is not given yet may still make it active."""
    when = study.searched[knob].when
    is_inactive = any(other in given and given[other] not in wanted for other, wanted in when.items())
    if is_inactive and value != getattr(study.defaults, knob):
        words = condition_words(when)
        raise ValueError(f"{knob}: is searched only when {words}, so here it cannot be {short_repr(value)}")


def _check_value(knob: str, value: Any, study: Study) -> None:
    setting = study.searched[knob]
    if isinstance(setting, Choices):
        if value not in setting.choices:
            raise ValueError(f"{knob}: {short_repr(value)} is not one of {list(setting.choices)}")
    else:
        is_whole = is_integer(knob) and isinstance(value, float) and value.is_integer()
        check_setting(knob, int(value) if is_whole else value, where=knob)


def _check_fold(attrs: Mapping[str, object], study: Study) -> None:
    fold, seed = attrs.get("fold"), attrs.get("seed")
    if type(fold) is not int or type(seed) is not int or not 0 <= fold < study.final.models:
        found = f"fold {short_repr(fold)}, seed {short_repr(seed)}"
        raise ValueError(f"{found}: not a fold of this final job, which has {study.final.models}")
