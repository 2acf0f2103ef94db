"""Reads earlier studies: a run in the workspace or the same database, a JSON file, the recordings that are shipped.

No source is ever changed.
"""

from itertools import takewhile
from math import isfinite
from pathlib import Path

from foldrace.errors import FoldraceError
from foldrace.search.prior_store import FORMAT, EarlierStudy, EarlierTrial, PriorError
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.sampler.curves import StoredCurves
from foldrace.search.sampler.history import History, newest_and_best
from foldrace.search.session import VIEW, Session, open_session
from foldrace.search.study_store import stored_study, study_exists
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace
from foldrace.studies.loading import load_stored
from foldrace.studies.study import SHIPPED_PRIORS, is_file

SHIPPED = {f"{SHIPPED_PRIORS}/{path.stem}": path for path in sorted((Path(__file__).parent / "shipped").glob("*.json"))}
MOST_TRIALS, DIGITS = 200, 6  # that are copied of a run, and of each value


def read_source(entry: str, session: Session) -> dict[str, EarlierStudy]:
    """The earlier studies that an entry of `search.prior` means, by the names that they have in the study.

    Raises:
        FoldraceError: there is no such run or file, it cannot be read, or its database does not answer.
    """
    try:
        if entry == SHIPPED_PRIORS:
            return {name: read_file(path) for name, path in SHIPPED.items()}
        if is_file(entry):
            return {Path(entry).name: read_file(Path(entry))}
        return {entry: read_run(entry, session)}
    except FoldraceError as error:
        where = "" if isinstance(error, PriorError) else f"{entry}: "
        raise type(error)(f"search.prior: {where}{error}") from None


def read_file(path: Path) -> EarlierStudy:
    """The earlier study in a JSON file. Raises PriorError."""
    if path.exists() and not path.is_file():
        raise PriorError(f"{path}: cannot be read: not a file")  # a device or a pipe has no end
    try:
        return EarlierStudy.from_json(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise PriorError(f"{path}: cannot be read: {reason}") from None


def write_prior(session: Session, path: Path) -> str:
    """Write the session's study as a file that `search.prior` may name; returns what was written, for people.

    Raises:
        PriorError: the file would not be taken for one, or no trial has ended.
    """
    if not is_file(str(path)):
        raise PriorError(f"--prior {path}: expected a name that ends in .json")
    earlier = read_study(session.database, session.study.name)
    if not earlier.trials:
        raise PriorError(f"study {session.study.name}: no trial has ended yet; nothing to write")
    atomic_write(path, earlier.to_json() + "\n")
    return f"{path}: {len(earlier.trials)} trials"


def read_run(name: str, session: Session) -> EarlierStudy:
    """The study of that name in the session's database, else that of the run in its workspace."""
    if study_exists(session.database, name):
        return read_study(session.database, name)
    workspace = Workspace(session.workspace.root, name)
    if not workspace.study_file.is_file():
        there = ", ".join(sorted(file.parent.name for file in workspace.root.glob("*/study.toml")))
        raise PriorError(f"{name}: no run of that name in {workspace.root}; there: {there or 'none'}")
    with open_session(load_stored(workspace.study_file), workspace.root, create=False, retries=VIEW) as other:
        return read_study(other.database, name)


def read_study(database: Database, name: str) -> EarlierStudy:
    """A study of a database: its trials that ended and have shown something, the newest and the best of them.

    Raises:
        StorageError: there is none of that name, or foldrace did not make it.
    """
    stored = stored_study(database, name)
    study, history = stored.parse(), History(database, stored.study_id)
    history.refresh()
    trials = history.get_all_trials(0)
    ended = newest_and_best([trial for trial in trials if trial.state.is_finished()], MOST_TRIALS)
    curves = StoredCurves(database, study.folds.count, study.defaults.evaluations).read(ended)
    shown = [(trial, _folds(of_trial)) for trial, of_trial in zip(ended, curves, strict=True)]
    return EarlierStudy(
        format=FORMAT,
        metric=study.search.metric,
        evaluations=study.defaults.evaluations,
        identity=stored.identity.to_json(),
        knobs=study.defaults.model_dump() | study.searched,
        running=sum(not trial.state.is_finished() for trial in trials),
        trials=tuple(
            EarlierTrial(number=trial.number, params=trial.params, folds=folds) for trial, folds in shown if any(folds)
        ),
    )


def _folds(curves: LearningCurves) -> tuple[tuple[float, ...], ...]:
    """The best so far of each fold, up to where it was stopped."""
    return tuple(tuple(round(float(v), DIGITS) for v in takewhile(isfinite, fold)) for fold in curves.best)
