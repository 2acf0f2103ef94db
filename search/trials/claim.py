"""A trial in the hands of one worker: what it is to try, what it reports, how it ends.

Every write checks in its own transaction that the trial is still ours; nothing is written past that fence.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial

from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.race.space import SearchSpace, encode_params
from foldrace.search.trials.heartbeat import Heartbeat
from foldrace.search.trials.protocol_timer import Meter
from foldrace.storage import leases, optuna_rows
from foldrace.storage.database import Database
from foldrace.storage.leases import Lease, LeaseLost, Leases
from foldrace.storage.workers import Activity, Control
from foldrace.studies.knobs import Value
from foldrace.trainer.evaluation import EvaluationRecord

ATTEMPTS, REASON = "attempts", "reason"  # user attributes of a trial that ended, beside optuna_rows.FAILURE


class Claim:
    """One attempt at one trial. `finish`, `prune`, `fail`, `release` or `abandon` ends it; `Trials.claim` begins it.

    Use it in a `with`: whoever leaves that without an end, by an error say, abandons the trial with the error's words.

    Attributes:
        number: the trial's number in its study.
        sampled: the value of each searched knob.
        user_attrs: the trial's attributes as they were when it was claimed; a final job has its `fold` and `seed` here.
        evaluations: all reported so far, by (fold, index), by this attempt and by those before it.
        alive: False as soon as the trial is known not to be ours any more.
    """

    def __init__(
        self,
        database: Database,
        owned: Leases,
        lease: Lease,
        trial: FrozenTrial,
        study: optuna.Study,
        per_fold: int,
        judge: Callable[[int], str | None],
        meter: Meter,
    ) -> None:
        self._database, self._leases, self._lease, self._meter = database, owned, lease, meter
        self._study, self._per_fold, self._judge = study, per_fold, judge
        self._activity, self._control, self._progressed = Activity(), _RUNNING, False
        self._heartbeat: Heartbeat | None = None
        self.number = trial.number
        self.sampled: dict[str, Value] = dict(trial.params)
        self.user_attrs: dict[str, Any] = dict(trial.user_attrs)
        self.evaluations = read_evaluations(trial.user_attrs)
        self.alive = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.alive:
            return
        if kind is not None and not issubclass(kind, Exception):  # SystemExit, KeyboardInterrupt: not the trial's fault
            self.release()
        else:
            self.abandon("its worker left it unfinished" if kind is None else f"{kind.__name__}: {error}")

    @property
    def attempt(self) -> int:
        """Which attempt at this trial it is, from 1; each has a folder of its own."""
        return self._lease.attempt

    @property
    def stop_requested(self) -> bool:
        """`foldrace stop` asks all workers to write a checkpoint and let go."""
        return self._control == "stopping"

    @property
    def trial(self) -> optuna.trial.Trial:
        """The trial as Optuna's object, for notes and artifacts (before it ends: afterwards they raise)."""
        return self._database.retry(lambda: optuna.trial.Trial(self._study, self._lease.trial_id))

    def progress(self, *, fold: int, epoch: float, rows_per_second: float | None = None) -> None:
        """The loop goes on. Called at each `Progress`; the heartbeat tells the database when it beats."""
        self._activity = Activity(fold, epoch, self._activity.accuracy, rows_per_second)
        if self._heartbeat is not None:
            self._heartbeat.touch()

    def report(self, fold: int, running_estimate: float, record: EvaluationRecord) -> None:
        """Store one evaluation. Doing it again changes nothing: whoever computes it computes the same.

        Args:
            fold: from 0; Optuna's step is evaluations per fold * fold + the record's index.
            running_estimate: what stock pruners compare.

        Raises:
            LeaseLost: the trial is not ours any more; nothing was written.
        """
        cell, trial_id = (fold, record.index), self._lease.trial_id
        new = cell not in self.evaluations

        def work(connection: sa.Connection) -> None:
            optuna_rows.set_trial_attr(connection, trial_id, optuna_rows.cell_key(*cell), record.to_json())
            step = self._per_fold * fold + record.index
            optuna_rows.set_intermediate_value(connection, trial_id, step, float(running_estimate))
            if new:
                leases.mark_progress(connection, self._lease)

        with self._meter.timing("reports"):
            self._write(work)
        self._progressed = self._progressed or new
        self.evaluations[cell] = record
        self._activity = replace(self._activity, fold=fold, accuracy=float(running_estimate))

    def note_checkpoint(self) -> None:
        """A checkpoint is on disk: this attempt was not fruitless. Raises LeaseLost."""
        if not self._progressed:
            with self._meter.timing("reports"):
                self._write(lambda connection: leases.mark_progress(connection, self._lease))
            self._progressed = True

    def set_attr(self, key: str, value: object) -> None:
        """Store a user attribute of the trial. Raises LeaseLost."""
        self._write(lambda connection: optuna_rows.set_trial_attr(connection, self._lease.trial_id, key, value))

    def begin(self, space: SearchSpace, sampled: Mapping[str, Value]) -> None:
        """Store what was drawn for this trial, all at once, and begin it. Raises LeaseLost."""
        drawn = encode_params(space, sampled)

        def work(connection: sa.Connection) -> None:
            optuna_rows.set_trial_params(connection, self._lease.trial_id, drawn)
            leases.mark_held(connection, self._lease)

        self._write(work)
        self.sampled |= sampled

    def reason_to_prune(self) -> str | None:
        """What the study's pruner says to the reports so far; None: go on."""
        with self._meter.timing("judging"):
            return self._judge(self._lease.trial_id)

    def finish(self, value: float) -> bool:
        """COMPLETE with the trial's value; a value that is not finite makes it FAIL.

        Returns:
            False when the trial was not ours any more, or had ended: then nothing was written.
        """
        if not math.isfinite(value):
            return self.fail(f"its value is {value}")
        return self._end("COMPLETE", {}, lambda _: value)

    def prune(self, reason: str) -> bool:
        """PRUNED with the value reported last, as Optuna does it; returns as `finish` does."""
        trial_id = self._lease.trial_id
        return self._end(
            "PRUNED", {REASON: reason}, lambda connection: optuna_rows.read_last_value(connection, trial_id)
        )

    def fail(self, reason: str) -> bool:
        """FAIL, for good: nobody tries it again. Returns as `finish` does."""
        return self._end("FAIL", {optuna_rows.FAILURE: reason}, lambda _: None)

    def release(self) -> None:
        """Let go in good order: the next worker goes on at once, and the attempt never counts."""
        try:
            with self._meter.timing("ends"):
                self._leases.release(self._lease)
        finally:
            self._let_go()

    def abandon(self, reason: str) -> None:
        """Let go after an error: the next worker tries again, and the attempt counts if it left nothing new."""
        try:
            self._leases.abandon(self._lease, reason)
        finally:
            self._let_go()

    def desert(self) -> None:
        """Let go without a word, where the database cannot be told: the lease runs out by itself."""
        self._let_go()

    def beat(self) -> bool:
        """One heartbeat, tried once: False when the trial is not ours any more."""
        try:
            with self._meter.timing("heartbeats"):
                self._control = self._leases.renew(self._lease, self.number, self._activity)
        except LeaseLost:
            self.alive = False
        return self.alive

    def keep_alive(self, heartbeat: Heartbeat) -> None:
        """Beat in a thread until the claim ends."""
        self._heartbeat = heartbeat
        heartbeat.start()

    def _write(self, work: Callable[[sa.Connection], None]) -> None:
        def fenced(connection: sa.Connection) -> None:
            leases.check_fence(connection, self._lease)
            work(connection)

        try:
            self._database.transact(fenced)
        except LeaseLost:
            self._let_go()
            raise

    def _end(
        self, state: optuna_rows.State, attrs: Mapping[str, object], value: Callable[[sa.Connection], float | None]
    ) -> bool:
        def work(connection: sa.Connection) -> None:
            for key, attr in {**attrs, ATTEMPTS: self.attempt}.items():
                optuna_rows.set_trial_attr(connection, self._lease.trial_id, key, attr)
            optuna_rows.end_trial(connection, self._lease.trial_id, state, value(connection))
            leases.delete(connection, self._lease)

        try:
            with self._meter.timing("ends"):
                self._write(work)
        except LeaseLost:
            return False
        self._let_go()
        return True

    def _let_go(self) -> None:
        self.alive = False
        if self._heartbeat is not None:
            self._heartbeat.stop()


_RUNNING: Control = "running"
