"""The note of a study in the dashboard: its state, its best trial, why it ended, where its pictures and report are."""

from foldrace.search.recording.trajectory import SearchTrajectory
from foldrace.search.recording.trial_note import escaped
from foldrace.search.words import counted, knobs_text

_SIGN = "*Written by foldrace.*"  # its last line: a note without it is a user's, and stays


def render_study_note(trajectory: SearchTrajectory, study_id: int, end: str) -> str:
    """The Markdown of the note; `end` says why the search begins no trial more, and is empty while it goes on."""
    study, best, spent = trajectory.study, trajectory.incumbent, trajectory.fold_epochs
    asked = counted(study.search.trials, "trial")
    lines = [f"{len(trajectory.trials)} of {asked} ended; {spent.spent:.0f} fold-epochs spent, {spent.saved:.0f} saved"]
    lines += [f"Ended: {escaped(end)}"] if end else []
    if best is not None and best.value is not None:
        against = (
            "" if trajectory.baseline is None else f", {best.value - trajectory.baseline:+.4f} against the baseline"
        )
        page = f"/dashboard/studies/{study_id}/trials?numbers={best.number}"
        lines.append(f"**Best: {study.search.metric} {best.value:.4f}**{against}: {escaped(knobs_text(best.params))}")
        lines.append(f"Pictures: [trial {best.number}]({page})")
    lines.append(f"Report: `foldrace report {study.name}` writes runs/{study.name}/report.html")
    return "  \n".join(lines) + f"\n\n{_SIGN}\n"


def is_ours(note: str) -> bool:
    """Whether a note may be replaced: nobody else wrote it."""
    return not note.strip() or note.rstrip().endswith(_SIGN)
