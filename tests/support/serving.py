"""A dashboard that is served by a thread of the test, and ends with it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from waitress import wasyncore


@contextmanager
def serving(server: Any) -> Iterator[None]:
    """Serve until the block ends.

    Args:
        server: of waitress.
    """
    thread = Thread(target=server.run)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):  # a thread that has just answered woke the server first, and it has closed all
            server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join()
        server.task_dispatcher.shutdown()
