"""Figures of folds: curves, confusion matrices, reliability.

They are drawn off screen and change no global state of matplotlib. Text is never read as a formula. A character that
none of the fonts has becomes a box.
"""

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.study import Metric
from foldrace.trainer.arrays import FloatArray, IntArray, Probabilities
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.metrics import ECE_BINS
from foldrace.trainer.training.schedule import Schedule, make_schedule

DPI = 96
BOX = "□"
_KOREAN, _OTHERS = "NanumGothic", "DejaVu Sans"  # the second comes with matplotlib
_MAX_LABEL_LENGTH = 24  # characters of the name of a class beside a matrix
_MAX_NUMBERS = 100  # only the largest cells of a matrix have their number written in
_LEGEND_COLUMNS = 10
_RATE_POINTS = 300  # points of the curve of the learning rate


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure with a title; its width and height are in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    top = 1 - 0.06 / height
    figure.suptitle(legible(title), y=top, va="top", fontproperties=font(), fontsize=11, parse_math=False)
    return figure


def curves(
    folds: Mapping[int, Sequence[EvaluationRecord]], knobs: Hyperparameters, metric: Metric, title: str
) -> Figure:
    """The score, the losses and the learning rate of each fold of a trial over its epochs. Cycle ends are marked.

    Args:
        folds: the evaluations of each fold, in order. A fold may have ended early.
    """
    figure = new_figure(10.5, 3.5, title)
    score, loss, rate = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.05, right=0.985, bottom=0.22, top=0.83, wspace=0.22)
    for fold, curve in folds.items():
        _draw_fold(score, loss, fold, curve, metric)
    longest = max(folds.values(), key=len, default=())
    if longest:
        _draw_rate(rate, longest[-1], knobs)
    score.set_title(f"{metric} of each evaluation (o: the best)", fontsize=9)
    loss.set_title("loss: evaluation (line), training (dashes)", fontsize=9)
    rate.set_title("learning rate (dotted: end of a cycle)", fontsize=9)
    for axes in (score, loss, rate):
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelsize=8)
    if folds:  # below the curves: inside it would cover some
        figure.legend(*score.get_legend_handles_labels(), fontsize=8, loc="lower center", ncols=_LEGEND_COLUMNS)
    return figure


def confusions(parts: Mapping[str, IntArray], names: Sequence[str], title: str) -> Figure:
    """Two confusion matrices for each part, beside each other: counts, and fractions of each true class.

    Args:
        parts: counts of shape (true classes, predicted classes), by the name of the part.
        names: the names of the classes.
    """
    side = max(3.6, 0.2 * len(names) + 1.2)
    full_title = f"{title} (down: true class, across: predicted class)"
    figure = new_figure(2 * side + 1.9, len(parts) * (side + 1.8) + 0.4, full_title)
    below, left = 1.6 / figure.get_figheight(), 1.7 / figure.get_figwidth()  # room for the names of the classes
    figure.subplots_adjust(left, below, 0.99, 1 - 0.5 / figure.get_figheight(), wspace=0.05, hspace=2 / side)
    axes = figure.subplots(len(parts), 2, squeeze=False)
    for row, (part, counts) in zip(axes, parts.items(), strict=True):
        whole = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        _draw_matrix(row[0], counts, names, f"{part}: rows")
        _draw_matrix(row[1], counts / whole, names, f"{part}: fraction of the true class")
        row[1].set_yticks([])  # the names are on the left
    return figure


def reliability(probabilities: Probabilities, labels: IntArray, title: str) -> Figure:
    """Accuracy against confidence in the bins of the calibration error, and below, the rows of each bin.

    Args:
        probabilities: (n, classes).
        labels: (n,), class indices.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, ECE_BINS + 1)
    bins = np.digitize(confidence, edges[1:-1], right=True)
    rows = np.bincount(bins, minlength=ECE_BINS)
    accuracy = np.bincount(bins, weights=right, minlength=ECE_BINS) / np.maximum(rows, 1)
    figure = new_figure(4.6, 4.6, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.subplots_adjust(left=0.13, right=0.97, bottom=0.1, top=0.92, hspace=0.08)
    upper.bar(edges[:-1], accuracy, width=1 / ECE_BINS, align="edge", edgecolor="white")
    upper.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    upper.set_ylabel("accuracy", fontsize=9)
    lower.bar(edges[:-1], rows, width=1 / ECE_BINS, align="edge", color="grey", edgecolor="white")
    lower.set_ylabel("rows", fontsize=9)
    lower.set_xlabel("probability of the predicted class", fontsize=9)
    for axes in (upper, lower):
        axes.tick_params(labelsize=8)
    return figure


def legible(text: str) -> str:
    """The text in one line, with a box for each character that our fonts cannot draw."""
    known = _characters()
    return "".join(c if ord(c) in known else BOX for c in " ".join(text.split()))


@cache
def font() -> font_manager.FontProperties:
    """A font with Korean letters from an installed package; matplotlib's own font where the package is missing."""
    path = korean_font()
    if path is None:
        return font_manager.FontProperties(family=[_OTHERS])
    font_manager.fontManager.addfont(path)
    return font_manager.FontProperties(family=[_OTHERS, _KOREAN])  # small underscores of the Korean font vanish


