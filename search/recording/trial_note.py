"""The note of a trial in Markdown, for the dashboard: its values of the knobs, a row for each fold, how it ended.

The dashboard renders HTML in notes. So every text from data, workers or errors is escaped here.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foldrace.studies.knobs import Hyperparameters, Value
from foldrace.studies.study import Metric
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.evaluation import EvaluationRecord, first_best

MAX_CONFUSED_PAIRS = 10  # of classes, in the note of a final job's fold
_MARKUP = re.compile(r"[^\w \.,%/=+-]|_")


@dataclass(frozen=True)
class FoldOutcome:
    """The evaluations of one fold, and the seconds it took over all attempts (None while it is not complete)."""

    fold: int
    curve: tuple[EvaluationRecord, ...]
    seconds: float | None

    @property
    def best(self) -> EvaluationRecord:
        return first_best(self.curve)


@dataclass(frozen=True)
class TrialOutcome:
    """A trial that is about to end.

    Attributes:
        state: COMPLETE, PRUNED or FAIL.
        value: the mean of its folds' bests; None unless it is complete.
        reason: why it was pruned or failed; empty when it is complete.
        folds: those with at least one evaluation, in order.
        attempt: the one that ended it, from 1.
    """

    number: int
    state: str
    value: float | None
    reason: str
    metric: Metric
    sampled: Mapping[str, Value]
    knobs: Hyperparameters
    folds: tuple[FoldOutcome, ...]
    attempt: int
    worker: str

    @property
    def bests(self) -> list[float]:
        """The best evaluation of each fold, by the study's metric."""
        return [fold.curve[-1].best for fold in self.folds]


def render_note(
    outcome: TrialOutcome,
    addresses: Mapping[str, str] | None = None,
    confusion: IntArray | None = None,
    names: Sequence[str] = (),
) -> str:
    """The note of a trial.

    Args:
        addresses: the path of each picture of the trial in the dashboard, by the picture's name.
        confusion: (classes, classes) counts of the validation part of a final job's fold; a row is a true class.
        names: the names of the classes.
    """
    parts = [_headline(outcome), *image_links(addresses or {}), _fold_table(outcome), _knob_table(outcome)]
    if confusion is not None:
        parts.append(_confusion_table(confusion, names))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: object) -> str:
    """Text as one line of Markdown that is shown literally: no markup, HTML or formula is left in it."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(str(text).split()))


def markdown_table(header: Iterable[object], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells, each escaped."""
    head, *lines = [_spaced(row) for row in (list(header), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, [":---"] * len(head), *lines))


def _spaced(cells: Sequence[object]) -> list[str]:
    """Escaped cells with a space after each: the dashboard puts none between columns."""
    *others, last = map(escaped, cells)
    return [*(f"{cell}&emsp;" for cell in others), last]


def image_links(addresses: Mapping[str, str]) -> list[str]:
    """The Markdown of pictures, by their names."""
    return [f"![{name}]({address})" for name, address in addresses.items()]


def _headline(outcome: TrialOutcome) -> str:
    lines = []
    if outcome.value is not None:
        spread = f" (sd {statistics.stdev(outcome.bests):.4f} between folds)" if len(outcome.folds) > 1 else ""
        lines.append(f"**{escaped(outcome.metric)} {outcome.value:.4f}**{spread}")
    if outcome.state == "PRUNED":
        lines.append(f"**Pruned** because of {escaped(outcome.reason)}")
    elif outcome.state == "FAIL":
        lines.append(f"**Failed**: {escaped(outcome.reason)}")
    lines.append(f"Ended by {escaped(outcome.worker)}, attempt {outcome.attempt}")
    return "  \n".join(lines)


def _fold_table(outcome: TrialOutcome) -> str:
    if not outcome.folds:
        return "No fold was judged." if outcome.state != "COMPLETE" else "Trained on all rows, so without a score."
    header = [
        "fold",
        f"best {outcome.metric}",
        "best epoch",
        *_accuracy_header(outcome.metric),
        "last",
        "epochs",
        "seconds",
    ]
    return markdown_table(header, [_fold_row(fold, outcome.metric) for fold in outcome.folds])


def _fold_row(fold: FoldOutcome, metric: str) -> list[object]:
    best, last = fold.best, fold.curve[-1]
    seconds = "" if fold.seconds is None else f"{fold.seconds:.1f}"
    accuracy = [f"{best.scores.accuracy:.4f}" for _ in _accuracy_header(metric)]
    return [
        fold.fold,
        f"{best.best:.4f}",
        f"{best.epoch:.2f}",
        *accuracy,
        f"{getattr(last.scores, metric):.4f}",
        f"{last.epoch:.2f}",
        seconds,
    ]


def _accuracy_header(metric: str) -> list[str]:
    """A column for the accuracy at the best evaluation, where another metric chose that one."""
    return [] if metric == "accuracy" else ["accuracy there"]


def _knob_table(outcome: TrialOutcome) -> str:
    rest = {knob: value for knob, value in outcome.knobs.model_dump().items() if knob not in outcome.sampled}
    fixed = ", ".join(f"{escaped(knob)} {escaped(_formatted(value))}" for knob, value in rest.items())
    searched = (
        markdown_table(["knob", "value"], [[k, _formatted(v)] for k, v in outcome.sampled.items()])
        if outcome.sampled
        else ""
    )
    return f"{searched}\n\nNot searched: {fixed}".strip()


def _confusion_table(confusion: IntArray, names: Sequence[str]) -> str:
    wrong = [
        (int(rows), names[i], names[j])
        for i, row in enumerate(confusion.tolist())
        for j, rows in enumerate(row)
        if rows and i != j
    ]
    if not wrong:
        return ""
    worst = sorted(wrong, key=lambda found: -found[0])[:MAX_CONFUSED_PAIRS]
    return markdown_table(["rows", "true class", "was taken for"], worst)


def _formatted(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
