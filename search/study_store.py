"""Studies in their database: each is made once, is known by its identity, and has exactly the trials that it asks for.

A study is made and its trials are queued in one transaction that locks its row: nothing is half made or queued twice.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import sqlalchemy as sa

from foldrace.search.words import another_words
from foldrace.storage import optuna_rows, tables, workers
from foldrace.storage.address import without_password, without_secrets
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.studies.identity import Identity
from foldrace.studies.knobs import Value
from foldrace.studies.loading import may_be_stored, parse_stored, parse_toml
from foldrace.studies.study import Study, StudyError

RESCORE = "rescore-1"  # the job that scores a study's leaders again: there is one, which grows
FoldKey = tuple[tuple[str, int], ...]  # what tells a fold of a job from its others: sorted names and numbers
Fixed = Mapping[str, Value]  # the values of knobs that a trial is given
FOLD_ATTRS = ("trial", "repeat", "fold", "seed")  # user attributes that tell a fold of a job from its others
IDENTITY, TOML, TOKENS = "identity", "toml", "tokens"  # user attributes of a study
_TRIALS, _ATTRS = tables.trials.c, tables.trial_attrs.c


@dataclass(frozen=True)
class StoredStudy:
    """A study, or a final job, as it is stored.

    Attributes:
        study_id: in the database.
        toml: its study file as its workers run it, without a password.
    """

    study_id: int
    name: str
    identity: Identity
    toml: str

    def parse(self) -> Study:
        """The study as its workers run it, whatever its file says now; under its own name where it is a copy.

        Raises:
            StudyError: a newer foldrace made it, with a key that this version does not know; or it is damaged.
        """
        study = parse_stored(parse_toml(self.toml, f"study {self.name}"), f"study {self.name}")
        return study.model_copy(update={"name": self.name.partition("/")[0]})


@dataclass(frozen=True)
class FinalFold:
    """One fold of a final job, with the seed of its split and weights."""

    fold: int
    seed: int


def open_study(database: Database, study: Study, read: Identity | None = None) -> None:
    """Make a study, or find it again, and queue the trials that its budget lacks: baselines first, then empty ones.

    Repeating it, also from other processes, changes nothing. With a larger `search.trials` it queues the difference.
    `read` is its identity with the data as it was read, where that was done already.

    Raises:
        StorageError: there is another study of this name.
    """
    identity, text = read or Identity.of(study), public_toml(study)

    def work(connection: sa.Connection) -> None:
        study_id = _find_or_make(connection, study.name, identity, text)
        there = connection.execute(_count(study_id)).scalar_one()
        baselines = dict(enumerate(study.search.baseline))
        for number in range(there, study.search.trials):
            attrs = {optuna_rows.RACES: True} if 0 < number < len(baselines) else {}
            optuna_rows.enqueue_trial(connection, study_id, number, baselines.get(number, {}), attrs)
        workers.delete_old(connection)

    database.transact(work)
    database.checkpoint()


def note_tokens(database: Database, name: str, text: str) -> None:
    """Store what is said of the tokens of a study's data."""
    database.transact(lambda c: _set_study_attr(c, optuna_rows.find_study_id(c, name), TOKENS, text))


def read_tokens(database: Database, name: str) -> str:
    """What is said of the tokens of a study's data; empty where nothing is stored."""
    return str(database.read(lambda c: _study_attrs(c, optuna_rows.find_study_id(c, name))).get(TOKENS, ""))


def refuse_fixed(study: Study) -> None:
    """Raise StudyError for a study that searches nothing: all its trials would be the same."""
    if not study.searched:
        raise StudyError(f"study {study.name}: nothing is searched, every knob is fixed; foldrace final trains it")


def queue_folds(
    database: Database, study: Study, folds: Sequence[FinalFold], number: int = 1, lost: Sequence[FinalFold] = ()
) -> str:
    """Queue each fold of a final job once, and again where it failed or its files are lost.

    Args:
        study: a study that searches nothing; its folds are those of the final job.
        folds: become the user attributes `fold` and `seed` of one trial each.
        number: of the final job, from 1.
        lost: folds without files; their trials may be complete.

    Returns:
        The name of the final job's study.

    Raises:
        StorageError: this final job was begun with other settings.
    """
    name = final_name(study.name, number)
    wanted: dict[FoldKey, Fixed] = {fold_key(asdict(fold)): {} for fold in folds}
    queue_job(database, name, study, wanted, {fold_key(asdict(fold)) for fold in lost})
    return name


