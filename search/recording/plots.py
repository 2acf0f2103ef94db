"""The figures on a study's page in the dashboard: the incumbent against compute, and the race.

They are stored in the database, so they are kept small: numbers are rounded, and no template is stored with them.
"""

from typing import Any

import plotly.graph_objects as go

from foldrace.search.recording.trajectory import GapCurve, SearchTrajectory

COLOURS = {"COMPLETE": "#1f77b4", "PRUNED": "#d62728", "FAIL": "#7f7f7f"}


def plots(trajectory: SearchTrajectory) -> dict[str, go.Figure]:
    """Each figure by its id in the dashboard, without those that would be empty."""
    found = {}
    if trajectory.steps:
        found["incumbent"] = _incumbent_plot(trajectory)
    if trajectory.gap_curves:
        found["race"] = _race_plot(trajectory)
    return found


def _incumbent_plot(trajectory: SearchTrajectory) -> go.Figure:
    metric = trajectory.study.search.metric
    hover = "trial %{text}<br>%{x:.0f} fold-epochs<br>" + metric + " %{y:.4f}<extra></extra>"
    dots = go.Scatter(
        x=[round(spent, 1) for _, spent, _ in trajectory.values],
        y=[round(value, 5) for _, _, value in trajectory.values],
        text=[str(number) for number, _, _ in trajectory.values],
        mode="markers",
        marker={"color": COLOURS["COMPLETE"], "size": 5},
        name="complete trials",
        hovertemplate=hover,
    )
    line = go.Scatter(
        x=[round(spent, 1) for spent, _ in trajectory.bests],
        y=[round(best, 5) for _, best in trajectory.bests],
        mode="lines",
        line={"shape": "hv", "color": "black"},
        name="best so far",
        hoverinfo="skip",
    )
    figure = _figure([line, dots], "Best so far against compute spent", "fold-epochs spent by all trials", metric)
    if trajectory.baseline is not None:
        figure.add_hline(y=trajectory.baseline, line_dash="dot", line_color="grey")
    return figure


def _race_plot(trajectory: SearchTrajectory) -> go.Figure:
    assert trajectory.incumbent is not None
    title = f"The race: each trial less trial {trajectory.incumbent.number}, the best"
    traces = [_race_trace(state, [r for r in trajectory.gap_curves if r.state == state]) for state in COLOURS]
    figure = _figure([trace for trace in traces if trace.x], title, "folds done", trajectory.study.search.metric)
    figure.add_hline(y=0, line_color="black", line_width=1)
    return figure


def _race_trace(state: str, gap_curves: list[GapCurve]) -> go.Scatter:
    """All lines of one state as one trace with gaps between them: a trace for each would take ten times the text."""
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for gap_curve in gap_curves:
        x += [*(round(float(value), 3) for value in gap_curve.folds), None]
        y += [*(round(float(value), 4) for value in gap_curve.gaps), None]
        numbers += [*([gap_curve.number] * len(gap_curve.folds)), None]
    return go.Scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines",
        name=state.lower(),
        line={"color": COLOURS[state], "width": 1},
        opacity=0.6,
        hovertemplate="trial %{customdata}<br>%{x:.2f} folds<br>%{y:+.4f}<extra></extra>",
    )


def _figure(traces: list[go.Scatter], title: str, x: str, y: str) -> go.Figure:
    layout: dict[str, Any] = {"template": "none", "title": {"text": title, "font": {"size": 15}}, "margin": {"t": 80}}
    layout |= {"xaxis": {"title": {"text": x}}, "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}}
    return go.Figure(data=traces, layout={**layout, "yaxis": {"title": {"text": y}, "automargin": True}})
