"""The status of a study in plain lines. Never imports rich: `foldrace status` does without."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from foldrace.search.assessment.edges import edge_words
from foldrace.search.ending import Outlook
from foldrace.search.monitor.status import BestTrial, OrphanedTrial, StudyStatus, WorkerStatus
from foldrace.search.ranking import BY_HAND, lead_trial
from foldrace.search.words import counted, duration, edited_words, knobs_text
from foldrace.search.workers.supervisor import Snapshot
from foldrace.storage.optuna_rows import ENDED

if TYPE_CHECKING:
    from foldrace.search.assessment.assessment import Assessment


def status_lines(status: StudyStatus) -> list[str]:
    """The status as plain lines."""
    by_state, metric = ", ".join(f"{n} {called}" for _, n, called in counts(status)), status.study.search.metric
    done = f"{status.ended} of {status.total} {_things(status)} done: {by_state}"
    lines = [f"study     {status.name} ({status.state}): {done}"]
    lines += [f"edited    {edited_words(status.edited)}"] if status.edited else []
    if status.best is not None and not status.is_final:
        best = f"{metric} {status.best.value:.4f}{against(status)}"
        by_hand = f" ({BY_HAND})" if status.best.by_hand else ""
        lines.append(f"best      trial {status.best.number}: {best}{by_hand}")
        lines += [f"knobs     {knobs_text(status.best.knobs)}"] if status.best.knobs else []
        edges = edge_words(status.study, status.best.knobs)
        lines += [f"edges     {edges}"] if edges else []
    if status.assessment is not None and not status.is_final:
        lines += _assessment_lines(status.assessment, status.best)
    lines += [f"rescore   {rescore}" for rescore in status.rescores]
    lines += [f"final     {final}" for final in status.finals]
    lines.append(f"compute   {compute(status)}")
    lines += [f"prior     {prior}" for prior in status.priors]
    lines += [] if status.seconds_left is None else [f"left      about {duration(status.seconds_left)}"]
    outlook = None if status.usage is None else status.usage.outlook
    lines += [] if outlook is None else [f"ahead     {_ahead(outlook, status.has_converged)}"]
    lines += [] if status.end is None else [f"ended     {status.end.reason}"]
    lines += [f"worker    {_worker_text(worker, metric)}" for worker in status.workers if not worker.stopped]
    lines += [f"queued    {task}" for task in status.queued]
    lines += [] if not status.aside else [f"aside     {_aside(status.aside)}"]
    lines += [f"adoptable {_orphan_text(orphan)}" for orphan in status.orphans]
    lines += [f"failed    trial {failure.number}: {failure.reason}" for failure in status.failures]
    return lines


def _things(status: StudyStatus) -> str:
    """What the trials of a study or a job are."""
    if not status.is_final:
        return "trials"
    return "folds" if status.study.final.validation else "models"


def _assessment_lines(assessment: "Assessment", best: BestTrial | None) -> list[str]:
    leader = []
    if best is not None and best.number != assessment.trial:
        taken = lead_trial(best.number, assessment.trial, by_hand=best.by_hand)
        it = "it" if taken == assessment.trial else f"trial {taken}"
        leader = [f"leader    trial {assessment.trial} by all that is known; `foldrace export` takes {it}"]
    return [*leader, *assessment.lead_lines, *assessment.lines]


def status_json(status: StudyStatus) -> dict[str, Any]:
    """The status as plain data."""
    return {
        "name": status.name,
        "control": status.control,
        "trials": status.trials,
        "evaluations": status.evaluations,
        "best": None if status.best is None else asdict(status.best),
        "first": status.first,
        "seconds_each": status.seconds_each,
        "finals": [asdict(final) for final in status.finals],
        "workers": [asdict(worker) | {"job": worker.job} for worker in status.workers],
        "failures": [asdict(failure) for failure in status.failures],
        "orphans": [asdict(orphan) for orphan in status.orphans],
        "metric": status.study.search.metric,
        "fold_epochs": asdict(status.fold_epochs),
        "state": status.state,
        "edited": status.edited,
        "baseline": status.baseline,
        "seconds_left": status.seconds_left,
        "used": None if status.usage is None else status.usage.to_json(),
        "ahead": None if status.usage is None or status.usage.outlook is None else asdict(status.usage.outlook),
        "converged": status.has_converged,
        "end": None if status.end is None else status.end.reason,
        "priors": [asdict(prior) for prior in status.priors],
        "rescores": [asdict(rescore) for rescore in status.rescores],
        "aside": dict(status.aside),
        "assessment": None if status.assessment is None else status.assessment.to_json(),
        "queued": list(status.queued),
    }


def progress_line(status: StudyStatus | None) -> str:
    """The search in one line."""
    if status is None:
        return "preparing the data and the model"
    trials, best = status.trials, status.best
    asked = "" if status.control == "running" else f"{status.state}: "
    if status.is_final:
        return f"{asked}{status.ended}/{status.total} {_things(status)}, {trials.get('FAIL', 0)} failed"
    ended = f"{status.ended}/{status.total} trials, {trials.get('PRUNED', 0)} pruned"
    ended += f", {len(status.aside)} put aside" if status.aside else ""
    line = f"{asked}{ended}, {trials.get('FAIL', 0)} failed"
    return line if best is None else f"{line}, best {best.value:.4f} (trial {best.number})"


def minute_line(status: StudyStatus) -> str:
    """What each worker does and how long the rest takes, in one line for a log."""
    at_work = [worker for worker in status.alive if worker.number is not None]
    parts = [_place_text(worker, status) for worker in at_work] or ["all workers are idle"]
    left = "" if status.seconds_left is None else f"; about {duration(status.seconds_left)} left"
    return "; ".join(parts) + left


def is_on_several(status: StudyStatus) -> bool:
    """Whether workers are on several machines or nodes, so that people ask on which."""
    return len({worker.host for worker in status.alive}) > 1


def _place_text(worker: WorkerStatus, status: StudyStatus) -> str:
    where = f" on {worker.host} ({worker.device})" if is_on_several(status) else ""
    name, fold = f"trial {worker.number}", f", fold {worker.fold}"
    if status.is_final and worker.number is not None:  # its trials are folds, by numbers that nobody else has seen
        name, fold = f"fold {worker.number + 1} of {max(status.total, worker.number + 1)}", ""
    if worker.number is None or worker.fold is None or worker.epoch is None:
        return f"{name}{where}, starting"
    score = "" if worker.accuracy is None else f", {status.study.search.metric} {worker.accuracy:.4f}"
    epochs = status.epochs.get(worker.number, worker.epoch)
    return f"{name}{where}{fold}, epoch {worker.epoch:.1f} of {epochs:g}{score}"


def worker_problems(snapshot: Snapshot) -> list[str]:
    """Lines that say why the run ends early and how its workers failed, with the last lines of their logs."""
    refused = any(worker.state == "refused" for worker in snapshot.workers)
    lines = [snapshot.stopping] if snapshot.stopping and not refused else []
    for worker in snapshot.workers:
        if worker.note and worker.state != "refused":
            lines += [worker.note, *(f"    {line}" for line in worker.last_lines)]
    return lines


def against(status: StudyStatus) -> str:
    """By how much the best trial beats the baseline; empty where that is not known."""
    best, baseline = status.best, status.baseline
    if best is None or baseline is None:
        return ""
    return ", the baseline" if best.number == 0 else f", {best.value - baseline:+.4f} against the baseline"


def compute(status: StudyStatus) -> str:
    """What the search has spent, and what pruning has saved; a job has neither budgets nor pruning."""
    spent, search, used = status.fold_epochs, status.study.search, status.usage
    if status.is_final:
        return f"{spent.spent:.0f} fold-epochs spent"
    whole = spent.spent + spent.saved
    saved = f", {spent.saved:.0f} ({spent.saved / whole:.0%}) saved by pruning" if spent.saved else ""
    of = "" if search.fold_epochs is None else f" of {search.fold_epochs:g}"
    hours = ""
    if used is not None and search.gpu_hours is not None:
        hours = f", {used.gpu_hours:.2f} of {search.gpu_hours:g} GPU hours"
    return f"{spent.spent:.0f}{of} fold-epochs spent{saved}{hours}"


def _ahead(outlook: Outlook, has_converged: bool) -> str:
    says = "it has converged" if has_converged else "it has not converged"
    return f"the next trial can be expected to gain {outlook.gain:.4f} (trials differ by {outlook.spread:.4f}): {says}"


def _worker_text(worker: WorkerStatus, metric: str) -> str:
    task = f", job {worker.job}" if worker.job else ""
    where = f"{worker.device} on {worker.host}{task}, pid {worker.pid}, last sign {worker.silent_seconds:.0f} s ago"
    if worker.number is None or worker.epoch is None:
        return f"{where}: {'idle' if worker.number is None else f'trial {worker.number}, starting'}"
    estimate = "" if worker.accuracy is None else f", {metric} {worker.accuracy:.4f} so far"
    return f"{where}: trial {worker.number}, fold {worker.fold}, epoch {worker.epoch:.1f}{estimate}"


def _orphan_text(orphan: OrphanedTrial) -> str:
    fold = "" if orphan.fold is None else f", fold {orphan.fold}"
    return f"trial {orphan.number}{fold}, attempt {orphan.attempt}: {orphan.why}"


def _aside(folds: Mapping[int, int]) -> str:
    """The trials that were put aside, by how many folds of them are done."""
    by_count: dict[int, list[int]] = {}
    for number, count in sorted(folds.items()):
        by_count.setdefault(count, []).append(number)
    return "; ".join(
        f"{counted(count, 'fold')} of trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
        for count, numbers in sorted(by_count.items(), reverse=True)
    )


def counts(status: StudyStatus) -> list[tuple[str, int, str]]:
    """Trials by state, none that is zero: the state whose style they have, how many, and what they are called."""
    orphans, aside = len({orphan.number for orphan in status.orphans}), len(status.aside)
    trials = status.trials | {"RUNNING": status.trials.get("RUNNING", 0) - orphans - aside}
    named = [(state, trials.get(state, 0), state.lower()) for state in (*ENDED, "RUNNING", "WAITING")]
    named += [("PRUNED", aside, "put aside"), ("WAITING", orphans, "to be adopted")]
    return [one for one in named if one[1]]
