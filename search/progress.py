"""How a search stands, and how that is told to a person: the words of `status`, the picture of the live view."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.enough import Prospect
from search.ledger import Ledger, ledger, running_epochs
from search.prospects import prospect_of
from search.session import Session
from search.summary import Summary, WorkerLine, summarise
from search.supervisor import Snapshot
from studies.study import Study

ENDED = ("COMPLETE", "PRUNED", "FAIL")


@dataclass(frozen=True)
class Standing:
    """How a search stands; `epochs` of a fold, by the number of each running trial."""

    study: Study
    summary: Summary
    ledger: Ledger
    epochs: dict[int, float]
    prospect: Prospect | None

    @property
    def ended(self) -> int:
        return sum(self.summary.trials.get(state, 0) for state in ENDED)

    @property
    def total(self) -> int:
        return sum(self.summary.trials.values())

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        told = asdict(self.summary) | {"metric": self.study.search.metric, "fold_epochs": asdict(self.ledger)}
        return told | {"ahead": None if self.prospect is None else asdict(self.prospect)}


def standing(session: Session, name: str | None = None) -> Standing:
    """How a study stands; `name` is that of a final job. Raises StorageError when there is none of that name."""
    name = name or session.study.name
    summary = summarise(session.database, name, session.study.search.lease_seconds)
    epochs = running_epochs(session.database, session.study, name)
    spent = ledger(session.database, session.study, name)
    ahead = prospect_of(session.database, session.study) if name == session.study.name else None
    return Standing(session.study, summary, spent, epochs, ahead)


def describe(now: Standing) -> list[str]:
    """The standing in plain lines."""
    summary, trials = now.summary, now.summary.trials
    counts = ", ".join(
        f"{trials[state]} {state.lower()}" for state in (*ENDED, "RUNNING", "WAITING") if state in trials
    )
    lines = [f"study     {summary.name} ({summary.control}): {now.ended} of {now.total} trials done: {counts}"]
    if summary.best is not None:
        lines.append(f"best      trial {summary.best.number}: {now.study.search.metric} {summary.best.value:.4f}")
    whole = now.ledger.spent + now.ledger.saved
    share = f" ({now.ledger.saved / whole:.0%} of what it would have cost)" if whole else ""
    lines.append(f"compute   {now.ledger.spent:.0f} fold-epochs spent, {now.ledger.saved:.0f} saved by pruning{share}")
    lines += [] if now.prospect is None else [f"ahead     {now.prospect}"]
    lines += [f"worker    {_worker_text(worker)}" for worker in summary.workers if not worker.stopped]
    lines += [f"adoptable trial {o.number}, attempt {o.attempt}: {o.why}" for o in summary.orphans]
    lines += [f"failed    trial {failure.number}: {failure.reason}" for failure in summary.failures]
    return lines


def watch_status(session: Session, seconds: float = 2.0) -> None:
    """Refresh the status until interrupted."""
    console = Console()
    with Live(console=console, refresh_per_second=2) as live:
        while True:
            live.update(picture(standing(session), None))
            time.sleep(seconds)


def headline(now: Standing | None) -> str:
    """The search in one line."""
    if now is None:
        return "preparing the data and the model"
    trials, best = now.summary.trials, now.summary.best
    if now.summary.name != now.study.name:  # a final job: each of its trials is a fold, and none is pruned
        return f"{now.ended}/{now.total} folds, {trials.get('FAIL', 0)} failed"
    told = f"{now.ended}/{now.total} trials, {trials.get('PRUNED', 0)} pruned, {trials.get('FAIL', 0)} failed"
    return told if best is None else f"{told}, best {best.value:.4f} (trial {best.number})"


def troubles(snapshot: Snapshot) -> list[str]:
    """Why the run ends early, and what went wrong in its workers, with their last lines."""
    refused = any(worker.state == "refused" for worker in snapshot.workers)
    lines = [snapshot.stopping] if snapshot.stopping and not refused else []
    for worker in snapshot.workers:
        if worker.note and worker.state != "refused":
            lines += [worker.note, *(f"    {line}" for line in worker.last_lines)]
    return lines


def picture(now: Standing | None, snapshot: Snapshot | None) -> RenderableType:
    """The live view; fits 80 columns."""
    if now is None:
        return Text(headline(now), style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for column in ("worker", "trial", "fold", "epoch", "", now.study.search.metric, "rows/s"):
        table.add_column(column, justify="right" if column in ("trial", "fold", "rows/s") else "left", no_wrap=True)
    for worker in now.summary.workers:
        if not worker.stopped:
            table.add_row(*_worker_cells(worker, now))
    parts: list[RenderableType] = [Text(headline(now), style="bold"), table]
    parts += [Text(line, style="yellow") for line in (troubles(snapshot) if snapshot else [])]
    return Group(*parts)


def _worker_cells(worker: WorkerLine, now: Standing) -> list[RenderableType]:
    if worker.number is None or worker.fold is None or worker.epoch is None:
        return [worker.device, "", "", "idle" if worker.number is None else "starting", "", "", ""]
    epochs = now.epochs.get(worker.number, worker.epoch)
    best = now.summary.best
    ahead = "" if best is None or worker.accuracy is None else f" ({worker.accuracy - best.value:+.4f})"
    return [
        worker.device,
        str(worker.number),
        str(worker.fold),
        f"{worker.epoch:.1f}/{epochs:g}",
        ProgressBar(total=epochs, completed=worker.epoch, width=14),
        "" if worker.accuracy is None else f"{worker.accuracy:.4f}{ahead}",
        "" if worker.rows_per_second is None else f"{worker.rows_per_second:.0f}",
    ]


def _worker_text(worker: WorkerLine) -> str:
    where = f"{worker.device} on {worker.host}, pid {worker.pid}, last sign {worker.silent_seconds:.0f} s ago"
    if worker.number is None or worker.epoch is None:
        return f"{where}: {'idle' if worker.number is None else f'trial {worker.number}, starting'}"
    accuracy = "" if worker.accuracy is None else f", best {worker.accuracy:.4f}"
    return f"{where}: trial {worker.number}, fold {worker.fold}, epoch {worker.epoch:.1f}{accuracy}"
