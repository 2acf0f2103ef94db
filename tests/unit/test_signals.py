"""Signals are handled while that is asked for, in the main thread, and by whoever handled them before afterwards."""

import os
import signal
import threading

from foldrace.search.workers.signals import StopSignals, handle_signals


def test_a_first_signal_is_a_request_and_the_handlers_from_before_come_back() -> None:
    before, signals = signal.getsignal(signal.SIGINT), StopSignals()

    with handle_signals(signals.receive):
        os.kill(os.getpid(), signal.SIGINT)

    assert signals.requested
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_of_the_main_thread_no_signal_is_handled() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with handle_signals(lambda *_: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert seen == [before]
