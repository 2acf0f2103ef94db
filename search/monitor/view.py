"""The live view of a study, for a terminal."""

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from foldrace.search.monitor.lines import against, compute, counts, is_on_several, progress_line, worker_problems
from foldrace.search.monitor.status import BestTrial, StudyStatus, WorkerStatus
from foldrace.search.words import duration
from foldrace.search.workers.supervisor import Snapshot

_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "blue", "WAITING": "default"}


def live_view(status: StudyStatus | None, snapshot: Snapshot) -> RenderableType:
    """The live view; fits 80 columns."""
    parts: list[RenderableType] = [Text(progress_line(status), style="bold") if status is None else _head(status)]
    if status is not None and status.alive:
        parts += [Text(), _worker_table(status)]
    return Group(*parts, *(Text(line, style="yellow") for line in worker_problems(snapshot)))


def _head(status: StudyStatus) -> Table:
    """The study in two to four lines, each under a name as in `status`."""
    by_state = [Text.assemble((str(n), f"bold {_STYLES[state]}"), f" {called}") for state, n, called in counts(status)]
    bar = ProgressBar(
        total=max(status.total, 1), completed=status.ended, width=20, complete_style="cyan", finished_style="green"
    )
    asked = "" if status.control == "running" else f", {status.state}"
    lines: list[tuple[str, RenderableType]] = [
        (status.name, Columns([bar, Text(f"{status.ended} of {status.total} done{asked}", style="bold")])),
        ("", Text(", ").join(by_state)),
    ]
    if status.best is not None and not status.is_final:
        best = Text(f"{status.study.search.metric} ").append(f"{status.best.value:.4f}", style="bold green")
        lines.append(("best", best.append(f", trial {status.best.number}{against(status)}")))
    lines.append(("compute", Text(compute(status))))
    if status.seconds_left is not None:
        lines.append(("left", Text(f"about {duration(status.seconds_left)}")))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    for name, line in lines:
        grid.add_row(name, line)
    return grid


def _worker_table(status: StudyStatus) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold cyan")
    for column in ("worker", "trial", "fold", "epoch", "", status.study.search.metric, "rows/s"):
        table.add_column(column, justify="right" if column in ("trial", "fold", "rows/s") else "left", no_wrap=True)
    for worker in status.alive:
        table.add_row(*_worker_cells(worker, status))
    return table


def _worker_cells(worker: WorkerStatus, status: StudyStatus) -> list[RenderableType]:
    name = f"{worker.device} {f'on {worker.host}' if is_on_several(status) else worker.pid}"
    if worker.number is None or worker.fold is None or worker.epoch is None:
        return [name, "", "", "idle" if worker.number is None else "starting"]
    epochs = status.epochs.get(worker.number, worker.epoch)
    return [
        name,
        str(worker.number),
        str(worker.fold),
        f"{worker.epoch:.1f}/{epochs:g}",
        ProgressBar(total=epochs, completed=worker.epoch, width=12, complete_style="cyan", finished_style="green"),
        _score(worker, status.best),
        "" if worker.rows_per_second is None else f"{worker.rows_per_second:.0f}",
    ]


def _score(worker: WorkerStatus, best: BestTrial | None) -> Text:
    """What the worker's trial has reached, and how far that is from the best."""
    if worker.accuracy is None:
        return Text()
    score = Text(f"{worker.accuracy:.4f}")
    if best is not None:
        ahead = worker.accuracy - best.value
        score.append(f" {ahead:+.4f}", style="green" if ahead >= 0 else "red")
    return score
