"""The values of a new trial's knobs, sampled by TPE from the history of its study.

They are determined by the study's seed, the trial's number and the history, and by nothing else. Sampling takes no lock
and writes nothing; the caller stores the values, behind the fence.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from foldrace.search.race.history import History
from foldrace.search.race.space import SearchSpace, single_value
from foldrace.studies.knobs import Value


def sample(history: History, trial: FrozenTrial, space: SearchSpace, seed: int) -> dict[str, Value]:
    """A value for each knob of `space`: the queued one where the trial has one, else a sampled one."""
    fixed: Mapping[str, Value] = trial.system_attrs.get("fixed_params", {})
    values = {knob: fixed[knob] for knob in space if knob in fixed}
    values |= {knob: single_value(d) for knob, d in space.items() if knob not in values and d.single()}
    open_space = {knob: d for knob, d in space.items() if knob not in values}
    return values | _sample_by_tpe(history, trial, open_space, seed) if open_space else values


def _sample_by_tpe(history: History, trial: FrozenTrial, space: SearchSpace, seed: int) -> dict[str, Any]:
    history.refresh()
    # A new study and sampler each time: nothing of an earlier trial's sampling is carried over.
    sampler = TPESampler(seed=_seed(seed, trial.number))
    study = optuna.load_study(study_name=history.study_name, storage=history, sampler=sampler)
    sampler.before_trial(study, trial)
    # The whole space is known, so it need not be inferred from the trials there are.
    values = sampler.sample_relative(study, trial, space)
    rest = {knob: d for knob, d in space.items() if knob not in values}
    return values | {knob: sampler.sample_independent(study, trial, knob, d) for knob, d in rest.items()}


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])
