"""Claim a trial: the only door through which a worker comes to a study's trials.

The protocol is in docs/design.md, section 5. Optuna's own heartbeat and retry callbacks are never used.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import optuna
import sqlalchemy as sa
from optuna.pruners import BasePruner, NopPruner

from foldrace.search.race.factory import reason_to_prune
from foldrace.search.race.history import History
from foldrace.search.race.sampling import sample
from foldrace.search.race.space import make_search_space
from foldrace.search.trials.claim import Claim
from foldrace.search.trials.heartbeat import HEARTBEAT_SECONDS, Heartbeat, end_process, refuse_short_lease
from foldrace.search.trials.protocol_timer import Meter
from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.database import Database
from foldrace.storage.leases import Lease, LeaseLost, Leases
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study

__all__ = ["Claim", "LeaseLost", "Trials"]

_TRIALS = tables.trials.c


class Trials:
    """The trials of one study, for one worker; `meter` counts what that costs it."""

    def __init__(
        self,
        database: Database,
        study: Study,
        worker: WorkerIdentity,
        *,
        name: str | None = None,
        pruner: BasePruner | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        on_hang: Callable[[], None] = end_process,
    ) -> None:
        """A study that `open_study` or `queue_folds` has made.

        Args:
            name: the name of a final job's study; else the study's own.
            pruner: what `Claim.reason_to_prune` asks; without one, nothing is pruned.
            heartbeat_seconds: a lease is renewed this often; 0: never by itself (call `Claim.beat`).
            on_hang: called, in the heartbeat's thread, when the loop of a claim hangs.

        Raises:
            StorageError: no such study, or a lease time shorter than three heartbeats.
        """
        refuse_short_lease(study, heartbeat_seconds)
        self._database, self._worker, self._clock, self._on_hang = database, worker, clock, on_hang
        self._heartbeat_seconds = heartbeat_seconds
        name = name or study.name
        self._study_id = database.read(lambda connection: optuna_rows.find_study_id(connection, name))
        self._leases = Leases(database, self._study_id, worker, study.search.lease_seconds, clock)
        self._space, self._seed = make_search_space(study.searched), study.search.seed
        self._per_fold = study.defaults.evaluations
        self._optuna = database.retry(
            lambda: optuna.load_study(study_name=name, storage=database.storage, pruner=pruner or NopPruner())
        )
        self._history = History(database, self._study_id)
        self._warm = False
        self.meter = Meter()

    def claim(self, only_adopt: bool = False) -> Claim | None:
        """A trial of which this worker is the only owner: an orphaned one where it stood, else the next in the queue.

        Args:
            only_adopt: end what was begun, and begin none that waits.

        None: the workers were asked to pause or stop, or nothing is free now. Ask again, unless `is_over`, within half
        a lease time: only who keeps looking can tell that a lease is dead.
        """
        with self.meter.timing("claims"):
            while (lease := self._leases.acquire(only_adopt)) is not None:
                with suppress(LeaseLost):  # it took so long to draw that another worker has it by now
                    return self._begin(lease)
        return None

    def is_over(self, only_adopt: bool = False) -> bool:
        """This worker may end: nothing is left (`only_adopt`: of what was begun), or it was asked to stop."""
        left = ("RUNNING",) if only_adopt else optuna_rows.UNFINISHED
        unfinished = sa.select(_TRIALS.trial_id).where(_TRIALS.study_id == self._study_id, _TRIALS.state.in_(left))

        def work(connection: sa.Connection) -> bool:
            asked = workers.read_control(connection, self._study_id)
            return asked == "stopping" or connection.execute(unfinished.limit(1)).first() is None

        return self._database.read(work)

    def leave(self) -> None:
        """This worker ends; its claim, if it has one, must have ended before. An outage is not waited out for it."""
        with suppress(sa.exc.SQLAlchemyError):
            self._database.transact_once(lambda connection: workers.report_stopped(connection, self._worker.owner))

    def _begin(self, lease: Lease) -> Claim:
        trial = self._database.retry(lambda: self._database.storage.get_trial(lease.trial_id))
        judge = self._reason_to_prune
        claim = Claim(self._database, self._leases, lease, trial, self._optuna, self._per_fold, judge, self.meter)
        with ExitStack() as stack:
            stack.enter_context(claim)  # an error lets go of it again
            if self._heartbeat_seconds:
                claim.keep_alive(Heartbeat(claim.beat, self._heartbeat_seconds, self._clock, self._on_hang))
            # All values are stored at once, so a trial has either all of them or none.
            missing = self._space.keys() - trial.params.keys()
            claim.begin(self._space, sample(self._history, trial, self._space, self._seed) if missing else {})
            stack.pop_all()
        return claim

    def _reason_to_prune(self, trial_id: int) -> str | None:
        if isinstance(self._optuna.pruner, NopPruner):
            return None
        if not self._warm:
            # The first read of a long study takes seconds: on SQLite it must not hold up those who write.
            with self._database.read_only():
                self._database.retry(lambda: self._optuna.get_trials(deepcopy=False))
            self._warm = True
        storage = self._database.storage
        return self._database.retry(lambda: reason_to_prune(self._optuna, storage.get_trial(trial_id)))
