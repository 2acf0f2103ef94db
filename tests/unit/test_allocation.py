from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from foldrace.search.race.allocation import Begun, Standing, rank_cells
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.storage.leases.taking import Cell

NEW = Cell(None, 0)


def begun(number: int, *is_open: int, cost: float = 10.0, **kwargs: Any) -> Begun:
    has_raced = bool(is_open) or kwargs.get("has_raced", False)
    return Begun(number, number, cost, is_open, has_raced, kwargs.get("is_given", False))


def standing(
    trials: list[Begun], levels: dict[int, tuple[float, float]], training: Collection[int] = (), **kwargs: Any
) -> Standing:
    """Levels are means and standard deviations, in points; what is believed of one tells nothing of another.

    Of trials in `training` folds are trained now, which will tell all.
    """
    means, deviations = np.array(list(levels.values())).reshape(-1, 2).T / 100
    told = np.diag(
        [variance * (number not in training) for number, variance in zip(levels, deviations**2, strict=True)]
    )
    believed = JointLevels(tuple(levels), means, np.diag(deviations**2), told)
    asked: dict[str, Any] = {
        "complete": frozenset[int](),
        "fold_variance": 0.0004,
        "rise": 0.005,
        "waits": True,
        "finals": 10,
    }
    return Standing(trials, believed, **(asked | kwargs))


def test_at_the_start_every_worker_begins_a_trial() -> None:
    assert rank_cells(standing([], {}, rise=None)) == [NEW]
    assert rank_cells(standing([begun(0), begun(1)], {}, rise=None)) == [NEW]


def test_a_trial_whose_values_were_given_is_trained_whole_first() -> None:
    ranked = rank_cells(standing([begun(0, 1, 2, is_given=True)], {0: (50, 1)}))

    assert ranked == [Cell(0, 1), Cell(0, 2), NEW]


def test_a_trial_that_has_the_target_so_far_is_made_whole_before_others() -> None:
    trials = [begun(0, 1, is_given=True), begun(1, 1, 2), begun(2, 1, 2)]
    levels = {0: (80.0, 2.0), 1: (79.5, 2.0), 2: (60.0, 2.0)}

    for waits in (True, False):
        ranked = rank_cells(standing(trials, levels, waits=waits, reached=frozenset({0, 2})))

        assert ranked[:3] == [Cell(0, 1), Cell(2, 1), Cell(2, 2)]
        assert len(ranked) == len(set(ranked))


def test_a_fold_goes_to_whom_it_may_make_the_leader() -> None:
    trials = [begun(0, 1, 2), begun(1, 1, 2), begun(2, 1, 2)]
    levels = {0: (80.0, 2.0), 1: (79.5, 2.0), 2: (60.0, 2.0)}

    close = rank_cells(standing(trials, levels, rise=0.001))
    far = rank_cells(standing(trials, levels, rise=0.02))

    assert set(close[:2]) == {Cell(0, 1), Cell(1, 1)}
    assert close[2:] == [NEW]
    assert far == [NEW]


def test_of_two_alike_the_cheaper_one_is_next() -> None:
    trials = [begun(0, 1, cost=20.0), begun(1, 1, cost=5.0)]

    ranked = rank_cells(standing(trials, {0: (80.0, 2.0), 1: (80.0, 2.0)}, rise=0.0))

    assert ranked[:2] == [Cell(1, 1), Cell(0, 1)]


def test_a_fold_that_is_trained_already_leaves_less_to_learn() -> None:
    trials = [begun(0, 1, 2), begun(1, 1, 2)]

    ranked = rank_cells(standing(trials, {0: (80.0, 2.0), 1: (80.0, 2.0)}, training=[0], rise=0.0))

    assert ranked[0] == Cell(1, 1)


def test_who_is_clear_only_by_what_is_trained_now_is_not_yet() -> None:
    trials, levels = [begun(0, 1, 2), begun(1, 1, 2)], {0: (80.0, 1.0), 1: (79.0, 1.0)}

    finals = rank_cells(standing(trials, levels, training=[0, 1], waits=False))

    assert {cell.trial_id for cell in finals if cell.is_final} == {0, 1}


