"""Counts, ranges and durations as a person writes them."""

from collections.abc import Mapping

from foldrace.studies.knobs import Value


def edited_words(changes: str) -> str:
    """That a study file is not what its run was begun with; `changes` say in what."""
    return f"the study file is no longer that of the run: {changes}; shown is the run"


def knobs_text(knobs: Mapping[str, Value]) -> str:
    """Knobs with their values, numbers rounded: `lr 0.0001, epochs 6`."""
    rounded = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in knobs.items()}
    return ", ".join(f"{name} {value}" for name, value in rounded.items())


def counted(count: int, thing: str) -> str:
    """A count with its noun: `1 row`, `7 rows`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def span(low: int, high: int) -> str:
    """A range of counts; one number where both ends are the same."""
    return str(low) if low == high else f"{low}-{high}"


def duration(seconds: float) -> str:
    """A duration in the unit that fits it."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def another_words(name: str) -> str:
    """What to do where a search, or a job of one, is there with other settings."""
    keeps = "" if "/" in name else f"; with --from {name} beside it, that one begins from what is known"
    return f"--as NEW_NAME makes another{keeps}"
