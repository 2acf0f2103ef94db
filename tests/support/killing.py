"""Kill a process, or stop it, at a step that is counted, not timed."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from foldrace.search.trials.claim import Claim
from foldrace.storage.files import atomic, exchange

_WRITING = (atomic.__file__, exchange.__file__)


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that is killed before call number `step` out of storage/files; False: it ended."""
    child = os.fork()
    if child == 0:
        sys.setprofile(_killer(step))
        try:
            work()
        finally:
            os._exit(0)  # nothing of the parent's is to be cleaned up
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _killer(step: int) -> Callable[[FrameType, str, object], None]:
    calls = iter(range(step + 1))

    def profile(frame: FrameType, event: str, _: object) -> None:
        caller = {"call": frame.f_back, "c_call": frame}.get(event)
        if caller is not None and caller.f_code.co_filename in _WRITING and next(calls, None) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return profile


@dataclass(frozen=True)
class Moment:
    """Before a worker's claim of a fold does something, once so many evaluations of the fold are stored.

    Attributes:
        fold: the number of its trial, and its own.
        method: of the claim; its first call is meant.
    """

    fold: tuple[int, int]
    stored: int
    method: str
    sends: int = signal.SIGKILL

    def is_now(self, claim: Claim) -> bool:
        stored = sum(fold == claim.fold for fold, _ in claim.evaluations)
        return ((claim.number, claim.fold), stored) == (self.fold, self.stored)


def signal_at(moment: Moment) -> None:
    """Have this process, a worker, send itself a signal. While it is stopped, it holds no lock of the database."""
    method, beat, quiet = getattr(Claim, moment.method), Claim.beat, threading.Lock()

    def interrupted(claim: Claim, *args: Any, **kwargs: Any) -> Any:
        if moment.is_now(claim):
            setattr(Claim, moment.method, method)
            with quiet:
                os.kill(os.getpid(), moment.sends)
        return method(claim, *args, **kwargs)

    def beat_quietly(claim: Claim) -> bool:
        with quiet:
            return beat(claim)

    for name, instead in ((moment.method, interrupted), ("beat", beat_quietly)):
        setattr(Claim, name, instead)