def test_the_first_leader_is_made_whole_early() -> None:
    trials = [begun(number, 1, 2) for number in range(4)]
    levels = {0: (70.0, 1.0), 1: (80.0, 1.0), 2: (60.0, 1.0), 3: (50.0, 1.0)}

    assert rank_cells(standing(trials, levels, rise=1.0)) == [Cell(1, 1), NEW]
    assert rank_cells(standing(trials[:3], dict(list(levels.items())[:3]), rise=1.0)) == [NEW]
    assert rank_cells(standing(trials, levels, rise=1.0, complete=frozenset({9}))) == [NEW]


@pytest.mark.parametrize("waits", [True, False])
def test_a_leader_whose_last_folds_are_trained_now_leads_on(waits: bool) -> None:
    trials = [begun(0, 1, 2), begun(1, has_raced=True), begun(2, 1, 2), begun(3, 1, 2)]
    levels = {0: (70.0, 1.0), 1: (80.0, 1.0), 2: (60.0, 1.0), 3: (50.0, 1.0)}

    assert rank_cells(standing(trials, levels, rise=1.0, waits=waits)) == ([NEW] if waits else [])


def test_when_no_trial_waits_the_finalists_get_folds_and_the_leader_is_made_whole() -> None:
    trials = [begun(0, 1, 2), begun(1, 1, 2)]
    levels = {0: (80.0, 2.0), 1: (79.0, 2.0)}

    finals = rank_cells(standing(trials, levels, waits=False))
    spent = rank_cells(standing(trials, levels, waits=False, finals=0))

    assert {cell.trial_id for cell in finals[:2]} == {0, 1}
    assert all(cell.is_final for cell in finals[:2])
    assert finals[2:] == spent == [Cell(0, 1), Cell(0, 2)]


def test_a_leader_that_is_clear_needs_no_finals() -> None:
    trials = [begun(0, 1, 2), begun(1, 1, 2)]

    ranked = rank_cells(standing(trials, {0: (80.0, 1.0), 1: (60.0, 1.0)}, waits=False))

    assert ranked == [Cell(0, 1), Cell(0, 2)]


def test_finals_go_to_those_that_may_still_win() -> None:
    trials = [begun(0, 1, 2), begun(1, 1, 2), begun(2, 1, 2)]
    levels = {0: (80.0, 2.0), 1: (79.0, 2.0), 2: (60.0, 2.0)}

    ranked = rank_cells(standing(trials, levels, waits=False))

    assert {cell.trial_id for cell in ranked if cell.is_final} == {0, 1}


def test_a_leader_need_not_be_told_apart_from_a_trial_that_was_stopped() -> None:
    """It can get no fold, and be chosen by nobody."""
    trials, levels = [begun(0, 1, 2), begun(1, 1, 2)], {0: (80.0, 1.0), 1: (60.0, 1.0), 2: (79.0, 1.0)}

    assert not any(cell.is_final for cell in rank_cells(standing(trials, levels, waits=False)))

    complete = rank_cells(standing(trials, levels, waits=False, complete=frozenset({2})))

    assert {cell.trial_id for cell in complete if cell.is_final} == {0}


def test_a_search_ends_once_its_leader_is_whole() -> None:
    now = standing([begun(1, 1, 2)], {0: (80.0, 1.0), 1: (70.0, 1.0)}, waits=False, complete=frozenset({0}), finals=0)

    assert rank_cells(now) == []


@pytest.mark.parametrize("levels", [{}, {0: (80.0, 1.0)}])
def test_one_trial_alone_is_made_whole(levels: dict[int, tuple[float, float]]) -> None:
    ranked = rank_cells(standing([begun(0, 1)], levels, waits=False, rise=None, fold_variance=0.0, finals=0))

    assert ranked == [Cell(0, 1)]