def queue_job(
    database: Database, name: str, study: Study, wanted: Mapping[FoldKey, Fixed], lost: Collection[FoldKey] = ()
) -> None:
    """Queue each fold of a job beside a search once, as a trial, and again where it failed or its files are lost.

    Args:
        name: of the job's study.
        study: as the job's workers run it.
        wanted: by what tells a fold from the others, which becomes its trial's user attributes, the knobs it is given.
        lost: folds without files; their trials may be complete.

    Raises:
        StorageError: this job was begun with other settings.
    """
    identity, text = Identity.of(study), public_toml(study)

    def work(connection: sa.Connection) -> None:
        study_id = _find_or_make(connection, name, identity, text)
        there = connection.execute(_count(study_id)).scalar_one()
        kept = set(folds_of_trials(connection, study_id, "WAITING", "RUNNING").values())
        kept |= set(folds_of_trials(connection, study_id, "COMPLETE").values()).difference(lost)
        missing = [fold for fold in wanted if fold not in kept]
        for trial, fold in enumerate(missing, start=there):
            optuna_rows.enqueue_trial(connection, study_id, trial, wanted[fold], dict(fold))

    database.transact(work)
    database.checkpoint()


def trained_folds(database: Database, name: str) -> set[FoldKey]:
    """The folds of a job that are trained, without those that are trained again, as their files were lost."""
    states = ("COMPLETE",), optuna_rows.UNFINISHED
    trained, again = database.snapshot(
        lambda c: [set(folds_of_trials(c, optuna_rows.find_study_id(c, name), *of).values()) for of in states]
    )
    return trained - again


def job_name(name: str, job: str) -> str:
    """The name in the database of a job beside a search, such as final-1 or rescore-1."""
    return f"{name}/{job}"


def final_name(name: str, final: int) -> str:
    return job_name(name, f"final-{final}")


def public_toml(study: Study) -> str:
    """The study file without the password of its storage."""
    storage = None if study.search.storage is None else without_secrets(study.search.storage)
    return study.model_copy(update={"search": study.search.model_copy(update={"storage": storage})}).to_toml()


def study_exists(database: Database, name: str) -> bool:
    """Whether there is a study, or a final job, of that name."""
    return database.read(lambda connection: _find_id(connection, name)) is not None


def name_of_run(database: Database, name: str) -> str:
    """The name of the study; of its newest final job, where it was never searched."""
    query = sa.select(tables.studies.c.study_name)
    names = database.read(lambda connection: set(connection.execute(query).scalars()))
    number = next(n for n in count() if name in names or final_name(name, n + 1) not in names)
    return final_name(name, number) if number else name


def find_study(connection: sa.Connection, name: str) -> StoredStudy | None:
    """The study of that name; None where there is none. Raises as `read_study` does otherwise."""
    study_id = _find_id(connection, name)
    return None if study_id is None else _stored(connection, study_id, name)


def read_study(connection: sa.Connection, name: str) -> StoredStudy:
    """The study of that name.

    Raises:
        StorageError: there is none, or foldrace did not make it.
        StudyError: a newer foldrace made it, with a setting that this version does not know.
    """
    return _stored(connection, optuna_rows.find_study_id(connection, name), name)


def stored_study(database: Database, name: str) -> StoredStudy:
    """`read_study` in a transaction of its own."""
    return database.read(lambda connection: read_study(connection, name))


def check_same(database: Database, name: str, identity: Identity) -> None:
    """Raise StorageError unless a study, or a job, is stored with these settings and this data."""
    database.read(lambda c: _refuse_changes(c, read_study(c, name), identity, "give what it was begun with"))


