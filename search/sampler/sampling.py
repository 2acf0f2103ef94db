"""The values of a new trial's knobs, sampled from the history of its study.

They are determined by the study's seed, the trial's number and the history, and by nothing else. Sampling takes no lock
and writes nothing; the caller stores the values, behind the fence.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from foldrace.search.race.space import SearchSpace, single_value
from foldrace.search.sampler.curves import StoredCurves
from foldrace.search.sampler.gp import GpSampler, Posterior, Sample
from foldrace.search.sampler.history import History
from foldrace.search.sampler.stored_priors import StoredPriors
from foldrace.storage.database import Database
from foldrace.studies.knobs import Value
from foldrace.studies.study import Study


class Sampler:
    """Samples the trials of one study, as its file asks.

    Args:
        history: of the study.
        process: what the study believes; None: TPE samples, and nothing is expected.
        by_tpe: TPE samples, and the process says what it expects.
    """

    def __init__(self, history: History, seed: int, process: GpSampler | None = None, *, by_tpe: bool = False) -> None:
        self._history, self._seed, self._process, self._by_tpe = history, seed, process, by_tpe

    def sample(self, trial: FrozenTrial, space: SearchSpace) -> Sample:
        """A value for each active knob of `space`: the queued one where the trial has one, else a sampled one."""
        fixed: Mapping[str, Value] = trial.system_attrs.get("fixed_params", {})
        values: dict[str, Value] = {knob: fixed[knob] for knob in space if knob in fixed}
        values |= {knob: single_value(d) for knob, d in space.items() if knob not in values and d.single()}
        open_space = space.without(values)
        sampled = self._sample(trial, open_space) if open_space else Sample({})
        outlook = None if fixed else sampled.outlook  # with a knob held, the process saw a part of the space
        together = values | sampled.values
        active = space.active(together)
        return Sample({knob: v for knob, v in together.items() if knob in active}, sampled.priors, outlook)

    def believe(self, space: SearchSpace) -> Posterior | None:
        """What the study's trials let believe by now; None while too few have shown something."""
        self._history.refresh()
        if self._process is None:
            return None
        return self._process.believe(self._history.trials, space.varied(), self._history.training)

    def _sample(self, trial: FrozenTrial, space: SearchSpace) -> Sample:
        self._history.refresh()
        if self._process is None:
            return Sample(self._sample_by_tpe(trial, space))
        trials, training = self._history.trials, self._history.training
        sampled = self._process.sample(trials, trial.number, space, self._seed, training)
        return Sample(self._sample_by_tpe(trial, space), None, sampled.outlook) if self._by_tpe else sampled

    def _sample_by_tpe(self, trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
        # A new study and sampler each time: nothing of an earlier trial's sampling is carried over.
        sampler = TPESampler(seed=_seed(self._seed, trial.number))
        study = optuna.load_study(study_name=self._history.study_name, storage=self._history, sampler=sampler)
        sampler.before_trial(study, trial)
        # The whole space is known, so it need not be inferred from the trials there are.
        values = sampler.sample_relative(study, trial, space)
        # Each knob by itself, from the trials that have it: those of an inactive one are dropped by the caller.
        rest = {knob: d for knob, d in space.items() if knob not in values}
        return values | {knob: sampler.sample_independent(study, trial, knob, d) for knob, d in rest.items()}


def make_sampler(database: Database, study_id: int, study: Study) -> Sampler:
    """The sampler that a study names, over its trials in the database."""
    curves = StoredCurves(database, study.folds.count, study.defaults.evaluations)
    process = GpSampler(curves, StoredPriors(database, study_id, study).read)
    return Sampler(History(database, study_id), study.search.seed, process, by_tpe=study.search.sampler == "tpe")


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])
