"""Whether a study has gone on for long enough: what further trials can be expected to gain, against the folds' noise.

The idea is that of Optuna's terminator (Makarova et al. 2022, "Automatic Termination for Hyperparameter
Optimization"): to search below the noise of cross-validation is to choose by luck.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.workers import study_id_of
from foldrace.studies.study import Study
from foldrace.trainer.evaluation import EvaluationRecord

_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c

FEWEST_TRIALS = 5  # complete ones, before anything is said
TOP = 5  # the best trials, whose spacing tells how far the next record may lie


@dataclass(frozen=True)
class Prospect:
    """What is left to find.

    Attributes:
        further: how many more trials are asked about.
        gain: what they can be expected to add to the best value.
        noise: the standard error of a trial's value, from how its folds scatter.
    """

    further: int
    gain: float
    noise: float

    @property
    def is_enough(self) -> bool:
        """Further trials can be expected to gain less than chance gives."""
        return self.gain < self.noise

    def __str__(self) -> str:
        says = "below" if self.is_enough else "above"
        return (
            f"{self.further} more trials can be expected to gain {self.gain:.4f}, "
            f"{says} the noise of the folds ({self.noise:.4f})"
        )


def prospect(folds: Sequence[Sequence[float]], ended: int, further: int) -> Prospect | None:
    """What `further` trials can be expected to gain; None while fewer than five are complete.

    The n-th trial is the best so far with probability 1 / n if the sampler learns nothing, and then leads by the
    scale of an exponential tail. Of that, i times the distance between the best i-th and the next is an exponential
    sample for each i (Renyi 1953), with a median of ln 2 scales: that of a few is not moved by one trial that is far
    behind. A sampler that learns finds better trials more often, but closer to those that it knows.

    Args:
        folds: of each complete trial, its value in each fold.
        ended: trials that ended, pruned ones too.
        further: trials still to come.
    """
    values = np.array(folds, dtype=np.float64)
    if values.ndim != 2 or len(values) < FEWEST_TRIALS or not np.isfinite(values).all():
        return None
    trials, count = values.shape
    best = np.sort(values.mean(axis=1))[::-1]
    top = min(TOP, trials - 1)
    scale = float(np.median(np.arange(1, top + 1) * (best[:top] - best[1 : top + 1]))) / math.log(2)
    gain = scale * math.log((max(ended, trials) + further) / max(ended, trials))
    return Prospect(further, gain, _noise(values) if count > 1 else 0.0)


def _noise(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    trials, folds = values.shape
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    return math.sqrt(float((left**2).sum()) / ((trials - 1) * (folds - 1)) / folds)


def prospect_of(database: Database, study: Study) -> Prospect | None:
    """What as many trials as are still queued (ten, when none is) can gain; None while too few are complete."""
    folds, states = database.read(lambda connection: _read(database, connection, study))
    ended = sum(count for state, count in states.items() if state in ("COMPLETE", "PRUNED"))
    return prospect(folds, ended, states.get("WAITING", 0) or 10)


def _read(database: Database, connection: sa.Connection, study: Study) -> tuple[list[list[float]], dict[str, int]]:
    """The bests of the folds of each complete trial; and how many trials are in each state."""
    of_study = _TRIALS.study_id == study_id_of(database, connection, study.name)
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
