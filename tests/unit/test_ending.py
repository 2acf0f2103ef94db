"""Why a search ends before its trials are used up, from what it has used."""

from dataclasses import replace
from typing import Any

import pytest

from foldrace.search.ending import FEWEST_TRIALS, Outlook, Usage, find_end, has_converged, may_end
from foldrace.studies.study import Search

SMALL = Outlook(gain=0.001, error=0.01, spread=0.04, trials=20)  # below 5 % of the spread
LARGE = replace(SMALL, gain=0.003)
USED = Usage(gpu_hours=2.0, fold_epochs=100.0, without_better=5, best=0.8, outlooks=(SMALL, SMALL, SMALL))


@pytest.mark.parametrize(
    ("search", "reason", "lets_go"),
    [
        ({"gpu_hours": 2.0}, "2.00 of 2 GPU hours are used; raise search.gpu_hours and run again to go on", True),
        ({"fold_epochs": 99.5}, "100 of 99.5 fold-epochs are spent; raise search.fold_epochs", True),
        ({"patience": 5}, "5 trials ended without a better one; raise search.patience", True),
        ({"target": 0.8}, "accuracy 0.8000 has reached the target of 0.8; raise search.target", True),
        ({"stop": "converged"}, "converged, as a further trial can be expected to gain 0.0010", False),
    ],
)
def test_each_budget_is_asked_for_and_ends_a_search(search: dict[str, Any], reason: str, lets_go: bool) -> None:
    assert may_end(Search(**search))
    end = find_end(Search(**search), USED)

    assert end is not None
    assert end.reason.startswith(reason)
    assert end.lets_go == lets_go


@pytest.mark.parametrize(
    "search",
    [{}, {"gpu_hours": 2.01}, {"fold_epochs": 101.0}, {"patience": 6}, {"target": 0.81}],
    ids=["no budget", "hours", "fold-epochs", "patience", "target"],
)
def test_a_search_within_its_budgets_goes_on(search: dict[str, Any]) -> None:
    assert find_end(Search(**search), USED) is None


@pytest.mark.parametrize(
    ("outlooks", "min_gain", "expected"),
    [
        ([SMALL, SMALL, SMALL], 0.0, True),
        ([SMALL, LARGE, SMALL], 0.0, False),
        ([SMALL, SMALL], 0.0, False),
        ([LARGE, LARGE, LARGE], 0.004, True),
        ([replace(SMALL, trials=FEWEST_TRIALS - 1)] * 3, 0.0, False),
    ],
    ids=["three small gains", "one that is large", "two", "below min_gain", "too few trials"],
)
def test_a_search_has_converged_when_three_trials_in_a_row_promised_little(
    outlooks: list[Outlook], min_gain: float, expected: bool
) -> None:
    assert has_converged(outlooks, min_gain) == expected


def test_a_target_of_zero_is_a_target_and_the_number_of_trials_alone_ends_no_search_early() -> None:
    assert may_end(Search(target=0.0))
    assert not may_end(Search())
