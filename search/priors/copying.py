"""Copies the priors that a study names into its database, each once."""

from pathlib import Path

import sqlalchemy as sa

from foldrace.search.prior_store import Prior, copy_priors, read_prior_names
from foldrace.search.priors.relation import relate
from foldrace.search.priors.sources import SHIPPED, read_source
from foldrace.search.session import Session
from foldrace.search.study_store import find_study
from foldrace.storage.optuna_rows import find_study_id
from foldrace.studies.study import SHIPPED_PRIORS


def read_new_priors(session: Session) -> list[Prior]:
    """The priors that the session's study names and does not have yet; it need not have been made.

    Raises:
        FoldraceError: the source of one cannot be read.
    """
    study = session.study
    if not study.search.prior:
        return []
    there = session.database.read(lambda connection: _names(connection, study.name))
    return [
        relate(name, earlier, study)
        for entry in study.search.prior
        if not there.issuperset(SHIPPED if entry == SHIPPED_PRIORS else {Path(entry).name})
        for name, earlier in read_source(entry, session).items()
    ]


def copy_new_priors(session: Session) -> list[Prior]:
    """Store them with the study, which has been made. Doing it again, also from other processes, changes nothing."""
    priors, database, name = read_new_priors(session), session.database, session.study.name
    if priors:
        database.transact(lambda connection: copy_priors(connection, find_study_id(connection, name), priors))
    return priors


def _names(connection: sa.Connection, study: str) -> set[str]:
    found = find_study(connection, study)
    return set() if found is None else set(read_prior_names(connection, found.study_id))
