"""When a search ends before its trials are used up: it has converged, or a budget of it is used.

What a search has used is counted in its database, over all workers, machines and restarts.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from foldrace.search.compute import read_compute, read_seconds, total_fold_epochs
from foldrace.search.ranking import select_ranked
from foldrace.storage import tables
from foldrace.storage.leases.lease import DONE
from foldrace.studies.study import Search, Study

OUTLOOK = "outlook"  # the user attribute of a trial: what the search expected when its values were sampled
GAIN_SHARE = 0.05  # of the spread of the trials: a gain below it is small
IN_A_ROW = 3  # trials that promise a small gain, until the search has converged
FEWEST_TRIALS = 8  # that are known, before the search may have converged
# The settings of a search that limit what it uses: which attribute of its usage, and what is said of a limit reached.
BUDGETS = {
    "target": ("best", "{metric} {used:.4f} has reached the target of {limit:g}"),
    "gpu_hours": ("gpu_hours", "{used:.2f} of {limit:g} GPU hours are used"),
    "fold_epochs": ("fold_epochs", "{used:.0f} of {limit:g} fold-epochs are spent"),
    "patience": ("without_better", "{used} trials ended without a better one"),
}
_TRIALS, _ATTRS, _LEASES = tables.trials.c, tables.trial_attrs.c, tables.leases.c
_VALUES = tables.trial_intermediate_values.c


@dataclass(frozen=True)
class Outlook:
    """What a search expected when it sampled a trial, in the metric's units.

    Attributes:
        gain: the expected improvement of the level of the trial's configuration over the leader's.
        error: the standard deviation of the leader's level, once the folds that were trained then are done.
        spread: the standard deviation of the levels of all trials.
        trials: how many it knew.
        rise: by how much the trial's first fold was expected to raise the best mean; None: not stored.
    """

    gain: float
    error: float
    spread: float
    trials: int
    rise: float | None = None

    @property
    def fold_rise(self) -> float:
        """What the first fold was worth; of a trial of the version before, what the trial was."""
        return self.gain if self.rise is None else self.rise

    def is_small(self, min_gain: float) -> bool:
        """Whether the gain is hardly worth a trial."""
        return self.trials >= FEWEST_TRIALS and self.gain < max(GAIN_SHARE * self.spread, min_gain)

    def to_json(self) -> dict[str, Any]:
        """The outlook as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Usage:
    """What a search has used, and what it has by that.

    Attributes:
        gpu_hours: of all workers, from the claim of a trial to its last evaluation.
        fold_epochs: spent by trials in any state.
        without_better: trials that ended after the best one, or began later and were put aside; 0 while there is none.
            One that was put aside is the best one itself where its first fold was better than that of the best.
        best: the best value; None until a trial is complete.
        outlooks: of the trials that were sampled last, the newest first.
    """

    gpu_hours: float
    fold_epochs: float
    without_better: int
    best: float | None
    outlooks: tuple[Outlook, ...] = ()

    @property
    def outlook(self) -> Outlook | None:
        """The newest."""
        return next(iter(self.outlooks), None)

    def to_json(self) -> dict[str, Any]:
        """What is used, as plain data, without the outlooks."""
        return {name: value for name, value in asdict(self).items() if name != "outlooks"}


@dataclass(frozen=True)
class SearchEnd:
    """Why a search begins no trial more.

    Attributes:
        lets_go: trials that run are released with a checkpoint; else they run to their ends.
    """

    reason: str
    lets_go: bool


def has_converged(outlooks: Collection[Outlook], min_gain: float = 0.0) -> bool:
    """Whether the trials that were sampled last, `IN_A_ROW` of them, all promised little.

    The rule was chosen among a dozen in simulation; docs/lab/search.md says what it loses and saves.
    """
    return len(outlooks) == IN_A_ROW and all(outlook.is_small(min_gain) for outlook in outlooks)


def read_end(connection: sa.Connection, study_id: int, study: Study) -> SearchEnd | None:
    """Why a search ends; None while it goes on."""
    spent = total_fold_epochs(read_compute(connection, study_id, study), study).spent
    return find_end(study.search, read_usage(connection, study_id, study, spent))


