"""The status of a study with the assessment of its leader. The live view does without: it would read every curve."""

from dataclasses import replace

from foldrace.search.monitor.status import StudyStatus
from foldrace.storage.database import Database


def with_assessment(database: Database, status: StudyStatus) -> StudyStatus:
    """The status of a study with how good its leader is; that of a final job as it is."""
    if status.is_final or status.best is None:
        return status
    from foldrace.search.assessment.reader import read_assessment  # it brings numpy in, for a search alone

    return replace(status, assessment=read_assessment(database, status.name))
