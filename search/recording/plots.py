"""The figures on a study's page in the dashboard: compute and incumbent, and the race. The page draws what the knobs
matter itself.

They are stored in the database, so they are small: numbers are rounded, and no template travels with them.
"""

from typing import Any

import plotly.graph_objects as go

from foldrace.search.recording.trajectory import Course, Rival

COLOURS = {"COMPLETE": "#1f77b4", "PRUNED": "#d62728", "FAIL": "#7f7f7f"}


def plots(course: Course) -> dict[str, go.Figure]:
    """Each figure by its id in the dashboard; only those for which there is something to show."""
    found = {}
    if course.steps:
        found["incumbent"] = _incumbent_plot(course)
    if course.rivals:
        found["race"] = _race_plot(course)
    return found


def _incumbent_plot(course: Course) -> go.Figure:
    metric = course.study.search.metric
    hover = "trial %{text}<br>%{x:.0f} fold-epochs<br>" + metric + " %{y:.4f}<extra></extra>"
    dots = go.Scatter(
        x=[round(spent, 1) for _, spent, _ in course.values],
        y=[round(value, 5) for _, _, value in course.values],
        text=[str(number) for number, _, _ in course.values],
        mode="markers",
        marker={"color": COLOURS["COMPLETE"], "size": 5},
        name="complete trials",
        hovertemplate=hover,
    )
    line = go.Scatter(
        x=[round(spent, 1) for spent, _ in course.bests],
        y=[round(best, 5) for _, best in course.bests],
        mode="lines",
        line={"shape": "hv", "color": "black"},
        name="best so far",
        hoverinfo="skip",
    )
    figure = _figure([line, dots], "Best so far against compute spent", "fold-epochs spent by all trials", metric)
    if course.baseline is not None:
        figure.add_hline(y=course.baseline, line_dash="dot", line_color="grey")
    return figure


def _race_plot(course: Course) -> go.Figure:
    assert course.incumbent is not None
    title = f"The race: each trial less trial {course.incumbent.number}, the best"
    traces = [_race_trace(state, [r for r in course.rivals if r.state == state]) for state in COLOURS]
    figure = _figure([trace for trace in traces if trace.x], title, "folds done", course.study.search.metric)
    figure.add_hline(y=0, line_color="black", line_width=1)
    return figure


def _race_trace(state: str, rivals: list[Rival]) -> go.Scatter:
    """All lines of one state as one trace, with gaps between: a trace for each would be ten times the text."""
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for rival in rivals:
        x += [*(round(float(value), 3) for value in rival.folds), None]
        y += [*(round(float(value), 4) for value in rival.gaps), None]
        numbers += [*([rival.number] * len(rival.folds)), None]
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
