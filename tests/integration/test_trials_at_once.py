"""T13 in small: many reporters at once; `python -m benchmarks.workers --only reports --full` is the whole."""

from benchmarks.claims import reports


def test_every_report_of_many_at_once_is_stored(postgres_url: str) -> None:
    told = reports("ours", postgres_url, reporters=20, steps=10, processes=5)

    assert (told.reporters, told.stored) == (20, 200)
