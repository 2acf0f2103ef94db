"""Counts, ranges and durations in words."""

import pytest

from foldrace.search.words import another_words, counted, duration, knobs_text, span


def test_counts_and_ranges_of_one_are_said_as_one() -> None:
    assert [counted(count, "row") for count in (0, 1, 7)] == ["0 rows", "1 row", "7 rows"]
    assert [span(413, 413), span(413, 414)] == ["413", "413-414"]


def test_knobs_are_said_without_the_digits_that_nobody_reads() -> None:
    assert knobs_text({"lr": 1.1107432456479263e-07, "epochs": 6, "optimizer": "adamw"}) == (
        "lr 1.111e-07, epochs 6, optimizer adamw"
    )


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (36, "36 s"), (120, "2 min"), (5401, "1.5 h")])
def test_a_duration_has_the_unit_that_fits(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_search_with_other_settings_may_begin_from_the_old_one_and_a_job_may_not() -> None:
    assert (
        another_words("cs")
        == "--as NEW_NAME makes another; with --from cs beside it, that one begins from what is known"
    )
    assert another_words("cs/final-1") == "--as NEW_NAME makes another"
