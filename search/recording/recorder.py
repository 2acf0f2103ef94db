"""Records the trials of a worker for people: a note and pictures of each trial, figures of the study, trackers.

An error in here becomes one line of the log and never fails a trial. Only the loss of a lease is raised.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import optuna
from optuna.artifacts import get_all_artifact_meta, upload_artifact

from foldrace.errors import in_one_line
from foldrace.search.assessment.stored import store_assessment
from foldrace.search.ending import read_end
from foldrace.search.recording.artifacts import Artifacts
from foldrace.search.recording.dashboard_attrs import read_note, write_figures, write_note
from foldrace.search.recording.tracker_records import trial_record
from foldrace.search.recording.trial_note import FoldOutcome, TrialOutcome, render_note
from foldrace.search.session import Session
from foldrace.search.study_store import job_name
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.storage.errors import StorageError
from foldrace.storage.trackers.protocol import Record, TrackedStudy
from foldrace.storage.trackers.registry import Trackers
from foldrace.storage.workers import WorkerIdentity
from foldrace.storage.workspace import Workspace
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.figures import confusions, curves, png
from foldrace.trainer.results import ResultError, confusion_matrices, load_result
from foldrace.trainer.training_data import TrainingData

MIN_DRAWING_SECONDS = 60.0  # between two drawings of the study's figures
MAX_DRAWING_SHARE = 0.02  # of the drawing worker's time
SECONDS = "seconds_recording"  # the user attribute of a trial

logger = logging.getLogger("foldrace.record")


class Recorder:
    """Records the trials of one worker. `seconds` is the time that recording has taken so far."""

    def __init__(
        self,
        session: Session,
        data: TrainingData,
        worker: WorkerIdentity,
        job: str | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """The recorder of a worker of the session's study, or of the job `job` beside it."""
        self._session, self._data, self._worker, self._clock = session, data, worker, clock
        self._name = session.study.name if job is None else job_name(session.study.name, job)
        self._is_search = job is None  # a final job is recorded as a whole, by final_recorder.py
        self._trackers = trackers_of(session, data)
        self._unsent: list[Record] = []
        self._begun, self._next_drawing = clock(), clock() + MIN_DRAWING_SECONDS
        self._lock, self._holds_lock = ExitStack(), False
        self.seconds = 0.0

    def record_end(
        self, claim: Claim, assignment: Assignment, state: str, value: float | None = None, reason: str = ""
    ) -> None:
        """Store the note and the pictures of a trial that is about to end: Optuna refuses them afterwards.

        Raises:
            LeaseLost: another worker owns the trial by now.
        """
        begun = self._clock()
        claim.set_attr("worker", self._worker.owner)  # raises LeaseLost before anything is stored
        with log_errors(f"trial {claim.number}"):
            self._store(claim, self._outcome(claim, assignment, state, value, reason), assignment)
        seconds = self._clock() - begun
        claim.set_attr(SECONDS, round(seconds, 3))
        self.seconds += seconds

    def discard(self) -> None:
        """Forget the record of the trial that was about to end: its end was refused."""
        self._unsent.clear()

    def flush(self) -> None:
        """Send the records to the trackers, assess the leader, and draw the study's figures when they are due."""
        begun = self._clock()
        for record in self._unsent:
            self._trackers.log(record)
        self._unsent.clear()
        if self._is_search:
            _assess(self._session)
            if begun >= self._next_drawing and self._may_draw():
                self._draw()
        self.seconds += self._clock() - begun

    def draw_last(self) -> None:
        """Draw the study's figures once more, if this worker draws them: it has nothing left to do."""
        begun = self._clock()
        if self._is_search and self._may_draw():
            self._draw()
        self.seconds += self._clock() - begun

    def close(self) -> None:
        """Close the trackers and release the lock of the figures. An error is logged: none hides why a worker ends."""
        begun = self._clock()
        with log_errors("closing"):
            self._trackers.close()
        with log_errors("the lock of the figures"):
            self._lock.close()
        now = self._clock()
        self.seconds += now - begun
        lived = max(now - self._begun, 1e-9)
        logger.info("recording took %.1f s of %.1f s (%.1f %%)", self.seconds, lived, 100 * self.seconds / lived)

    def _store(self, claim: Claim, outcome: TrialOutcome, assignment: Assignment) -> None:
        names, database = self._data.examples.labels.names, self._session.database
        is_trained_fold = assignment.is_final and assignment.is_scored and outcome.state == "COMPLETE"
        matrices = self._matrices(assignment) if is_trained_fold else {}
        trial, addresses = claim.trial, {}
        with log_errors(f"the pictures of trial {claim.number}"):
            pictures = _pictures(outcome, matrices, names, self._name)
            if self._is_search:
                self._unsent.append(trial_record(outcome, assignment.plan.count, pictures))
            addresses = attach(trial, pictures, self._session.workspace)
        text = render_note(outcome, addresses, matrices.get("validation"), names)
        write_note(database, trial.study._study_id, text, trial._trial_id)

    def _may_draw(self) -> bool:
        """Whether this worker draws the study: the first that takes the lock does, until it ends."""
        if not self._holds_lock:
            with suppress(StorageError):
                self._lock.enter_context(self._session.workspace.lock("figures", timeout_seconds=0))
                self._holds_lock = True
        return self._holds_lock

    def _draw(self) -> None:
        begun = self._clock()
        with log_errors("the study's figures"):
            draw_study(self._session)
        now = self._clock()
        self._next_drawing = now + max(MIN_DRAWING_SECONDS, (now - begun) / MAX_DRAWING_SHARE)

    def _outcome(
        self, claim: Claim, assignment: Assignment, state: str, value: float | None, reason: str
    ) -> TrialOutcome:
        evaluations = claim.evaluations if assignment.is_scored else {}
        folds = [
            FoldOutcome(fold, curve, _seconds(assignment.folder(fold)))
            for fold in sorted({point[0] for point in evaluations})
            if (curve := tuple(evaluations[cell] for cell in sorted(evaluations) if cell[0] == fold))
        ]
        metric, worker = self._session.study.search.metric, f"{self._worker.owner} on {self._worker.device}"
        knobs, sampled = assignment.knobs, claim.sampled
        return TrialOutcome(
            claim.number, state, value, reason, metric, sampled, knobs, tuple(folds), claim.attempt, worker
        )

    def _matrices(self, assignment: Assignment) -> dict[str, IntArray]:
        """The confusion matrices of a fold of a final job."""
        fold = assignment.folds[0]
        parts = assignment.plan.training(fold), assignment.plan.validation(fold)
        return confusion_matrices(load_result(assignment.folder(fold)), self._data.labels, *parts)


