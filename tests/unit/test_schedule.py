"""The schedule against its formula, written here a second time: slowly, with exact fractions, by walking the steps."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.training.schedule import Schedule, make_schedule

RATIOS = {"1/31": 5, "1/15": 4, "1/7": 3, "1/3": 2, "1": 1}  # and the whole cycles they hold with cycle_mult 2
LR, MIN_LR, GAMMA, WARMUP = 1e-3, 1e-5, 0.7, "0.29"


def schedule(total: int, **knobs: Any) -> Schedule:
    return make_schedule(total, Hyperparameters(lr=LR, **knobs))


def lengths_of_cycles(total: int, first: int, mult: float, whole: bool) -> list[tuple[int, int]]:
    """(steps, length) of every cycle, as section 4 of the design describes them."""
    found: list[tuple[int, int]] = []
    done = 0
    while done < total:
        length = round(first * mult ** len(found))
        rest = total - done
        if length <= rest:
            found.append((length, length))
        elif not whole:
            found.append((rest, length))
        elif 2 * rest >= length:
            found.append((rest, rest))
        else:
            found[-1] = (found[-1][0] + rest, found[-1][0] + rest)
        done += min(length, rest)
    return found


def expected_curve(total: int, ratio: str, mult: float, whole: bool) -> list[float]:
    first = math.ceil(Fraction(ratio) * total)
    rates = []
    for k, (steps, length) in enumerate(lengths_of_cycles(total, first, mult, whole)):
        warmup = math.floor(Fraction(WARMUP) * (length if whole else first))
        peak = max(MIN_LR, LR * GAMMA**k)
        for u in range(steps):
            if u < warmup:
                rates.append(MIN_LR + (peak - MIN_LR) * u / warmup)
            else:
                cosine = math.cos(math.pi * (u - warmup) / (length - warmup))
                rates.append(MIN_LR + (peak - MIN_LR) * (1 + cosine) / 2)
    return rates


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("mult", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("ratio", [*RATIOS, "0.035", "0.2"])
def test_every_step_follows_the_formula(ratio: str, mult: float, whole: bool) -> None:
    for total in (1, 2, 3, 62, 100, 200, 1023):
        found = schedule(
            total,
            first_cycle_ratio=float(Fraction(ratio)),
            cycle_mult=mult,
            whole_cycles=whole,
            gamma=GAMMA,
            min_lr=MIN_LR,
            warmup_ratio=float(WARMUP),
        )
        assert found.curve() == pytest.approx(expected_curve(total, ratio, mult, whole), rel=1e-12)


@pytest.mark.parametrize("total", [465, 651, 1000, 9765])
@pytest.mark.parametrize(("ratio", "count"), RATIOS.items())
def test_design_ratios_hold_their_whole_cycles(ratio: str, count: int, total: int) -> None:
    found = schedule(total, first_cycle_ratio=float(Fraction(ratio)))

    assert len(found.cycles) == len(found.cycle_ends) == count


@pytest.mark.parametrize(("ratio", "count"), RATIOS.items())
def test_cycles_double_exactly_when_the_ratio_divides_the_fold(ratio: str, count: int) -> None:
    found = schedule(9765, first_cycle_ratio=float(Fraction(ratio)), whole_cycles=False)

    first = 9765 // (2**count - 1)
    assert [cycle.length for cycle in found.cycles] == [first * 2**k for k in range(count)]
    assert found.cycles[-1].end == 9765


@given(
    total=st.integers(1, 3000),
    ratio=st.floats(1e-3, 1.0),
    mult=st.floats(1.0, 4.0),
    warmup=st.floats(0.0, 0.99),
)
def test_whole_cycles_always_end_at_the_floor(total: int, ratio: float, mult: float, warmup: float) -> None:
    found = schedule(total, first_cycle_ratio=ratio, cycle_mult=mult, warmup_ratio=warmup, min_lr=MIN_LR)

    assert found.cycle_ends[-1] == total
    assert found.cycle_ends == tuple(cycle.end for cycle in found.cycles)
    assert [cycle.start for cycle in found.cycles] == [0, *found.cycle_ends[:-1]]
    last = found.cycles[-1]
    assert found.lr(total - 1) <= min(found.lr(step) for step in range(last.start + last.warmup, last.end))


def test_a_cut_cycle_ends_above_the_floor_and_is_no_cycle_end() -> None:
    found = schedule(100, first_cycle_ratio=0.2, whole_cycles=False)

    assert found.cycle_ends == (20, 60)
    assert [cycle.end for cycle in found.cycles] == [20, 60, 100]
    assert found.lr(99) > LR / 2


@pytest.mark.parametrize(("total", "ends"), [(100, (20, 60, 100)), (99, (20, 99)), (75, (15, 45, 75)), (74, (15, 74))])
def test_the_rest_becomes_a_cycle_when_it_is_at_least_half_of_one(total: int, ends: tuple[int, ...]) -> None:
    ratio = ends[0] / total
    assert schedule(total, first_cycle_ratio=ratio).cycle_ends == ends


def test_the_peak_never_sinks_below_the_floor() -> None:
    found = schedule(90, first_cycle_ratio=1 / 3, cycle_mult=1.0, gamma=0.01, min_lr=1e-4)

    assert [cycle.peak for cycle in found.cycles] == [LR, 1e-4, 1e-4]
    assert found.curve().min() >= 1e-4


@given(
    total=st.integers(1, 2000),
    count=st.integers(1, 64),
    ratio=st.floats(1e-3, 1.0),
    mult=st.sampled_from([1.0, 1.5, 2.0]),
    whole=st.booleans(),
)
def test_evaluation_points_ascend_to_the_end(total: int, count: int, ratio: float, mult: float, whole: bool) -> None:
    found = schedule(total, first_cycle_ratio=ratio, cycle_mult=mult, whole_cycles=whole)
    points = found.evaluation_points(count)

    assert len(points) == min(count, total)
    assert list(points) == sorted(set(points))
    assert points[0] >= 1
    assert points[-1] == total


@given(total=st.integers(8, 2000), count=st.integers(1, 16), ratio=st.floats(1e-2, 1.0))
def test_points_move_to_a_cycle_end_within_a_quarter_of_the_spacing_only(total: int, count: int, ratio: float) -> None:
    found = schedule(total, first_cycle_ratio=ratio)
    points = found.evaluation_points(count)

    spacing = total / len(points)
    for i, point in enumerate(points[:-1], start=1):
        even = round(spacing * i)
        near = [end for end in found.cycle_ends if abs(end - even) <= spacing / 4]
        assert point in near if near else point == even


def test_a_point_beside_a_cycle_end_moves_there() -> None:
    found = schedule(800, first_cycle_ratio=110 / 800, cycle_mult=1.0, whole_cycles=False)

    assert found.cycle_ends[:3] == (110, 220, 330)
    assert found.evaluation_points(8) == (110, 220, 300, 400, 500, 600, 700, 800)


@pytest.mark.parametrize(("total", "points"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3))])
def test_a_fold_shorter_than_its_points_is_judged_after_each_step(total: int, points: tuple[int, ...]) -> None:
    assert schedule(total).evaluation_points(8) == points


def test_a_fold_may_hold_thousands_of_cycles() -> None:
    found = schedule(50_000, first_cycle_ratio=1e-4, cycle_mult=1.0)

    assert len(found.cycles) == 10_000
    assert found.curve().shape == (50_000,)


def test_a_fold_without_steps_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="at least one step, found 0"):
        schedule(0)
