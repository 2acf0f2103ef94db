"""Workers under abuse, ours and plain Optuna's in one run: trials lost and repeated, claims and reports per second.

    python -m benchmarks.workers [--quick] [--full] [--only MEASUREMENT ...] [--on sqlite postgresql] [--json]

Plain Optuna has its heartbeat and its retry callback switched on. PostgreSQL is a server of our own that is started
here. The last line is one JSON object with `--json`. `--full` is T13 whole: 1,000 reporters instead of 100.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: many processes of many threads crawl

import optuna  # after the number of threads is said

from benchmarks import abuse, claims, thousand
from benchmarks.abuse import SYSTEMS
from benchmarks.databases import KINDS, Databases, databases, make_study
from benchmarks.lives import Plan
from benchmarks.overhead import overhead
from foldrace.search.study_store import open_study
from foldrace.storage.database import Database
from tests.support.history import History, trials_for

Row = dict[str, Any]

QUEUE = Plan(workers=16, trials=500)
# Trials are short against the lease, since only a worker that is free adopts; and workers live longer than it, since
# only one that has watched for a lease time knows of a death that nobody told. A trial that is killed three times
# before its first evaluation fails, as it should, so that evaluation is a small part of it.
KILLS = Plan(
    workers=8, trials=660, kills=200, cells=16, cell_seconds=0.1, kill_every=50, limit_seconds=300, lease_seconds=4
)
HISTORY_STEPS = 10_000
DEMO_TRIALS = 14
HISTORIES, WORKERS = (0, 1_000, 10_000), (1, 8, 32)
CLAIM_SECONDS, COLD_ROUNDS = 3.0, 3
BELIEVED = (100, 300, 1_000)  # trials
THOUSAND_SECONDS = 40.0  # of each phase

# An outage is longer than a lease: nobody may take it for the death of all the others.
OUTAGE = Plan(workers=8, trials=80, cells=12, cell_seconds=0.05, limit_seconds=60, lease_seconds=6)
OUTAGES, DROPS = (0.0, 20.0, 60.0), 20  # seconds; times that all connections are dropped

QUICK_QUEUE = Plan(workers=8, trials=40, limit_seconds=30)
QUICK_KILLS = Plan(
    workers=4, trials=16, kills=6, cells=8, cell_seconds=0.1, kill_every=10.0, limit_seconds=30, lease_seconds=3
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small one of each, for a look")
    parser.add_argument("--full", action="store_true", help="1,000 reporters")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--on", nargs="+", choices=KINDS, default=list(KINDS), help="a part of it, to be run by itself")
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    result: dict[str, Any] = {"load_before": os.getloadavg()[0], "cores": os.cpu_count()}
    with databases() as made:
        for name in arguments.only:
            print(f"\n{TITLES[name]}", flush=True)
            result[name] = list(shown(MEASUREMENTS[name](made, arguments)))
    result["load_after"] = os.getloadavg()[0]
    print(
        f"\nload before and after, on {result['cores']} cores: {result['load_before']:.1f}, {result['load_after']:.1f}"
    )
    if arguments.json:
        print(json.dumps(result))


def queue(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """T1: many workers, one queue."""
    yield from _abused(made, arguments.on, QUICK_QUEUE if arguments.quick else QUEUE)


def kills(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """T2: SIGKILL at random moments."""
    yield from _abused(made, arguments.on, QUICK_KILLS if arguments.quick else KILLS)


def _abused(made: Databases, kinds: Sequence[str], plan: Plan) -> Iterator[Row]:
    for kind in kinds:
        for system in SYSTEMS:
            with tempfile.TemporaryDirectory() as folder:
                outcome = abuse.abuse(system, made.fresh(kind), Path(folder) / "files", plan)
            yield {"database": kind} | asdict(outcome)


def outages(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """T6 and T7: the database is away while the workers work."""
    usual = replace(OUTAGE, workers=4, trials=40) if arguments.quick else OUTAGE
    for kind in arguments.on:
        for seconds in (0.0, 5.0) if arguments.quick else OUTAGES:
            plan = replace(usual, limit_seconds=usual.limit_seconds + seconds)
            for system in SYSTEMS:
                url = made.fresh(kind)
                yield _disturbed(kind, f"{seconds:g} s", system, url, plan, partial(made.take_away, url, seconds))
        for system in SYSTEMS if kind == "postgresql" else ():
            url = made.fresh(kind)
            yield _disturbed(kind, "drops", system, url, usual, partial(made.drop_connections, url, DROPS))


def _disturbed(kind: str, away: str, system: str, url: str, plan: Plan, disturb: Callable[[], None]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        outcome = asdict(abuse.abuse(system, url, Path(folder) / "files", plan, disturb))
    told = ("trials", "begun_twice", "lost", "completed_twice", "failed", "left", "crashed", "seconds", "timed_out")
    return {"database": kind, "system": system, "away": away} | {name: outcome[name] for name in told}


def history(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """T18: ours alone, since plain Optuna has no owner to check."""
    steps = 200 if arguments.quick else HISTORY_STEPS
    for kind in arguments.on:
        database = Database.open(made.fresh(kind))
        study = make_study("history", trials_for(steps))
        open_study(database, study)
        began, told = time.monotonic(), History(database, study, seed=18)
        told.run(steps)
        done, seconds = told.done, time.monotonic() - began
        database.close()
        names = ("claim", "report", "checkpoint", "let_go", "freeze", "die")
        ended = {"ended": len(told.checker.ended), "seconds": seconds}
        yield {"database": kind, "steps": steps} | {name: done[name] for name in names} | ended


def claim_rates(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """Warm claims; the two systems take turns."""
    sizes = (0, 300) if arguments.quick else HISTORIES
    counts = (1, 4) if arguments.quick else WORKERS
    seconds = 0.5 if arguments.quick else CLAIM_SECONDS
    for kind in arguments.on:
        url = made.fresh(kind)
        for history in sizes:
            for count in counts:
                for system in SYSTEMS:
                    yield {"database": kind} | asdict(claims.claim_rate(system, url, history, count, seconds))


def claim_computes(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """What a claim computes, ours alone."""
    for kind in arguments.on:
        for order in ("folds", "trials"):
            for count in (30, 100) if arguments.quick else BELIEVED:
                yield {"database": kind} | asdict(claims.claim_compute(made.fresh(kind), order, count))


def cold_claims(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """The first claim of a process that has read nothing yet."""
    history, rounds = (300, 1) if arguments.quick else (HISTORIES[-1], COLD_ROUNDS)
    for kind in arguments.on:
        url = made.fresh(kind)
        for _ in range(rounds):
            for system in SYSTEMS:
                seconds = claims.first_claim(system, url, history)
                yield {"database": kind, "system": system, "history": history, "seconds": seconds}


def reports(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """T13: many reporters at once."""
    reporters, steps = (20, 10) if arguments.quick else (1_000 if arguments.full else 100, 100)
    for system in SYSTEMS:
        yield {"database": "postgresql"} | asdict(claims.reports(system, made.fresh("postgresql"), reporters, steps))


def thousands(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """Ours alone, on the server of a workspace."""
    counts, seconds = ((2, 20), 5.0) if arguments.quick else ((10, 1_000), THOUSAND_SECONDS)
    for count in counts:
        for load in thousand.loads(count, seconds):
            yield asdict(load)


def overheads(made: Databases, arguments: argparse.Namespace) -> Iterator[Row]:
    """Of an undisturbed search of the demo; ours alone, since plain Optuna does not train it."""
    trials = 3 if arguments.quick else DEMO_TRIALS
    for kind in arguments.on:
        with tempfile.TemporaryDirectory() as folder:
            yield {"database": kind} | asdict(overhead(made.fresh(kind), Path(folder), workers=2, trials=trials))


def shown(rows: Iterator[Row]) -> Iterator[Row]:
    """Print each row as soon as it is there, under the names of its columns."""
    for index, row in enumerate(rows):
        if index == 0:
            print("  ".join(f"{name:>{_width(name)}}" for name in row), flush=True)
        print("  ".join(f"{_text(value):>{_width(name)}}" for name, value in row.items()), flush=True)
        yield row


def _width(name: str) -> int:
    return max(len(name), 10)


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return " / ".join(f"{each:.2f}" for each in value) or "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


Measurement = Callable[[Databases, argparse.Namespace], Iterator[Row]]
MEASUREMENTS: dict[str, Measurement] = {
    "queue": queue,
    "kills": kills,
    "outages": outages,
    "history": history,
    "claims": claim_rates,
    "compute": claim_computes,
    "cold": cold_claims,
    "reports": reports,
    "thousand": thousands,
    "overhead": overheads,
}
TITLES = {
    "queue": "T1: workers on one queue, nobody killed",
    "kills": "T2: workers killed at random moments; waits in lease times, median / longest",
    "outages": "T6, T7: the server stopped and started, its connections dropped; the file locked",
    "history": "T18: a random history, checked at each step: what was done in it, and how many trials had one end",
    "claims": "claims, warm: milliseconds (median, 99 %), and claims per second of all workers",
    "compute": "what a claim computes: CPU milliseconds",
    "cold": "the first claim of a new process: seconds",
    "reports": "T13: reporters at once: milliseconds of a report (median, 99 %)",
    "thousand": "simulated workers on one server, a second; connections, of 200; CPU seconds of the server",
    "overhead": "the demo, two workers: seconds inside the protocol, and their share without the pruner's",
}

if __name__ == "__main__":
    main()
