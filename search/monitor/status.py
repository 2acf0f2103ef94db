"""The status of a study, and the words and the live view that show it to a person."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from foldrace.search.compute import FoldEpochs, read_compute, total_fold_epochs
from foldrace.search.monitor.summary import Best, Summary, WorkerStatus, summarise
from foldrace.search.race.termination import ExpectedGain, read_expected_gain
from foldrace.search.session import Session
from foldrace.search.study_store import study_as_run
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage.optuna_rows import find_study_id
from foldrace.studies.study import Study

ENDED = ("COMPLETE", "PRUNED", "FAIL")
_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "RUNNING": "blue", "WAITING": "default"}


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study; `epochs` are those of a fold, by the number of each running trial."""

    study: Study
    summary: Summary
    fold_epochs: FoldEpochs
    epochs: dict[int, float]
    expected_gain: ExpectedGain | None

    @property
    def ended(self) -> int:
        return sum(self.summary.trials.get(state, 0) for state in ENDED)

    @property
    def total(self) -> int:
        return sum(self.summary.trials.values())

    @property
    def state(self) -> str:
        """What goes on: what the workers were asked to do, while something is left and somebody there to do it."""
        if self.total and (self.ended == self.total or self._is_enough):
            return "done"
        if self.summary.control == "stopping" and not self.alive:
            return "stopped"
        if self.summary.control != "running":
            return self.summary.control
        return "running" if self.alive else "no workers"

    @property
    def _is_enough(self) -> bool:
        """What still waits is not worth it, by the study's own rule."""
        is_wanted = self.study.search.stop_below_noise and not self.summary.trials.get("RUNNING", 0)
        return is_wanted and self.expected_gain is not None and self.expected_gain.is_below_noise

    @property
    def alive(self) -> list[WorkerStatus]:
        """The workers that gave a sign of life within the lease time."""
        lease = self.study.search.lease_seconds
        return [worker for worker in self.summary.workers if not worker.stopped and worker.silent_seconds <= lease]

    @property
    def counts(self) -> list[tuple[str, int, str]]:
        """Trials by state, none that is zero: the state, how many, and what they are called."""
        left = len(self.summary.orphans)
        trials = self.summary.trials | {"RUNNING": self.summary.trials.get("RUNNING", 0) - left}
        named = [(state, trials.get(state, 0), state.lower()) for state in (*ENDED, "RUNNING", "WAITING")]
        return [one for one in (*named, ("WAITING", left, "to be adopted")) if one[1]]

    @property
    def baseline(self) -> float | None:
        """The value of the baseline, where the study has one and it is complete."""
        return self.summary.first if self.study.search.baseline else None

    @property
    def seconds_left(self) -> float | None:
        """About how long the workers need for what is left, at the pace of the trials that ended last."""
        working = len(self.alive)
        trials, each = self.summary.trials, self.summary.seconds_each
        left = trials.get("WAITING", 0) + trials.get("RUNNING", 0) / 2
        return left * each / working if working and left and each is not None else None

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        plain = asdict(self.summary) | {"metric": self.study.search.metric, "fold_epochs": asdict(self.fold_epochs)}
        plain |= {"state": self.state, "baseline": self.baseline, "seconds_left": self.seconds_left}
        return plain | {"ahead": None if self.expected_gain is None else asdict(self.expected_gain)}


def read_status(session: Session, name: str | None = None) -> StudyStatus:
    """The status of the session's study, or of a final job's `name`. Raises StorageError when there is none."""
    name = name or session.study.name
    study = study_as_run(session.database, name)
    summary = summarise(session.database, name, study.search.lease_seconds)
    trials = session.database.read(lambda c: read_compute(c, find_study_id(c, name), study))
    epochs = {trial.number: trial.epochs for trial in trials if trial.state == "RUNNING"}
    ahead = read_expected_gain(session.database, study) if name == study.name else None
    return StudyStatus(study, summary, total_fold_epochs(trials, study), epochs, ahead)


def status_lines(status: StudyStatus) -> list[str]:
    """The status as plain lines."""
    summary = status.summary
    counts = ", ".join(f"{count} {called}" for _, count, called in status.counts)
    lines = [f"study     {summary.name} ({status.state}): {status.ended} of {status.total} trials done: {counts}"]
    if summary.best is not None:
        best = f"{status.study.search.metric} {summary.best.value:.4f}{_against(status)}"
        lines.append(f"best      trial {summary.best.number}: {best}")
    lines.append(f"compute   {_compute(status.fold_epochs)}")
    lines += [] if status.seconds_left is None else [f"left      {_duration(status.seconds_left)}"]
    lines += [] if status.expected_gain is None else [f"ahead     {status.expected_gain}"]
    lines += [f"worker    {_worker_text(worker)}" for worker in summary.workers if not worker.stopped]
    lines += [f"adoptable trial {o.number}, attempt {o.attempt}: {o.why}" for o in summary.orphans]
    lines += [f"failed    trial {failure.number}: {failure.reason}" for failure in summary.failures]
    return lines


