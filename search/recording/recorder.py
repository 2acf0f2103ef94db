"""What a worker leaves of its trials for people to see: notes, pictures, figures of the study, records in trackers.

A failure in here is one line in the log: it never fails a trial. Only the loss of a lease passes through.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna_dashboard import save_note, save_plotly_graph_object
from optuna_dashboard.artifact import get_artifact_path

from foldrace.search.recording.plots import plots
from foldrace.search.recording.tracker_records import trial_record
from foldrace.search.recording.trajectory import follow
from foldrace.search.recording.trial_note import Ending, FoldStory, note
from foldrace.search.session import Session
from foldrace.search.study_store import final_name
from foldrace.search.trials.assignment import Assignment
from foldrace.search.trials.claim import Claim
from foldrace.storage.errors import StorageError
from foldrace.storage.trackers.protocol import Record, TrackedStudy, Trackers
from foldrace.storage.workers import WorkerIdentity
from foldrace.storage.workspace import Workspace
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.figures import confusions, curves, png
from foldrace.trainer.results import ResultError, confusion_matrices, load_result
from foldrace.trainer.training_data import TrainingData

DRAWING_SECONDS = 60.0  # between two drawings of the study's figures, at least
DRAWING_SHARE = 0.02  # of the drawing worker's time, at most
SECONDS = "seconds_recording"  # the user attribute of a trial

logger = logging.getLogger("foldrace.record")


class Recorder:
    """Records the trials of one worker. `seconds` counts what that took, over the worker's life."""

    def __init__(
        self,
        session: Session,
        data: TrainingData,
        worker: WorkerIdentity,
        final: int | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """The recorder of a worker of a study, or of its final job number `final`."""
        self._session, self._data, self._worker, self._clock = session, data, worker, clock
        self._name = session.study.name if final is None else final_name(session.study.name, final)
        self._draws_study = final is None  # a final job is drawn, and told to trackers, whole: final_recorder.py
        self._trackers = trackers_of(session)
        self._untold: list[Record] = []
        self._begun, self._next_drawing = clock(), clock() + DRAWING_SECONDS
        self._lock = ExitStack()
        self._holds_lock = False
        self.seconds = 0.0

    def ending(
        self, claim: Claim, assignment: Assignment, state: str, value: float | None = None, reason: str = ""
    ) -> None:
        """Leave a note and a picture with a trial that is about to end: afterwards Optuna refuses them.

        Raises:
            LeaseLost: the trial is not ours any more.
        """
        begun = self._clock()
        claim.set_attr("worker", self._worker.owner)  # the fence: past it, what is left here is ours to leave
        with harmlessly(f"trial {claim.number}"):
            self._leave(claim, self._ending(claim, assignment, state, value, reason), assignment)
        seconds = self._clock() - begun
        claim.set_attr(SECONDS, round(seconds, 3))
        self.seconds += seconds

    def between_trials(self) -> None:
        """Tell the trackers, and draw the study's figures when that is due."""
        begun = self._clock()
        for record in self._untold:
            self._trackers.log(record)
        self._untold.clear()
        if self._draws_study and begun >= self._next_drawing and self._is_the_one_that_draws():
            self._draw()
        self.seconds += self._clock() - begun

    def close(self) -> None:
        """The worker has nothing left to do: draw the study as it stands at last."""
        begun = self._clock()
        if self._draws_study and self._is_the_one_that_draws():
            self._draw()
        self._trackers.close()
        self._lock.close()
        now = self._clock()
        self.seconds += now - begun
        lived = max(now - self._begun, 1e-9)
        logger.info("recording took %.1f s of %.1f s (%.1f %%)", self.seconds, lived, 100 * self.seconds / lived)

    def _leave(self, claim: Claim, ending: Ending, assignment: Assignment) -> None:
        names, database = self._data.examples.labels.names, self._session.database
        is_whole_final = assignment.is_final and ending.state == "COMPLETE"
        matrices = self._matrices(assignment) if is_whole_final else {}
        trial, addresses = claim.trial, {}
        with harmlessly(f"the pictures of trial {claim.number}"):
            pictures = _pictures(ending, matrices, names, self._name)
            if self._draws_study:
                self._untold.append(trial_record(ending, len(assignment.folds), pictures))
            addresses = attach(trial, pictures, self._session.workspace)
        text = note(ending, addresses, matrices.get("validation"), names)
        database.retrying(lambda: save_note(trial, text))

    def _is_the_one_that_draws(self) -> bool:
        """One worker draws the study: who holds the lock, until it ends."""
        if not self._holds_lock:
            with suppress(StorageError):
                self._lock.enter_context(self._session.workspace.lock("figures", timeout_seconds=0))
                self._holds_lock = True
        return self._holds_lock

    def _draw(self) -> None:
        begun = self._clock()
        with harmlessly("the study's figures"):
            draw_study(self._session)
        now = self._clock()
        self._next_drawing = now + max(DRAWING_SECONDS, (now - begun) / DRAWING_SHARE)

    def _ending(self, claim: Claim, assignment: Assignment, state: str, value: float | None, reason: str) -> Ending:
        seen = claim.evaluations
        folds = [
            FoldStory(fold, curve, _seconds(assignment.folder(fold)))
            for fold in assignment.folds
            if (curve := tuple(seen[cell] for cell in sorted(seen) if cell[0] == fold))
        ]
        metric, worker = self._session.study.search.metric, f"{self._worker.owner} on {self._worker.device}"
        knobs, sampled = assignment.knobs, claim.sampled
        return Ending(claim.number, state, value, reason, metric, sampled, knobs, tuple(folds), claim.attempt, worker)

    def _matrices(self, assignment: Assignment) -> dict[str, IntArray]:
        """The confusion matrices of a fold of a final job."""
        fold = assignment.folds[0]
        parts = assignment.plan.training(fold), assignment.plan.validation(fold)
        return confusion_matrices(load_result(assignment.folder(fold)), self._data.labels, *parts)


@contextmanager
def harmlessly(what: str) -> Iterator[None]:
    """Turn any error inside into one line of the log."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        logger.warning("%s: not everything is recorded: %s: %s", what, type(error).__name__, text)


def trackers_of(session: Session) -> Trackers:
    """The trackers that the study chose."""
    study = session.study
    chosen = study.search.trackers
    fingerprint = study.hash() if chosen else ""
    return Trackers(chosen, TrackedStudy(study.name, fingerprint, session.workspace.folder))


def attach(owner: optuna.Trial | optuna.Study, pictures: Mapping[str, bytes], workspace: Workspace) -> dict[str, str]:
    """Store PNG pictures as artifacts of a running trial, or of a study; one of the same name is replaced.

    Returns:
        The path of each picture in the dashboard, by its name.
    """
    folder = workspace.folder / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(folder)
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
    return {name: get_artifact_path(owner, there[f"{name}.png"]) for name in pictures}


def name_metric(stored: optuna.Study, metric: str) -> None:
    """Let the dashboard call the values of a study by their name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its being new
        stored.set_metric_names([metric])


def draw_study(session: Session) -> None:
    """Draw the figures of a study's page in the dashboard."""
    storage = session.database.storage
    stored = session.database.retrying(lambda: optuna.load_study(study_name=session.study.name, storage=storage))
    name_metric(stored, session.study.search.metric)
    for name, figure in plots(follow(session.database, session.study)).items():
        save_plotly_graph_object(stored, figure, graph_object_id=name)


def _pictures(ending: Ending, matrices: Mapping[str, IntArray], names: tuple[str, ...], study: str) -> dict[str, bytes]:
    title = f"{study}, trial {ending.number}: {ending.state.lower()}"
    folds = {story.fold: story.curve for story in ending.folds}
    drawn = {"curves": png(curves(folds, ending.knobs, ending.metric, title))} if folds else {}
    return drawn | ({"confusion": png(confusions(matrices, names, title))} if matrices else {})


def _seconds(folder: Path) -> float | None:
    with suppress(ResultError):
        about = load_result(folder).about
        return float(about["seconds_training"] + about["seconds_evaluating"])
    return None
