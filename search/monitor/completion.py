"""Whether a search whose workers have ended did what was asked for."""

from foldrace.search.monitor.status import StudyStatus
from foldrace.search.words import counted


def what_is_missing(status: StudyStatus, *, was_to_stop: bool) -> str:
    """Why a search is not what was asked for, in one clause; empty where it is.

    Args:
        status: once the workers have ended.
        was_to_stop: the user limited its time.
    """
    is_over = status.state == "done"
    if not is_over and not was_to_stop and status.control == "running":
        left = counted(status.unfinished, "trial") if status.total else "every trial"
        return f"{left} left, though every worker has ended; the same command goes on"
    if is_over and not status.trials.get("COMPLETE"):
        return f"no trial is complete, so there is nothing to export: {_ends(status)}"
    return ""


def _ends(status: StudyStatus) -> str:
    words = {"FAIL": "failed", "PRUNED": "pruned"}
    counts = [
        f"{counted(status.trials[state], 'trial')} {word}" for state, word in words.items() if state in status.trials
    ]
    why = [f"trial {failure.number}: {failure.reason}" for failure in status.failures[:1]]
    return "; ".join([", ".join(counts), *why])
