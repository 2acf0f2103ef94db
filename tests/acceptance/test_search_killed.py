"""A search by folds whose workers are killed, and one is frozen, ends as the search that nobody touched.

One worker lives after the other: what is sampled, and which fold is next, follow from the seed and the history alone.
The moments follow from what the undisturbed search did, and from a seed.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from foldrace.search.ensemble.export import select_trial
from foldrace.search.monitor.status_reader import read_status
from foldrace.storage.leases.lease import mark_orphaned
from foldrace.storage.workers import set_control
from tests.support.commands import wait, wait_for_end
from tests.support.killing import Moment
from tests.support.live_search import EVALUATIONS, LOOKS_OF_A_LEASE, NAME, Fold, LiveSearch

Hit = tuple[Fold, int | None]  # a fold whose worker was killed or frozen, and the step of its newest checkpoint then


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSearch]:
    """The search that one worker did alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with closing(LiveSearch(folder, f"sqlite:///{folder}/study.db")) as search:
        assert wait_for_end(search.begin(), 120) == 0, search.said_by(0)
        yield search


@pytest.fixture
def search(storage_url: str, tmp_path: Path) -> Iterator[LiveSearch]:
    with closing(LiveSearch(tmp_path, storage_url)) as search:
        yield search


def kills_of(undisturbed: LiveSearch) -> list[Moment]:
    """When workers are killed, in the order of the undisturbed search.

    A first fold is hit three times between an evaluation and its checkpoint; another one when its result is saved and
    the database does not know; a final fold when its checkpoint is written; the last trial when its knobs are drawn.
    """
    chance, begun, results = random.Random(1), list(undisturbed.attempts()), undisturbed.results()
    assert undisturbed.finals(), "no final fold was trained, so none can be hit: give the study other seeds"
    often, saved = chance.sample([fold for fold in begun if fold[0] > 0 and fold[1] == 0 and fold in results], 2)
    kills = [Moment(often, stored, "rest") for stored in (1, 2, 3)]
    kills += [Moment(saved, EVALUATIONS, "put_aside"), Moment((max(begun)[0], 0), 0, "begin")]
    kills += [Moment(chance.choice(undisturbed.finals()), chance.choice((1, 2)), "note_checkpoint")]
    return sorted(kills, key=lambda moment: (begun.index(moment.fold), moment.stored))


def kill(search: LiveSearch, moment: Moment) -> Hit:
    """Let a worker live until then; its death is told to the database, as a supervisor does."""
    worker, name = search.begin(moment), len(search.workers) - 1
    worker.join(120)
    assert worker.exitcode == -signal.SIGKILL, search.said_by(name)
    assert (search.in_work(), search.stored(moment.fold)) == ([moment.fold], moment.stored)
    assert read_status(search.database, NAME).aside
    mark_orphaned(search.database, f"worker-{name}", "killed", is_attempt=True)
    return moment.fold, search.newest_step(moment.fold)


def freeze(search: LiveSearch, fold: Fold) -> Hit:
    """Freeze a worker for longer than its lease, and wake it while its heir is in the same fold.

    Both stop before they report an evaluation. All are paused meanwhile, so that nobody begins another fold.
    """
    worker = len(search.workers)
    frozen = stopped(search.begin(Moment(fold, 2, "report", signal.SIGSTOP)), lambda: search.said_by(worker))
    step = search.newest_step(fold)
    set_control(search.database, NAME, "paused")
    heir = search.begin(Moment(fold, 3, "report", signal.SIGSTOP))
    wait(lambda: search.looks(worker + 1) > LOOKS_OF_A_LEASE, lambda: search.said_by(worker + 1))
    set_control(search.database, NAME, "running")
    stopped(heir, lambda: search.said_by(worker + 1))
    set_control(search.database, NAME, "paused")
    wake(frozen)
    lost = f"trial {fold[0]} was taken over by another worker"
    wait(lambda: lost in search.said_by(worker), lambda: search.said_by(worker))
    wake(heir)
    wait(lambda: not search.in_work(), lambda: search.said_by(worker + 1))
    set_control(search.database, NAME, "running")
    assert [wait_for_end(frozen, 120), wait_for_end(heir, 120)] == [0, 0]
    return fold, step


def stopped(worker: ForkProcess, said: Callable[[], str]) -> ForkProcess:
    """A worker, once it is stopped."""
    assert worker.pid is not None
    ends, pid = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG, worker.pid
    seen = wait(lambda: os.waitid(os.P_PID, pid, ends), said)
    assert seen.si_code == os.CLD_STOPPED, said()
    return worker


def wake(worker: ForkProcess) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGCONT)


def test_a_search_whose_workers_are_killed_and_frozen_ends_as_the_undisturbed_one(
    undisturbed: LiveSearch, search: LiveSearch
) -> None:
    hits, finished = list[Hit](), dict[Path, int]()
    for moment in kills_of(undisturbed):
        hits.append(kill(search, moment))
        finished = {path: path.stat().st_mtime_ns for path in search.results().values()} | finished
    hits.append(freeze(search, list(undisturbed.attempts())[-1]))

    assert search.trials() == undisturbed.trials()
    assert {trial["state"] for trial in search.trials()} == {"COMPLETE", "PRUNED"}
    assert select_trial(search.database, search.study()) == select_trial(undisturbed.database, undisturbed.study())
    # Each fold was begun once, and once more for each hit, from its newest checkpoint; none was trained again.
    times = Counter(fold for fold, _ in hits)
    assert list(search.attempts().items()) == [(fold, 1 + times[fold]) for fold in undisturbed.attempts()]
    for heir, (fold, step) in enumerate(hits, 1):
        assert search.resumed_by(heir) == ([] if step is None else [(fold, step)])
    assert sum(step is not None for _, step in hits) >= 4
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert search.results().keys() == undisturbed.results().keys()
    assert times.keys() & set(search.finals())
    assert not search.in_work()
