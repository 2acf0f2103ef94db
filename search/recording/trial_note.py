"""The note of a trial, in Markdown, as the dashboard shows it: what was tried, what came of each fold, how it ended.

The dashboard renders HTML in notes, so all text that comes from elsewhere is escaped: it can only be read.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foldrace.studies.knobs import Hyperparameters, Value
from foldrace.studies.study import Metric
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.evaluation import EvaluationRecord

MOST_CONFUSED = 10  # pairs of classes that a final fold's note lists
_HARMLESS = re.compile(r"[^\w \.,%/=+-]|_")


@dataclass(frozen=True)
class FoldStory:
    """What came of one fold; `seconds` of training and evaluating over all attempts, None while it is not whole."""

    fold: int
    curve: tuple[EvaluationRecord, ...]
    seconds: float | None

    @property
    def best(self) -> EvaluationRecord:
        """The first of the evaluations with the highest metric so far."""
        return next(e for e in self.curve if e.best == self.curve[-1].best)


@dataclass(frozen=True)
class Ending:
    """A trial that is about to end.

    Attributes:
        state: COMPLETE, PRUNED or FAIL.
        value: of a complete trial: the mean of its folds' bests.
        reason: why it was pruned or failed; else empty.
        folds: those that were judged at least once, in order.
        attempt: the one that ended it, from 1.
    """

    number: int
    state: str
    value: float | None
    reason: str
    metric: Metric
    sampled: Mapping[str, Value]
    knobs: Hyperparameters
    folds: tuple[FoldStory, ...]
    attempt: int
    worker: str

    @property
    def bests(self) -> list[float]:
        return [story.curve[-1].best for story in self.folds]


def note(
    ending: Ending,
    addresses: Mapping[str, str] | None = None,
    confusion: IntArray | None = None,
    names: Sequence[str] = (),
) -> str:
    """The whole note.

    Args:
        addresses: the path of each picture of the trial in the dashboard, by its name.
        confusion: (classes, classes) of the validation part, for a fold of a final job; row: the true class.
        names: of the classes.
    """
    parts = [_headline(ending), *shown(addresses or {}), _fold_table(ending), _knob_table(ending)]
    if confusion is not None:
        parts.append(_confused(confusion, names))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: object) -> str:
    """Text as Markdown that shows it as it is: in one line, without markup, HTML or formulas."""
    return _HARMLESS.sub(lambda match: f"&#{ord(match[0])};", " ".join(str(text).split()))


def markdown_table(header: Iterable[object], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells, each escaped."""
    head, *lines = [_spaced(row) for row in (list(header), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, [":---"] * len(head), *lines))


def _spaced(cells: Sequence[object]) -> list[str]:
    """The dashboard puts no space between columns."""
    *others, last = map(escaped, cells)
    return [*(f"{cell}&emsp;" for cell in others), last]


def shown(addresses: Mapping[str, str]) -> list[str]:
    """Pictures in a note, by their names."""
    return [f"![{name}]({address})" for name, address in addresses.items()]


def _headline(ending: Ending) -> str:
    lines = []
    if ending.value is not None:
        spread = f" (sd {statistics.stdev(ending.bests):.4f} between folds)" if len(ending.folds) > 1 else ""
        lines.append(f"**{escaped(ending.metric)} {ending.value:.4f}**{spread}")
    if ending.state == "PRUNED":
        lines.append(f"**Pruned** because of {escaped(ending.reason)}")
    elif ending.state == "FAIL":
        lines.append(f"**Failed**: {escaped(ending.reason)}")
    lines.append(f"Ended by {escaped(ending.worker)}, attempt {ending.attempt}")
    return "  \n".join(lines)


def _fold_table(ending: Ending) -> str:
    if not ending.folds:
        return "No fold was judged."
    header = ["fold", f"best {ending.metric}", "best epoch", *_there(ending.metric), "last", "epochs", "seconds"]
    return markdown_table(header, [_fold_row(story, ending.metric) for story in ending.folds])


def _fold_row(story: FoldStory, metric: str) -> list[object]:
    best, last = story.best, story.curve[-1]
    seconds = "" if story.seconds is None else f"{story.seconds:.1f}"
    there = [f"{best.scores.accuracy:.4f}" for _ in _there(metric)]
    return [
        story.fold,
        f"{best.best:.4f}",
        f"{best.epoch:.2f}",
        *there,
        f"{getattr(last.scores, metric):.4f}",
        f"{last.epoch:.2f}",
        seconds,
    ]


def _there(metric: str) -> list[str]:
    """The accuracy at the best of another metric is told beside it."""
    return [] if metric == "accuracy" else ["accuracy there"]


def _knob_table(ending: Ending) -> str:
    rest = {knob: value for knob, value in ending.knobs.model_dump().items() if knob not in ending.sampled}
    fixed = ", ".join(f"{escaped(knob)} {escaped(_shown(value))}" for knob, value in rest.items())
    searched = (
        markdown_table(["knob", "value"], [[k, _shown(v)] for k, v in ending.sampled.items()]) if ending.sampled else ""
    )
    return f"{searched}\n\nNot searched: {fixed}".strip()


def _confused(confusion: IntArray, names: Sequence[str]) -> str:
    wrong = [
        (int(rows), names[i], names[j])
        for i, row in enumerate(confusion.tolist())
        for j, rows in enumerate(row)
        if rows and i != j
    ]
    if not wrong:
        return ""
    worst = sorted(wrong, key=lambda found: -found[0])[:MOST_CONFUSED]
    return markdown_table(["rows", "true class", "was taken for"], worst)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
