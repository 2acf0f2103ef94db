"""The charts of a search for its report, in the style of `trainer.figures`."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from optuna.trial import TrialState

from foldrace.search.recording.plots import COLOURS
from foldrace.search.recording.trajectory import SearchTrajectory
from foldrace.studies.knobs import Value
from foldrace.studies.settings import Range
from foldrace.trainer.figures import new_figure

_COLUMNS = 4  # of knobs


def incumbent_chart(trajectory: SearchTrajectory) -> Figure:
    """The best value so far against the fold-epochs spent; each complete trial is a dot."""
    figure, axes = _axes("Best so far against compute spent")
    spent, bests = zip(*trajectory.bests, strict=True) if trajectory.bests else ((), ())
    axes.step(spent, bests, where="post", color="black", linewidth=1)
    for _, at, value in trajectory.values:
        axes.plot(at, value, ".", color=COLOURS["COMPLETE"])
    if trajectory.baseline is not None:
        axes.axhline(trajectory.baseline, color="grey", linestyle=":", linewidth=1)
    _name(axes, "fold-epochs spent by all trials (dotted: the baseline)", trajectory.study.search.metric)
    return figure


def race_chart(trajectory: SearchTrajectory) -> Figure:
    """The gap of each trial to the incumbent; a cross marks where one was stopped."""
    figure, axes = _axes("The race: each trial less the incumbent, over the same folds and evaluations")
    for curve in trajectory.gap_curves:
        colour = COLOURS[curve.state]
        axes.plot(curve.folds, curve.gaps, color=colour, linewidth=0.7, alpha=0.7)
        if curve.state != TrialState.COMPLETE.name:
            axes.plot(curve.folds[-1], curve.gaps[-1], marker="x", markersize=4, color=colour)
    axes.axhline(0, color="black", linewidth=1)
    _name(axes, "folds done (x: stopped there)", trajectory.study.search.metric)
    return figure


def knob_chart(trajectory: SearchTrajectory) -> Figure:
    """The value of each trial over each searched knob; a pruned trial has its last estimate."""
    knobs = list(trajectory.study.searched)
    down = max(1, math.ceil(len(knobs) / _COLUMNS))
    figure = new_figure(10.5, 2.3 * down + 0.4, "Value over each knob (blue: complete, red: stopped)")
    grid = figure.subplots(down, _COLUMNS, squeeze=False)
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.2 / down, top=1 - 0.2 / down, hspace=0.5, wspace=0.25)
    for axes, knob in zip(grid.flat, knobs, strict=False):
        _draw_knob(axes, knob, trajectory)
    for axes in grid.flat[len(knobs) :]:
        axes.set_visible(False)
    return figure


def _draw_knob(axes: Axes, knob: str, trajectory: SearchTrajectory) -> None:
    setting = trajectory.study.searched[knob]
    for state in (TrialState.PRUNED, TrialState.COMPLETE):
        for trial in trajectory.trials:
            if trial.state == state and trial.value is not None and knob in trial.params:
                axes.plot(_place(trial.params[knob]), trial.value, ".", color=COLOURS[state.name], markersize=4)
    if isinstance(setting, Range) and setting.log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())  # an axis of less than a decade would be full of numbers
    axes.set_title(knob, fontsize=9)
    axes.tick_params(labelsize=8)


def _place(value: Value) -> float | str:
    """The position of a value on its axis: itself where it is a number, else its name."""
    return value if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = new_figure(10.5, 3.4, title)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.15, top=0.9)
    return figure, axes


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
