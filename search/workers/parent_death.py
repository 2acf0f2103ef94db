"""A worker ends with the supervisor that started it, even when the supervisor is killed."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Arrange that this process gets SIGTERM as soon as process `parent` is gone, even if that was killed.

    A worker calls it at its start, with the process id of the supervisor that started it directly. Linux sends the
    signal when the thread that started this process ends, so `Supervisor.run` belongs in the main thread. Elsewhere a
    thread looks for the parent once a second. A parent that was gone before the call counts as well.
    """
    if not _ask_kernel_for_sigterm():
        threading.Thread(target=_watch_parent, args=(parent,), name="watch-parent", daemon=True).start()
    elif os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _ask_kernel_for_sigterm() -> bool:
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None).prctl
    return bool(prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)) == 0)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
