"""Workers and their claims as tests need them: no thread beats, and the clock may stand still."""

from foldrace.search.trials.claim import Claim
from foldrace.search.trials.claims import Trials
from foldrace.search.trials.heartbeat import HeartbeatSettings

NO_HEARTBEAT = HeartbeatSettings(seconds=0)


def on_clock(now: list[float]) -> HeartbeatSettings:
    """No thread beats, and `now[0]` is the time."""
    return HeartbeatSettings(seconds=0, clock=lambda: now[0])


def must_claim(trials: Trials) -> Claim:
    """The trial that is to be had now; a test that expects one fails without it."""
    claim = trials.claim()
    assert claim is not None
    return claim
