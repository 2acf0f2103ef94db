"""Kill a process in the middle of writing a file, at a step that is counted, not timed."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

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
