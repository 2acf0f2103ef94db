"""The timer of the protocol, with a clock that the test moves."""

from foldrace.search.trials.protocol_timer import Part, ProtocolTimer


def test_the_parts_add_up_to_a_share_of_the_workers_life(now: list[float]) -> None:
    timer = ProtocolTimer(clock=lambda: now[0])
    spent: list[tuple[Part, float]] = [("claims", 0.5), ("reports", 0.25), ("reports", 0.25)]
    for part, seconds in spent:
        with timer.timing(part):
            now[0] += seconds
    now[0] += 99.0

    assert str(timer) == (
        "the protocol took 1.00 s of 100.00 s (1.00%): "
        "claims 0.50, belief 0.00, reports 0.50, judging 0.00, heartbeats 0.00, ends 0.00"
    )
