"""Whether a study has gone on for long enough: the gain that further trials can be expected to bring, and the noise.

The idea is that of Optuna's terminator (Makarova et al. 2022, "Automatic Termination for Hyperparameter
Optimization"): to search below the noise of cross-validation is to choose by luck.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables
from foldrace.studies.study import Study
from foldrace.trainer.evaluation import EvaluationRecord

_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c

MIN_COMPLETE_TRIALS = 5  # before anything is said
TOP_TRIALS = 5  # the best trials, whose spacing tells how far the next record may lie
FURTHER_TRIALS = 10  # that are asked about when none is queued


@dataclass(frozen=True)
class ExpectedGain:
    """The gain that further trials can be expected to bring, beside the noise of a trial's value.

    Attributes:
        further: the number of further trials.
        gain: what they can be expected to add to the best value.
        noise: the standard error of a trial's value, from how its folds differ.
    """

    further: int
    gain: float
    noise: float

    @property
    def is_below_noise(self) -> bool:
        """Whether the gain is less than what chance gives."""
        return self.gain < self.noise

    def __str__(self) -> str:
        says = "below" if self.is_below_noise else "above"
        return (
            f"{self.further} more trials can be expected to gain {self.gain:.4f}, "
            f"{says} the noise of the folds ({self.noise:.4f})"
        )


def read_expected_gain(connection: sa.Connection, study_id: int, study: Study) -> ExpectedGain | None:
    """The expected gain of the trials still queued, or of ten when none is; None while too few are complete."""
    folds, states = _read(connection, study_id, study)
    ended = sum(count for state, count in states.items() if state in ("COMPLETE", "PRUNED"))
    return expected_gain(folds, ended, states.get("WAITING", 0) or FURTHER_TRIALS)


def expected_gain(folds: Sequence[Sequence[float]], ended: int, further: int) -> ExpectedGain | None:
    """The expected gain of `further` trials; None while fewer than five are complete.

    If the sampler learns nothing, the n-th trial is the best so far with probability 1 / n, and then leads by the scale
    of the values' tail, which is taken to be exponential. The scale comes from the best trials: i times the distance
    from the i-th best to the next is an exponential sample for each i (Renyi 1953, "On the theory of order
    statistics"), whose median is ln 2 scales. The median is not moved by one trial that is far behind. A sampler that
    learns finds better trials more often, but closer to those that it knows.

    Args:
        folds: of each complete trial, its value in each fold.
        ended: the number of trials that ended, pruned ones too.
        further: the number of trials still to come.
    """
    values = np.array(folds, dtype=np.float64)
    if values.ndim != 2 or len(values) < MIN_COMPLETE_TRIALS or not np.isfinite(values).all():
        return None
    trials, count = values.shape
    best = np.sort(values.mean(axis=1))[::-1]
    top = min(TOP_TRIALS, trials - 1)
    scale = float(np.median(np.arange(1, top + 1) * (best[:top] - best[1 : top + 1]))) / math.log(2)
    gain = scale * math.log((max(ended, trials) + further) / max(ended, trials))
    return ExpectedGain(further, gain, _noise(values) if count > 1 else 0.0)


def _noise(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """The standard error of a trial's mean over (trials, folds), from the residuals of trials and folds."""
    trials, folds = values.shape
    residuals = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    return math.sqrt(float((residuals**2).sum()) / ((trials - 1) * (folds - 1)) / folds)


def _read(connection: sa.Connection, study_id: int, study: Study) -> tuple[list[list[float]], dict[str, int]]:
    """The value of each fold of each complete trial; and the number of trials in each state."""
    of_study = _TRIALS.study_id == study_id
    counted = sa.select(_TRIALS.state, sa.func.count().label("trials")).where(of_study).group_by(_TRIALS.state)
    states = {row.state: int(row.trials) for row in connection.execute(counted)}
    last = study.defaults.evaluations - 1
    keys = [optuna_rows.cell_key(fold, last) for fold in range(study.folds.count)]
    query = sa.select(_ATTRS.trial_id, _ATTRS.value_json).join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    query = query.where(of_study, _TRIALS.state == "COMPLETE", _ATTRS.key.in_(keys))
    bests: dict[int, list[float]] = {}
    for trial_id, text in connection.execute(query):
        bests.setdefault(trial_id, []).append(EvaluationRecord.from_json(text).best)
    return [folds for folds in bests.values() if len(folds) == study.folds.count], states
