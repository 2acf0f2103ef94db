"""Which knobs of a trial lie at the edges of their ranges: beyond them, a wider search may find better ones."""

import math
from collections.abc import Mapping

from foldrace.search.words import knobs_text
from foldrace.studies.knobs import Value, bounds
from foldrace.studies.settings import Range
from foldrace.studies.study import Study

EDGE = 0.01  # of a range: so near to an end is at it


def edge_words(study: Study, knobs: Mapping[str, Value]) -> str:
    """The knobs at an edge that a study may widen, and how; empty where there is none."""
    ends: dict[str, dict[str, Value]] = {"upper": {}, "lower": {}}
    for knob, value in knobs.items():
        setting = study.searched.get(knob)
        if isinstance(setting, Range) and setting.low < setting.high and isinstance(value, int | float):
            place, (low, high) = _place(setting, value), bounds(knob)
            if place > 1 - EDGE and setting.high < high:
                ends["upper"][knob] = value
            if place < EDGE and setting.low > low:
                ends["lower"][knob] = value
    said = [f"{knobs_text(at)} at the {end} end" for end, at in ends.items() if at]
    wider = f"widen the range, and begin with --as NEW_NAME --from {study.name}"
    return f"{' and '.join(said)} of the range; {wider}" if said else ""


def _place(setting: Range, value: float) -> float:
    """Where a value is in a range, from 0 to 1."""
    low, high, at = setting.low, setting.high, value
    if setting.log:
        low, high, at = math.log(low), math.log(high), math.log(max(value, low))
    return (at - low) / (high - low)
