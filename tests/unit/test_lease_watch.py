"""When a lease counts as dead: by the looking process's clock alone, and only while it could see."""

from foldrace.storage.leases.acquiring import LeaseWatch

LEASE = 60.0


def watch_of(now: list[float]) -> LeaseWatch:
    return LeaseWatch(LEASE, lambda: now[0])


def test_a_lease_that_stands_still_for_a_lease_time_is_dead(now: list[float]) -> None:
    watch = watch_of(now)
    for _ in range(6):
        assert watch.find_dead([("a", 5)]) == set()
        now[0] += 10
    assert watch.find_dead([("a", 5)]) == {"a"}


def test_a_lease_that_is_renewed_lives(now: list[float]) -> None:
    watch = watch_of(now)
    for counter in range(20):
        assert watch.find_dead([("a", counter // 5)]) == set()
        now[0] += 10


def test_who_did_not_look_meanwhile_begins_anew(now: list[float]) -> None:
    watch = watch_of(now)
    watch.find_dead([("a", 5)])
    now[0] += 3600
    assert watch.find_dead([("a", 5)]) == set()


def test_an_outage_kills_nobody(now: list[float]) -> None:
    watch = watch_of(now)
    for _ in range(6):
        watch.find_dead([("a", 5)])
        now[0] += 10
    watch.reset()
    assert watch.find_dead([("a", 5)]) == set()


def test_a_new_owner_has_a_whole_lease_time(now: list[float]) -> None:
    watch = watch_of(now)
    for _ in range(6):
        watch.find_dead([("a", 5)])
        now[0] += 10
    assert watch.find_dead([("b", 5)]) == set()
