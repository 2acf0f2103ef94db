"""What a run takes on the disk, and what of it nobody needs any more: which folds have ended says the database.

A trial that has ended never runs again, so its checkpoints may go while the search runs. What is unknown to the
database, or lies outside the run's folder, is left alone.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree

import sqlalchemy as sa

from foldrace.search.ensemble.job import STUDY_FILE, finished_jobs
from foldrace.search.session import Session
from foldrace.search.study_store import RESCORE, FoldKey, job_name, study_exists, trained_folds
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.files.atomic import PARTIAL
from foldrace.studies.data import Data
from foldrace.studies.loading import load_stored
from foldrace.studies.study import StudyError
from foldrace.trainer.results import MODEL_FOLDER

_ATTEMPT = re.compile(r"attempt-\d+")
_OF_SEARCH = re.compile(r"trial-(\d+)/fold-\d+")
_OF_FINAL = re.compile(r"(final-\d+)/seed-(\d+)/fold-(\d+)")
_OF_RESCORE = re.compile(rf"{RESCORE}/trial-(\d+)/repeat-(\d+)/fold-(\d+)")
_MODEL = re.compile(rf"seed-\d+/fold-\d+/{MODEL_FOLDER}")
_ABANDONED_SECONDS = 3600  # nobody writes one file for so long
_KINDS = (
    ("checkpoints", re.compile(r".*/attempt-\d+/.*")),
    ("models", re.compile(rf"final-\d+/.*/{MODEL_FOLDER}/.*")),
    ("pictures", re.compile(r"artifacts/.*")),
    ("tokenizer and folds", re.compile(r"(.*/)?data-[0-9a-f]+/.*")),
    ("database", re.compile(r"study\.db.*")),
    ("logs", re.compile(r"(.*/)?logs/.*")),
)


@dataclass(frozen=True)
class Waste:
    """Something that nobody needs any more.

    Attributes:
        folder: or a file.
        why: nobody needs it, as in "checkpoints of trials that have ended".
    """

    folder: Path
    why: str
    size: int


@dataclass(frozen=True)
class CleanedRun:
    """What a run took on the disk, and what was removed. As text, it is a line for each.

    Attributes:
        sizes: in bytes, by what it is, before.
        waste: what was removed; what would be, in a dry run.
        kept: what could not be removed, and why.
    """

    folder: Path
    sizes: dict[str, int]
    waste: tuple[Waste, ...]
    is_dry: bool
    kept: tuple[str, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(one.size for one in self.waste)

    def __str__(self) -> str:
        parts = [f"{kind} {_bytes(size)}" for kind, size in sorted(self.sizes.items(), key=lambda one: -one[1])]
        lines = [f"disk      {_bytes(sum(self.sizes.values()))} in {self.folder}: {', '.join(parts)}"]
        for why in dict.fromkeys(one.why for one in self.waste):
            found = [one for one in self.waste if one.why == why]
            size = _bytes(sum(one.size for one in found))
            lines.append(f"{'would go' if self.is_dry else 'removed':9} {size}: {why} ({len(found)})")
        lines += [f"kept      {reason}" for reason in self.kept]
        return "\n".join([*lines, *([] if self.waste or self.kept else ["nothing   to remove"])])


def clean_run(session: Session, *, is_dry: bool) -> CleanedRun:
    """Remove what nobody needs of a run: checkpoints of folds that have ended, models of superseded final jobs.

    Args:
        is_dry: only say what would go.

    Raises:
        StorageError: the database does not answer.
    """
    run = session.workspace.folder
    sizes = dict.fromkeys([kind for kind, _ in _KINDS] + ["other files"], 0)
    for file in _files(run):
        name = file.relative_to(run).as_posix()
        kind = next((kind for kind, pattern in _KINDS if pattern.fullmatch(name)), "other files")
        sizes[kind] += _size(file)
    waste = [Waste(path, why, sum(map(_size, _files(path)))) for path, why in _find_waste(session)]
    kept = {one.folder: reason for one in waste if not is_dry and (reason := _remove(one.folder))}
    removed = tuple(one for one in waste if one.folder not in kept)
    sizes = {kind: size for kind, size in sizes.items() if size}
    return CleanedRun(run, sizes, removed, is_dry, tuple(kept.values()))


def _remove(path: Path) -> str:
    """Remove a folder or a file; why a part of it is still there, else empty."""
    rmtree(path, ignore_errors=True)
    try:
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return f"{path}: cannot be removed: {error.strerror}"
    return ""


def _find_waste(session: Session) -> Iterator[tuple[Path, str]]:
    """What nobody needs, and what it is."""
    run = session.workspace.folder
    has_ended = _ended_folds(session)
    folders = sorted(_folders(run))
    for folder in folders:
        fold = folder.parent.relative_to(run).as_posix()
        if _ATTEMPT.fullmatch(folder.name) and has_ended(fold):
            yield folder, "checkpoints of folds that have ended"
    for job, newer in _superseded(session):
        for folder in _models(job):
            yield folder, f"models of {job.name}, which {newer.name} supersedes"
    for path in sorted([*folders, *_files(run)]):
        if path.name.startswith(PARTIAL) and _is_abandoned(path):
            yield path, "unfinished files of processes that were killed"


def _superseded(session: Session) -> Iterator[tuple[Path, Path]]:
    """The finished final jobs that nobody needs, each with a newer one of the same data and at least as many models."""
    jobs = finished_jobs(session.workspace.folder)
    for place, job in enumerate(jobs):
        rows, count = _rows(job), len(_models(job))
        able = (one for one in jobs[:place] if len(_models(one)) >= count and rows is not None and _rows(one) == rows)
        newer = next(able, None)
        if newer is not None and not _is_busy(session.database, job_name(session.study.name, job.name)):
            yield job, newer


def _models(job: Path) -> list[Path]:
    """The folders of a final job's models, without those that lie behind a link."""
    folders = [] if job.is_symlink() else sorted(_folders(job))
    return [folder for folder in folders if _MODEL.fullmatch(folder.relative_to(job).as_posix())]