@contextmanager
def log_errors(what: str) -> Iterator[None]:
    """Log any error of the block as one line, and go on after the block."""
    try:
        yield
    except Exception as error:
        logger.warning("%s: not everything is recorded: %s", what, in_one_line(error))


def trackers_of(session: Session, data: TrainingData) -> Trackers:
    """The trackers that the study names."""
    study = session.study
    chosen = study.search.trackers
    fingerprint = data.identity.hash() if chosen else ""
    return Trackers(chosen, TrackedStudy(study.name, fingerprint, session.workspace.folder))


def attach(owner: optuna.Trial | optuna.Study, pictures: Mapping[str, bytes], workspace: Workspace) -> dict[str, str]:
    """Store PNG pictures as artifacts of a running trial or a study; a picture of the same name is replaced.

    Returns:
        The path of each picture in the dashboard, by its name.
    """
    folder = workspace.folder / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    store = Artifacts(folder)
    there = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(owner)}
    with tempfile.TemporaryDirectory() as temporary:
        for name, content in pictures.items():
            path = Path(temporary) / f"{name}.png"
            path.write_bytes(content)
            if path.name in there:
                with path.open("rb") as file:
                    store.write(there[path.name], file)
            else:
                there[path.name] = upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=owner)
    place = f"{owner.study._study_id}/{owner._trial_id}" if isinstance(owner, optuna.Trial) else f"{owner._study_id}"
    return {name: f"/artifacts/{place}/{there[f'{name}.png']}" for name in pictures}


def name_metric(stored: optuna.Study, metric: str) -> None:
    """Store the metric as the name that the dashboard shows for a study's values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that it is experimental
        stored.set_metric_names([metric])


def draw_study(session: Session) -> None:
    """Draw the figures of a study's page in the dashboard, and store them, with a note unless a user wrote one."""
    from foldrace.search.recording.plots import plots  # plotly, and what the importances need: few workers draw
    from foldrace.search.recording.study_note import is_ours, render_study_note
    from foldrace.search.recording.trajectory import load_trajectory

    database = session.database
    stored = database.retry(lambda: optuna.load_study(study_name=session.study.name, storage=database.storage))
    name_metric(stored, session.study.search.metric)
    trajectory, study_id = load_trajectory(database, session.study), stored._study_id
    write_figures(database, study_id, {name: figure.to_json() for name, figure in plots(trajectory).items()})
    if is_ours(read_note(database, study_id)):
        end = database.read(lambda connection: read_end(connection, study_id, session.study))
        write_note(database, study_id, render_study_note(trajectory, study_id, "" if end is None else end.reason))


def _assess(session: Session) -> None:
    with log_errors("how good the leader is"):
        store_assessment(session.database, session.study.name)


def _pictures(
    outcome: TrialOutcome, matrices: Mapping[str, IntArray], names: tuple[str, ...], study: str
) -> dict[str, bytes]:
    title = f"{study}, trial {outcome.number}: {outcome.state.lower()}"
    folds = {fold.fold: fold.curve for fold in outcome.folds}
    drawn = {"curves": png(curves(folds, outcome.knobs, outcome.metric, title))} if folds else {}
    return drawn | ({"confusion": png(confusions(matrices, names, title))} if matrices else {})


def _seconds(folder: Path) -> float | None:
    with suppress(ResultError):
        return load_result(folder).cost.seconds
    return None
