"""When a worker is asked to stop, in words: what it asks before each claim and at each `Progress`."""

from collections.abc import Callable

import sqlalchemy as sa

from foldrace.search.session import Session
from foldrace.storage import tables

ShouldStop = Callable[[], bool]


def never() -> bool:
    return False


def once_it_has_a_trial(session: Session) -> ShouldStop:
    """At the first `Progress` of the first trial that it begins or adopts."""
    held = sa.select(sa.func.count()).select_from(tables.leases).where(tables.leases.c.state == "held")
    return _once(session, held, 1)


def after_evaluations(session: Session, count: int) -> ShouldStop:
    """At the `Progress` that follows so many evaluations of the whole study."""
    return _once(session, sa.select(sa.func.count()).select_from(tables.trial_intermediate_values), count)


def _once(session: Session, query: "sa.Select[int]", count: int) -> ShouldStop:
    """Who was asked to stop remains so, whatever the database says later."""
    is_asked = False

    def should_stop() -> bool:
        nonlocal is_asked
        is_asked = is_asked or session.database.read(lambda c: int(c.execute(query).scalar_one())) >= count
        return is_asked

    return should_stop