def korean_font() -> Path | None:
    """The file of a font with Korean letters; None where its package is not installed."""
    # The package is not imported: its import changes the fonts of the whole process.
    package = importlib.util.find_spec("koreanize_matplotlib")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    paths = (Path(folder) / "fonts" / f"{_KOREAN}.ttf" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


@cache
def _characters() -> frozenset[int]:
    paths = [font_manager.findfont(_OTHERS), *([] if (path := korean_font()) is None else [str(path)])]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def _draw_fold(score: Axes, loss: Axes, fold: int, curve: Sequence[EvaluationRecord], metric: Metric) -> None:
    epochs, colour = [e.epoch for e in curve], f"C{fold % 10}"
    values = [getattr(e.scores, metric) for e in curve]
    score.plot(epochs, values, color=colour, marker=".", markersize=3, linewidth=1, label=f"fold {fold}")
    if values:
        best = values.index(max(values))
        score.plot(epochs[best], values[best], color=colour, marker="o", markersize=6, fillstyle="none")
    loss.plot(epochs, [e.eval_loss for e in curve], color=colour, linewidth=1)
    loss.plot(epochs, [e.train_loss for e in curve], color=colour, linewidth=1, linestyle="--")


def _draw_rate(axes: Axes, last: EvaluationRecord, knobs: Hyperparameters) -> None:
    if not last.epoch > 0:  # another version, or another program, left it out
        return
    per_epoch = max(1, round(last.step / last.epoch))
    schedule = make_schedule(per_epoch * knobs.epochs, knobs)
    steps = _drawn_steps(schedule)
    axes.plot(steps / per_epoch, [schedule.lr(step) for step in steps], color="black", linewidth=1)
    for end in schedule.cycle_ends:
        axes.axvline(end / per_epoch, color="grey", linestyle=":", linewidth=1)
    axes.axvspan(0, last.epoch, color="C0", alpha=0.08)  # how far the fold got


def _drawn_steps(schedule: Schedule) -> IntArray:
    """Evenly spaced steps, and the corners of the curve: the ends of each cycle and of its warmup."""
    corners = [step for cycle in schedule.cycles for step in (cycle.start, cycle.start + cycle.warmup, cycle.end - 1)]
    even = np.linspace(0, schedule.total - 1, min(_RATE_POINTS, schedule.total)).astype(np.int64)
    return np.unique(np.concatenate([even, np.clip(corners, 0, schedule.total - 1)]))


def _draw_matrix(axes: Axes, cells: IntArray | FloatArray, names: Sequence[str], title: str) -> None:
    axes.imshow(cells, cmap="Blues", vmin=0, interpolation="nearest", aspect="auto")
    axes.set_title(title, fontsize=9)
    short_names = [_short(name) for name in names]
    ticks = range(len(names))
    axes.set_xticks(ticks, short_names, rotation=90, fontproperties=font(), fontsize=7, parse_math=False)
    axes.set_yticks(ticks, short_names, fontproperties=font(), fontsize=7, parse_math=False)
    half = cells.max(initial=0) / 2
    largest = np.argsort(-cells, axis=None, kind="stable")[:_MAX_NUMBERS]
    for i, j in zip(*np.unravel_index(largest[cells.flat[largest] > 0], cells.shape), strict=True):
        colour = "white" if cells[i, j] > half else "black"
        axes.text(j, i, _cell(cells[i, j]), ha="center", va="center", fontsize=6, color=colour)


def _cell(value: float) -> str:
    return f"{value:.2f}".lstrip("0") if isinstance(value, float) and not math.isclose(value, 1) else f"{value:.0f}"


def _short(name: str) -> str:
    name = legible(name)
    return name if len(name) <= _MAX_LABEL_LENGTH else f"{name[: _MAX_LABEL_LENGTH - 1]}…"