def _rows(job: Path) -> tuple[Data, bool] | None:
    """The data of a final job, and whether some rows are held out; None where its study file cannot be read."""
    try:
        study = load_stored(job / STUDY_FILE)
    except StudyError:
        return None
    return study.data, study.final.validation


def _ended_folds(session: Session) -> Callable[[str], bool]:
    """Asks whether nobody will train a fold again, by the path of its folder in that of the run."""
    database, name = session.database, session.study.name
    ended = database.read(partial(_ended_trials, name=name))
    trained: dict[str, set[FoldKey]] = {}

    def is_trained(job: str, **names: int) -> bool:
        if job not in trained:
            full = job_name(name, job)
            trained[job] = trained_folds(database, full) if study_exists(database, full) else set()
        return any(names.items() <= dict(key).items() for key in trained[job])

    def has_ended(fold: str) -> bool:
        if (match := _OF_SEARCH.fullmatch(fold)) is not None:
            return int(match[1]) in ended
        if (match := _OF_FINAL.fullmatch(fold)) is not None:
            return is_trained(match[1], seed=int(match[2]), fold=int(match[3]))
        if (match := _OF_RESCORE.fullmatch(fold)) is not None:
            return is_trained(RESCORE, trial=int(match[1]), repeat=int(match[2]), fold=int(match[3]))
        return False

    return has_ended


def _ended_trials(connection: sa.Connection, name: str) -> set[int]:
    """The numbers of a study's trials that have ended."""
    trials, studies = tables.trials.c, tables.studies.c
    query = sa.select(trials.number).join(tables.studies, studies.study_id == trials.study_id)
    query = query.where(studies.study_name == name, trials.state.in_(("COMPLETE", "PRUNED", "FAIL")))
    return set(connection.execute(query).scalars())


def _is_busy(database: Database, name: str) -> bool:
    """Whether a final job has folds that wait or are trained."""
    if not study_exists(database, name):
        return False
    trials = tables.trials.c

    def work(connection: sa.Connection) -> bool:
        of_job = trials.study_id == optuna_rows.find_study_id(connection, name)
        query = sa.select(trials.trial_id).where(of_job, trials.state.in_(("RUNNING", "WAITING"))).limit(1)
        return connection.execute(query).first() is not None

    return database.read(work)


def _folders(root: Path) -> Iterator[Path]:
    """All folders below one; links are not followed."""
    for folder, names, _ in os.walk(root):
        yield from (path for name in names if not (path := Path(folder, name)).is_symlink())


def _files(root: Path) -> Iterator[Path]:
    """All files below a folder, or the file itself; links are not followed."""
    if root.is_file():
        yield root
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names)


def _is_abandoned(partial: Path) -> bool:
    """Whether nobody writes it any more; False where its writer has just moved it into place."""
    with suppress(FileNotFoundError):
        return not partial.is_symlink() and time.time() - partial.lstat().st_mtime > _ABANDONED_SECONDS
    return False


def _size(file: Path) -> int:
    """Bytes; 0 where it is gone meanwhile."""
    try:
        return file.lstat().st_size
    except OSError:
        return 0


def _bytes(size: int) -> str:
    """A size as a person writes it."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_:
            return f"{size / bytes_:.3g} {unit}"
    return f"{size} bytes"
