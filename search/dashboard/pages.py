"""What the dashboard's pages lack or must not show: importances as in the report, and no buttons that are refused."""

from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import sqlalchemy as sa

from foldrace.search.race.space import make_search_space
from foldrace.search.study_store import stored_study
from foldrace.storage import optuna_rows, tables
from foldrace.storage.database import Database
from foldrace.storage.errors import StorageError
from foldrace.studies.study import StudyError

_IMPORTANCES_ROUTE = "/api/studies/<study_id:int>/param_importances"
_ICONS = ("Edit", "DriveFileRenameOutline", "Delete", "AddBox", "UploadFile")  # of the buttons that change something
_BUTTONS = ", ".join(f'button:has(svg[data-testid="{icon}Icon"])' for icon in _ICONS)
_HIDDEN = f"<style>{_BUTTONS} {{ display: none }}</style></head>".encode()


class ImportancesPlugin:
    """A plugin of Bottle: a study of foldrace has the importances of its report, which count pruned trials too.

    The dashboard's own ones are of complete trials alone. They stay for the studies of others.
    """

    name, api = "foldrace-importances", 2

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[int, tuple[int, list[dict[str, Any]]]] = {}  # by study id, with the trials that had ended

    def apply(self, answer: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if (route.method, route.rule) != ("GET", _IMPORTANCES_ROUTE):
            return answer

        def ours(study_id: int) -> Any:
            found = self._importances(study_id)
            return answer(study_id=study_id) if found is None else {"param_importances": [found]}

        return ours

    def _importances(self, study_id: int) -> list[dict[str, Any]] | None:
        """The knobs with their shares; None for a study that foldrace did not make, or does not understand."""
        from foldrace.search.recording.trajectory import read_importances  # it brings the race in

        name, ended = self._database.read(lambda connection: _name_and_ended(connection, study_id))
        if study_id in self._known and self._known[study_id][0] == ended:
            return self._known[study_id][1]
        try:
            study = stored_study(self._database, name).parse()
        except (StorageError, StudyError):
            return None
        if not study.searched:
            return None
        space = make_search_space(study.searched)
        found = [
            {"name": knob, "importance": share, "distribution": type(space[knob]).__name__}
            for knob, share in read_importances(self._database, study).items()
        ]
        self._known[study_id] = (ended, found)
        return found


def _name_and_ended(connection: sa.Connection, study_id: int) -> tuple[str, int]:
    """The name of a study, empty where there is none, and how many of its trials have ended."""
    studies, trials = tables.studies.c, tables.trials.c
    name = connection.execute(sa.select(studies.study_name).where(studies.study_id == study_id)).scalar()
    ended = sa.select(sa.func.count()).select_from(tables.trials)
    ended = ended.where(trials.study_id == study_id, trials.state.in_(optuna_rows.ENDED))
    return name or "", connection.execute(ended).scalar_one()


def without_buttons(app: WSGIApplication) -> WSGIApplication:
    """The app, its pages without the buttons of changes, which a read-only dashboard refuses."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or not environ["PATH_INFO"].startswith("/dashboard"):
            return app(environ, start_response)
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
            begun.append((status, headers))
            return lambda _: None

        parts: Any = app(environ, start)
        with closing(parts) if hasattr(parts, "close") else nullcontext():  # a file has one, a list has none
            body = b"".join(parts).replace(b"</head>", _HIDDEN, 1)
        status, headers = begun[0]
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*kept, ("Content-Length", str(len(body)))])
        return [body]

    return answer
