"""A heartbeat beats while its loop makes progress, survives errors, and ends a worker that hangs."""

import threading

import pytest

from foldrace.search.trials.heartbeat import MIN_HANG_SECONDS, Heartbeat, HeartbeatSettings


def heartbeat_of(now: list[float], hung: list[bool]) -> Heartbeat:
    return Heartbeat(lambda: True, HeartbeatSettings(10.0, lambda: now[0], lambda: hung.append(True)))


@pytest.mark.parametrize(
    ("interval", "silence", "hangs"),
    [(2, MIN_HANG_SECONDS - 1, False), (2, MIN_HANG_SECONDS + 1, True), (300, 2999, False), (300, 3001, True)],
)
def test_silent_for_ten_times_its_usual_interval_is_hung(
    now: list[float], interval: float, silence: float, hangs: bool
) -> None:
    hung: list[bool] = []
    heartbeat = heartbeat_of(now, hung)
    for _ in range(5):
        now[0] += interval
        heartbeat.touch()
    now[0] += silence
    assert heartbeat.once() is not hangs
    assert hung == [True] * hangs


def test_a_first_sign_may_take_as_long_as_a_download(now: list[float]) -> None:
    heartbeat = heartbeat_of(now, [])
    now[0] += MIN_HANG_SECONDS - 1
    assert not heartbeat.hangs
    now[0] += 2
    assert heartbeat.hangs


def test_an_outage_is_no_hang(now: list[float]) -> None:
    def beat() -> bool:
        raise OSError("the database is away, and the loop may wait for it too")

    hung: list[bool] = []
    heartbeat = Heartbeat(beat, HeartbeatSettings(10.0, lambda: now[0], lambda: hung.append(True)))
    for _ in range(4):
        now[0] += MIN_HANG_SECONDS - 1
        with pytest.raises(OSError, match="away"):
            heartbeat.once()
    assert hung == []


def test_a_beat_that_fails_is_repeated() -> None:
    again = threading.Event()
    failures = iter([OSError("gone"), OSError("still gone")])

    def beat() -> bool:
        for failure in failures:
            raise failure
        again.set()
        return False

    heartbeat = Heartbeat(beat, HeartbeatSettings(0.01, lambda: 0.0))
    heartbeat.start()
    assert again.wait(10)
    heartbeat.stop()
