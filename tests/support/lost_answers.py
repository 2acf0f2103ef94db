"""A database whose answer gets lost: the commit arrives, and who waits for it never learns that."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from foldrace.storage.database import Database


def lose_next_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Commit the next transaction, do `meanwhile`, and raise as if the connection had dropped before its answer."""
    commit = database.engine.dialect.do_commit
    lost: list[bool] = []

    def commit_and_lose(connection: Any) -> None:
        commit(connection)
        if not lost:
            lost.append(True)
            meanwhile()
            raise sa.exc.TimeoutError("the answer never came")

    monkeypatch.setattr(database.engine.dialect, "do_commit", commit_and_lose)