def read_usage(connection: sa.Connection, study_id: int, study: Study, fold_epochs: float) -> Usage:
    """What a search has used; its `fold_epochs` are known."""
    best = connection.execute(select_ranked(study_id).limit(1)).first()
    return Usage(
        gpu_hours=read_seconds(connection, study_id) / 3600,
        fold_epochs=fold_epochs,
        without_better=0 if best is None else _tried_after_best(connection, study_id, study, best.number),
        best=None if best is None else best.value,
        outlooks=read_outlooks(connection, study_id),
    )


def may_end(search: Search) -> bool:
    """Whether anything but the number of trials ends a search."""
    return search.stop == "converged" or any(getattr(search, budget) is not None for budget in BUDGETS)


def find_end(search: Search, used: Usage) -> SearchEnd | None:
    """Why a search that has used so much ends; None while it goes on."""
    for budget, (counted, reached) in BUDGETS.items():
        limit, found = getattr(search, budget), getattr(used, counted)
        if limit is not None and found is not None and found >= limit:
            reason = reached.format(metric=search.metric, used=found, limit=limit)
            return SearchEnd(f"{reason}; raise search.{budget} and run again to go on", lets_go=True)
    if search.stop == "converged" and has_converged(used.outlooks, search.min_gain):
        gain = used.outlooks[0].gain
        converged = f"converged, as a further trial can be expected to gain {gain:.4f}"
        return SearchEnd(f'{converged}; search.stop = "trials" goes on', lets_go=False)
    return None


def _tried_after_best(connection: sa.Connection, study_id: int, study: Study, number: int) -> int:
    """How many trials were tried after the best one, which is `number` of those that are complete."""
    first_fold = sa.select(_VALUES.trial_id, _VALUES.intermediate_value.label("value"))
    ends = first_fold.where(_VALUES.step == study.defaults.evaluations - 1).subquery()
    of_best = sa.select(ends.c.value).join(tables.trials, _TRIALS.trial_id == ends.c.trial_id)
    of_best = of_best.where(_TRIALS.study_id == study_id, _TRIALS.number == number)
    better = sa.select(_TRIALS.number).join(ends, _TRIALS.trial_id == ends.c.trial_id)
    better = better.where(
        _TRIALS.study_id == study_id, _put_aside_after(number), ends.c.value > of_best.scalar_subquery()
    )
    leader = connection.execute(better.order_by(ends.c.value.desc(), _TRIALS.number).limit(1)).scalar()
    ended = sa.and_(_TRIALS.state.in_(("COMPLETE", "PRUNED")), _TRIALS.number != number)
    if leader is None:
        completed = sa.select(_TRIALS.datetime_complete).where(_TRIALS.study_id == study_id, _TRIALS.number == number)
        tried = ended & (_TRIALS.datetime_complete >= completed.scalar_subquery()) | _put_aside_after(number)
    else:
        tried = ended & (_TRIALS.number > leader) | _put_aside_after(leader)
    count = sa.select(sa.func.count()).select_from(tables.trials).where(_TRIALS.study_id == study_id, tried)
    return int(connection.execute(count).scalar_one())


def _put_aside_after(number: int) -> sa.ColumnElement[bool]:
    """Trials that began after that one, have raced in their first fold, and have not ended."""
    raced = sa.select(_LEASES.trial_id).where(_LEASES.fold == tables.FIRST, _LEASES.state == DONE)
    return sa.and_(_TRIALS.state == "RUNNING", _TRIALS.number > number, _TRIALS.trial_id.in_(raced))


def read_outlooks(connection: sa.Connection, study_id: int) -> tuple[Outlook, ...]:
    """What was expected when the trials were sampled that were sampled last, the newest first."""
    query = sa.select(_ATTRS.value_json).join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    query = query.where(_TRIALS.study_id == study_id, _ATTRS.key == OUTLOOK)
    found = connection.execute(query.order_by(_TRIALS.number.desc()).limit(IN_A_ROW)).scalars()
    return tuple(outlook for text in found if (outlook := _outlook(json.loads(text))) is not None)


def _outlook(stored: object) -> Outlook | None:
    """None where somebody else wrote it."""
    known = {field.name: field.default for field in fields(Outlook)}
    if not isinstance(stored, Mapping) or not all(_is_number(stored, name, default) for name, default in known.items()):
        return None
    found = Outlook(**{name: stored[name] for name in known if name in stored})
    return found if math.isfinite(found.gain) else None


def _is_number(stored: Mapping[str, object], name: str, default: object) -> bool:
    value = stored.get(name, default)
    return isinstance(value, int | float) or value is default is None
