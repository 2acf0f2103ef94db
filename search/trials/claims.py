"""Claim a trial: a worker reaches a study's trials only in this way.

The protocol is in docs/design.md, section 5. Optuna's own heartbeat and retry callbacks are never used.
"""

import logging
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import optuna
import sqlalchemy as sa
from optuna.pruners import BasePruner, NopPruner

from foldrace.search.race.judging import Judge
from foldrace.search.race.space import make_search_space
from foldrace.search.sampler.gp import Sample
from foldrace.search.sampler.sampling import make_sampler
from foldrace.search.trials.allotment import Allotment
from foldrace.search.trials.assignment import refuse_impossible
from foldrace.search.trials.claim import Claim, ClaimContext
from foldrace.search.trials.heartbeat import USUAL, HeartbeatSettings, refuse_short_lease
from foldrace.search.trials.held_lease import LeaseContext
from foldrace.search.trials.outage_notes import OutageNotes
from foldrace.search.trials.protocol_timer import ProtocolTimer
from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.database import Database
from foldrace.storage.leases.acquiring import Leases
from foldrace.storage.leases.lease import Lease, LeaseLost
from foldrace.storage.leases.taking import WAITING
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.study import Study

__all__ = ["Claim", "LeaseLost", "Trials", "TrialsSettings"]

_TRIALS = tables.trials.c
logger = logging.getLogger("foldrace.worker")


@dataclass(frozen=True)
class TrialsSettings:
    """How one worker goes about the trials of a study.

    Attributes:
        name: of the study in the database, as a final job has one; None: the study's own.
        pruner: what `Claim.reason_to_prune` asks.
        outages: the leases that outages ended, as the workers of this run note them.
        by_folds: folds are claimed one by one, as the belief of the study ranks them; else trials as a whole.
    """

    name: str | None = None
    by_folds: bool = False
    pruner: BasePruner = field(default_factory=NopPruner)
    outages: OutageNotes = field(default_factory=OutageNotes)


WITHOUT_PRUNER = TrialsSettings()


class Trials:
    """The trials of one study, for one worker; `timer` has the seconds that this took it."""

    def __init__(
        self,
        database: Database,
        study: Study,
        worker: WorkerIdentity,
        settings: TrialsSettings = WITHOUT_PRUNER,
        heartbeat: HeartbeatSettings = USUAL,
    ) -> None:
        """A study that `open_study` or `queue_folds` has made.

        Raises:
            StorageError: no such study, or a lease time shorter than three heartbeats.
        """
        refuse_short_lease(study, heartbeat)
        self.timer = ProtocolTimer()
        self._database, self._worker, self._heartbeat = database, worker, heartbeat
        self._study, self._is_final = study, settings.name is not None
        name = settings.name or study.name
        self._study_id = database.read(lambda connection: optuna_rows.find_study_id(connection, name))
        self._leases = Leases(database, self._study_id, worker, study.search.lease_seconds, heartbeat.clock)
        self._space = make_search_space(study.searched)
        with database.read_only():
            stored = database.retry(lambda: optuna.load_study(study_name=name, storage=database.storage))
        judge = Judge(database, name, settings.pruner).judge
        lease = LeaseContext(database, self._leases, self.timer, settings.outages)
        self._context = ClaimContext(lease, stored, study.defaults.evaluations, judge, heartbeat.clock)
        self._sampler = make_sampler(database, self._study_id, study)
        self._allotment = Allotment(database, self._study_id, study, self._sampler) if settings.by_folds else None

    def claim(self, only_adopt: bool = False) -> Claim | None:
        """What this worker is the only owner of: an orphaned fold or trial where it stood, else what comes next.

        That is the next trial in the queue, or the most promising fold. Where nothing is left to be trained, a trial
        that was put aside is claimed to be ended; its claim `is_over`.

        None: the workers were asked to pause or stop, or nothing is free now. Ask again, unless `is_over`, within half
        a lease time: only who keeps looking can tell that a lease is dead.

        Args:
            only_adopt: end what was begun, and begin none that waits.
        """
        with self.timer.timing("claims"):
            self._context.lease.outages.settle(self._leases.release)
        while (lease := self._acquire(only_adopt)) is not None:
            # The draw may take so long that another worker has the trial by now.
            with suppress(LeaseLost), self.timer.timing("claims"):
                if (claim := self._begin(lease)) is not None:
                    return claim
        return None

    def is_over(self, only_adopt: bool = False) -> bool:
        """Whether this worker may end: nothing is left (`only_adopt`: of what was begun), or it was asked to stop."""
        left = ("RUNNING",) if only_adopt else optuna_rows.UNFINISHED
        unfinished = sa.select(_TRIALS.trial_id).where(_TRIALS.study_id == self._study_id, _TRIALS.state.in_(left))

        def work(connection: sa.Connection) -> bool:
            asked = workers.read_control(connection, self._study_id)
            return asked == "stopping" or connection.execute(unfinished.limit(1)).first() is None

        return self._database.read(work)

    def _acquire(self, only_adopt: bool) -> Lease | None:
        allotment = self._allotment
        with self.timer.timing("claims"):
            lease = self._leases.acquire(() if only_adopt or allotment is not None else (WAITING,))
        if lease is not None or allotment is None:
            return lease
        with self.timer.timing("belief"):
            ranked = allotment.rank(begins=not only_adopt)
        with self.timer.timing("claims"):
            if ranked:
                return self._leases.acquire(ranked, self._study.search.finals)
            return self._leases.acquire_aside(may_wait=only_adopt)

    def rest(self) -> None:
        """Hold no connection while there is nothing to do."""
        self._database.disconnect()

    def leave(self) -> None:
        """Record that this worker ends; its claim, if it has one, must have ended before. It waits for no outage."""
        with suppress(sa.exc.SQLAlchemyError):
            self._database.transact_once(lambda connection: workers.report_stopped(connection, self._worker.owner))

    def _begin(self, lease: Lease) -> Claim | None:
        """The claim, once its values are stored; None: the trial asked for what cannot be run, and has failed."""
        with self._database.read_only():
            trial = self._database.retry(lambda: self._database.storage.get_trial(lease.trial_id))
        claim = Claim(self._context, lease, trial)
        with ExitStack() as stack:
            stack.enter_context(claim)  # an error gives the claim up again
            try:
                refuse_impossible(trial, self._study, self._is_final)
            except ValueError as error:
                logger.warning("trial %d failed, as nobody can run it: %s", claim.number, error)
                claim.fail(str(error))
                return None
            claim.keep_alive(self._heartbeat)
            # All values are stored at once: only a trial that plain Optuna began has some of them.
            missing = self._space.without(trial.params)
            claim.begin(self._space, self._sampler.sample(trial, missing) if missing else Sample({}))
            stack.pop_all()
        return claim