def progress_line(status: StudyStatus | None) -> str:
    """The search in one line."""
    if status is None:
        return "preparing the data and the model"
    trials, best = status.summary.trials, status.summary.best
    if status.summary.name != status.study.name:  # a final job: each of its trials is a fold, and none is pruned
        return f"{status.ended}/{status.total} folds, {trials.get('FAIL', 0)} failed"
    counts = f"{status.ended}/{status.total} trials, {trials.get('PRUNED', 0)} pruned, {trials.get('FAIL', 0)} failed"
    return counts if best is None else f"{counts}, best {best.value:.4f} (trial {best.number})"


def worker_problems(snapshot: Snapshot) -> list[str]:
    """Lines that say why the run ends early and how its workers failed, with the last lines of their logs."""
    refused = any(worker.state == "refused" for worker in snapshot.workers)
    lines = [snapshot.stopping] if snapshot.stopping and not refused else []
    for worker in snapshot.workers:
        if worker.note and worker.state != "refused":
            lines += [worker.note, *(f"    {line}" for line in worker.last_lines)]
    return lines


def live_view(status: StudyStatus | None, snapshot: Snapshot) -> RenderableType:
    """The live view; fits 80 columns."""
    parts: list[RenderableType] = [Text(progress_line(status), style="bold") if status is None else _head(status)]
    if status is not None and status.alive:
        parts += [Text(), _worker_table(status)]
    return Group(*parts, *(Text(line, style="yellow") for line in worker_problems(snapshot)))


def _head(status: StudyStatus) -> Table:
    """The study in two to four lines, each under a name as in `status`."""
    summary = status.summary
    counts = [Text.assemble((str(n), f"bold {_STYLES[state]}"), f" {called}") for state, n, called in status.counts]
    bar = ProgressBar(
        total=max(status.total, 1), completed=status.ended, width=20, complete_style="cyan", finished_style="green"
    )
    lines: list[tuple[str, RenderableType]] = [
        (summary.name, Columns([bar, Text(f"{status.ended} of {status.total} done", style="bold")])),
        ("", Text(", ").join(counts)),
    ]
    if summary.best is not None and summary.name == status.study.name:
        best = Text(f"{status.study.search.metric} ").append(f"{summary.best.value:.4f}", style="bold green")
        lines.append(("best", best.append(f", trial {summary.best.number}{_against(status)}")))
    lines.append(("compute", Text(_compute(status.fold_epochs))))
    if status.seconds_left is not None:
        lines.append(("left", Text(_duration(status.seconds_left))))
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
    name = f"{worker.device} {worker.pid}"
    if worker.number is None or worker.fold is None or worker.epoch is None:
        return [name, "", "", "idle" if worker.number is None else "starting", "", "", ""]
    epochs = status.epochs.get(worker.number, worker.epoch)
    return [
        name,
        str(worker.number),
        str(worker.fold),
        f"{worker.epoch:.1f}/{epochs:g}",
        ProgressBar(total=epochs, completed=worker.epoch, width=12, complete_style="cyan", finished_style="green"),
        _score(worker, status.summary.best),
        "" if worker.rows_per_second is None else f"{worker.rows_per_second:.0f}",
    ]


def _score(worker: WorkerStatus, best: Best | None) -> Text:
    """What the worker's trial has reached, and how far that is from the best."""
    if worker.accuracy is None:
        return Text()
    score = Text(f"{worker.accuracy:.4f}")
    if best is not None:
        ahead = worker.accuracy - best.value
        score.append(f" {ahead:+.4f}", style="green" if ahead >= 0 else "red")
    return score


def _against(status: StudyStatus) -> str:
    best, baseline = status.summary.best, status.baseline
    return "" if best is None or baseline is None else f", {best.value - baseline:+.4f} against the baseline"


def _compute(spent: FoldEpochs) -> str:
    whole = spent.spent + spent.saved
    saved = f", {spent.saved:.0f} ({spent.saved / whole:.0%}) saved by pruning" if spent.saved else ""
    return f"{spent.spent:.0f} fold-epochs spent{saved}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute or less"
    return f"about {minutes} min" if minutes < 90 else f"about {seconds / 3600:.1f} h"


def _worker_text(worker: WorkerStatus) -> str:
    where = f"{worker.device} on {worker.host}, pid {worker.pid}, last sign {worker.silent_seconds:.0f} s ago"
    if worker.number is None or worker.epoch is None:
        return f"{where}: {'idle' if worker.number is None else f'trial {worker.number}, starting'}"
    accuracy = "" if worker.accuracy is None else f", best {worker.accuracy:.4f}"
    return f"{where}: trial {worker.number}, fold {worker.fold}, epoch {worker.epoch:.1f}{accuracy}"