def changes_since_run(database: Database, study: Study) -> str:
    """What a study has otherwise than the stored one; empty where there is none, or its data cannot be read."""
    stored = database.read(lambda connection: find_study(connection, study.name))
    with suppress(StudyError):
        return "" if stored is None else Identity.of(study).words_since(stored.identity)
    return ""


def _find_or_make(connection: sa.Connection, name: str, identity: Identity, text: str) -> int:
    make = optuna_rows.dialect_insert(connection, tables.studies).values(study_name=name).on_conflict_do_nothing()
    made = connection.execute(make.returning(tables.studies.c.study_id)).scalar() is not None
    # Optuna locks the same row to give a trial its number.
    row = sa.select(tables.studies.c.study_id).where(tables.studies.c.study_name == name).with_for_update()
    study_id: int = connection.execute(row).scalar_one()
    if made:
        _fill(connection, study_id, identity)
    else:
        _refuse_changes(connection, _stored(connection, study_id, name), identity, another_words(name))
    _set_study_attr(connection, study_id, TOML, text)
    return study_id


def _fill(connection: sa.Connection, study_id: int, identity: Identity) -> None:
    # SQLite reuses the id of a deleted study; rows of ours that are left of that one must not meet the new one.
    for table in (tables.leases, tables.controls, tables.workers):
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
    connection.execute(sa.insert(tables.study_directions).values(study_id=study_id, objective=0, direction="MAXIMIZE"))
    _set_study_attr(connection, study_id, IDENTITY, identity.to_json())


def _refuse_changes(connection: sa.Connection, stored: StoredStudy, asked: Identity, remedy: str) -> None:
    if changes := asked.words_since(stored.identity):
        there = f"{_place(connection)}: study {stored.name} is there with other settings: {changes}"
        raise StorageError(f"{there}; {remedy}")


def _find_id(connection: sa.Connection, name: str) -> int | None:
    studies = tables.studies.c
    return connection.execute(sa.select(studies.study_id).where(studies.study_name == name)).scalar()


def _stored(connection: sa.Connection, study_id: int, name: str) -> StoredStudy:
    attrs = _study_attrs(connection, study_id)
    if not isinstance(attrs.get(IDENTITY), dict) or not may_be_stored(attrs.get(TOML)):
        raise StorageError(f"{_place(connection)}: study {name} was not made by foldrace; --as NAME chooses another")
    return StoredStudy(study_id, name, Identity.from_json(attrs[IDENTITY], f"study {name}"), attrs[TOML])


def _place(connection: sa.Connection) -> str:
    """The address of the database, for messages."""
    return without_password(connection.engine.url)


def _study_attrs(connection: sa.Connection, study_id: int) -> dict[str, Any]:
    attrs = tables.study_attrs.c
    found = connection.execute(sa.select(attrs.key, attrs.value_json).where(attrs.study_id == study_id))
    return {key: json.loads(text) for key, text in found}


def _set_study_attr(connection: sa.Connection, study_id: int, key: str, value: object) -> None:
    row = {"study_id": study_id, "key": key, "value_json": json.dumps(value, ensure_ascii=False)}
    optuna_rows.upsert(connection, tables.study_attrs, ("study_id", "key"), row)


def _count(study_id: int) -> "sa.Select[int]":
    return sa.select(sa.func.count()).select_from(tables.trials).where(_TRIALS.study_id == study_id)


def folds_of_trials(connection: sa.Connection, study_id: int, *states: optuna_rows.State) -> dict[int, FoldKey]:
    """Which fold of a job each trial in these states trains, by its id; another program's may lack what names one."""
    query = sa.select(tables.trial_attrs).join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
    query = query.where(_TRIALS.study_id == study_id, _TRIALS.state.in_(states), _ATTRS.key.in_(FOLD_ATTRS))
    attrs: dict[int, dict[str, int]] = {}
    for row in connection.execute(query):
        attrs.setdefault(row.trial_id, {})[row.key] = json.loads(row.value_json)
    return {trial_id: fold_key(found) for trial_id, found in attrs.items()}


def fold_key(attrs: Mapping[str, int]) -> FoldKey:
    """What tells a fold of a job from its others, by the user attributes of its trial."""
    return tuple(sorted(attrs.items()))
