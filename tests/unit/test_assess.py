"""How good the chosen trial is: who leads, by how much, and its score on folds that did not choose it."""

import math

import numpy as np
import pytest

from foldrace.search.assessment.assess import assess
from foldrace.search.assessment.assessment import Assessment, Lead
from foldrace.search.assessment.belief import believe
from foldrace.search.assessment.intervals import Interval, kfold_interval
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.sampler.trends import NO_PRIORS, Priors, TakenOver
from tests.support.scores import EVALUATIONS, process_of, scored_trial, spread, study_scores

NAN, FOLDS = math.nan, 5
NOT_TRAINED = [NAN] * FOLDS
SCATTER = np.array([0.02, -0.01, 0.0, 0.01, -0.02])


def ends(level: float, shift: int = 0, fresh: list[float] = NOT_TRAINED) -> list[float]:
    """A search's folds around a level, scattered in another order for each `shift`; then the fresh ones."""
    return [*(level + np.roll(SCATTER, shift)).tolist(), *fresh]


def assessed(rows: list[list[float]], number: int | None = None, size: int = 0) -> Assessment:
    found = assess(study_scores(rows, FOLDS, rows=size), number)
    assert found is not None
    return found


def test_a_lead_within_the_scatter_of_folds_is_within_chance_and_a_large_one_is_clear() -> None:
    rows = [ends(0.80), ends(0.803, 1), ends(0.70, 2), ends(0.60, 3)]

    found = assessed(rows)

    assert found.trial == 1
    (lead,) = found.leads  # the second is the baseline
    assert lead.over == 0
    assert lead.difference == pytest.approx(0.003, abs=0.002)
    assert 0.5 < lead.probability < 0.7
    assert not lead.is_clear
    far = study_scores(rows, FOLDS).belief
    assert far is not None
    assert far.lead(1, over=3).is_clear


@pytest.mark.parametrize("second", [[0.8] * FOLDS, [0.8, *[NAN] * (FOLDS - 1)]], ids=["whole", "one fold"])
def test_no_lead_is_clear_where_all_trials_end_alike(second: list[float]) -> None:
    rows = [[0.8] * FOLDS, second, [0.8] * FOLDS, [0.8, *[NAN] * (FOLDS - 1)]]

    found = assessed([[*row, *NOT_TRAINED] for row in rows], size=50)

    assert found.leads
    for lead in found.leads:
        assert lead.difference == 0
        assert lead.probability == pytest.approx(0.5, abs=0.05)


def test_less_than_a_row_between_two_trials_is_within_chance() -> None:
    """Nothing scatters here, so that the smallest difference would be certain."""
    rows = [[0.8] * FOLDS, [0.8004] * FOLDS, [0.8] * FOLDS]

    found = assessed([[*row, *NOT_TRAINED] for row in rows], size=50)

    assert found.trial == 1
    assert not any(lead.is_clear for lead in found.leads)


def test_the_best_score_does_not_lead_where_all_its_neighbours_are_bad() -> None:
    good, bad = [ends(0.80 + 0.001 * n, n) for n in range(4)], [ends(0.70 + 0.001 * n, n) for n in range(4)]
    rows, places = [ends(0.81), ends(0.812, 2), *good, *bad], [0.2, 0.8, 0.1, 0.15, 0.25, 0.3, 0.7, 0.75, 0.85, 0.9]

    scores = study_scores(rows, FOLDS, places=places)

    assert scores.leader is not None
    assert places[scores.leader] < 0.5
    assert scores.mean(1) == max(map(scores.mean, scores.candidates))


def test_the_lines_have_the_names_that_the_design_gives_them() -> None:
    leads = Lead(0, 0.0024, 0.58), Lead(3, 0.031, 0.991)
    found = Assessment(13, 0.8218, Interval(0.8012, 0.7709, 0.8291), 5, leads, baseline=0)

    assert found.lines == [
        "chosen on these folds        0.8218, optimistic",
        "folds that did not choose it 0.8012, 95 % interval 0.771 to 0.829",
        "taken by luck                0.0206",
    ]
    assert found.lead_lines == [
        "leads     +0.0024 against the baseline: within chance (ahead with probability 0.58)",
        "leads     +0.0310 against trial 3: ahead with probability 0.99",
    ]
    assert found.to_json()["luck"] == pytest.approx(0.0206)


def test_a_trial_that_scored_below_what_is_believed_of_it_had_bad_luck() -> None:
    found = Assessment(13, 0.7863, Interval(0.7973, 0.77, 0.82), 0)

    assert found.lines == [
        "chosen on these folds        0.7863",
        "believed                     0.7973, 95 % interval 0.770 to 0.820",
        "lost by bad luck             0.0110",
    ]


def test_folds_that_scatter_alike_make_the_same_lead_clearer() -> None:
    """What is hard for all trials in a fold says nothing of which is better."""
    alike = assessed([ends(0.80), ends(0.82), ends(0.78), ends(0.7)])
    apart = assessed([ends(0.80), ends(0.82, 2), ends(0.78, 3), ends(0.7, 1)])

    assert alike.leads[0].probability > 0.95 > apart.leads[0].probability


def test_the_rows_that_folds_share_make_a_lead_less_sure() -> None:
    """Twice the folds of a split share more of their rows; by the scatter alone, both leads were equally sure."""
    trials = [scored_trial(n, ends(level, n)[:FOLDS]) for n, level in enumerate((0.80, 0.82, 0.75, 0.6))]

    few, many = (believe(trials, folds, process_of(spread(4))) for folds in (2, 50))

    assert few is not None
    assert many is not None
    assert few.lead(1, over=0).probability < many.lead(1, over=0).probability


def test_a_level_is_less_sure_by_the_rows_that_folds_share() -> None:
    belief = study_scores([ends(0.80 + 0.01 * n, n) for n in range(4)], FOLDS).belief

    assert belief is not None
    assert belief.shared_variance == pytest.approx(belief.fold_variance.of_models / (FOLDS - 1))
    assert belief.level(1).variance == pytest.approx(belief.levels.level(1).variance + belief.shared_variance)


def test_trials_that_were_taken_over_tell_of_their_neighbours_though_they_have_no_fresh_folds() -> None:
    best = np.full((FOLDS, EVALUATIONS), 0.6)
    bad = TakenOver({"dropout": 0.8}, LearningCurves(-1, best, (), (), {}))
    rows, places = [ends(0.80, n, [0.8] * FOLDS) for n in range(4)], [0.1, 0.3, 0.78, 0.82]
    trials = [scored_trial(n, row) for n, row in enumerate(rows)]

    alone, beside = (process_of(places, priors)(trials) for priors in (NO_PRIORS, Priors([bad] * 3)))

    assert alone is not None
    assert beside is not None
    assert beside.level(2).mean < alone.level(2).mean - 0.001


def test_trials_of_which_the_process_knows_nothing_are_read_by_themselves() -> None:
    trials = [scored_trial(n, ends(level, n)) for n, level in enumerate((0.80, 0.82, 0.75))]

    belief = believe(trials, FOLDS, lambda curves: JointLevels.apart([7], np.array([0.9]), np.array([0.1])))

    assert belief is not None
    assert belief.order == [1, 0, 2]


def test_without_fresh_folds_the_score_is_what_is_believed() -> None:
    random = np.random.default_rng(1)
    rows = [(0.8 + random.normal(0, 0.02, FOLDS)).tolist() + NOT_TRAINED for _ in range(20)]

    found = assessed(rows)

    assert found.fresh_folds == 0
    assert found.chosen == np.mean(rows[found.trial][:FOLDS])
    assert 0.795 < found.honest.mean < found.chosen - 0.002
    assert found.lines[1].startswith("believed                     0.")
    assert found.luck == pytest.approx(found.chosen - found.honest.mean)


def test_each_fresh_fold_scores_the_trial_that_leads_by_all_others() -> None:
    """Trial 1 leads; without fresh fold 0, which is its best by far, trial 0 would: so that fold scores trial 0."""
    fresh = [[0.70, 0.80, 0.80, 0.80, 0.80], [0.90, 0.78, 0.78, 0.78, 0.78]]
    rows = [ends(0.80, 0, fresh[0]), ends(0.80, 1, fresh[1]), ends(0.70, 2)]

    found = assessed(rows)

    assert found.trial == 1
    assert found.fresh_folds == 5
    assert found.honest == kfold_interval([0.70, 0.78, 0.78, 0.78, 0.78], FOLDS)


def test_the_folds_of_a_lucky_trial_take_its_lead_away() -> None:
    rows = [ends(0.80, 0, [0.79, 0.80, 0.81, 0.80, 0.80]), ends(0.82, 1, [0.74, 0.75, 0.76, 0.75, 0.75]), ends(0.7, 2)]

    found, other = assessed(rows), assessed(rows, number=1)

    assert (found.trial, other.trial) == (0, 1)
    assert found.honest.mean == pytest.approx(0.80)
    assert other.honest.mean == pytest.approx(0.75)  # it does not lead, so its own folds are its score
    assert other.luck == pytest.approx(0.07)


def test_one_fresh_fold_is_no_score_yet() -> None:
    assert assessed([ends(0.80, 0, [0.79, NAN, NAN, NAN, NAN]), ends(0.7, 1)]).fresh_folds == 0


def test_an_interval_by_rows_narrows_with_them_and_a_metric_without_rows_is_named() -> None:
    fresh = (0.8 + np.roll(SCATTER, 3)).tolist()
    rows = [ends(0.80, 0, fresh), ends(0.79, 1, fresh), ends(0.7, 2)]

    few, many, unknown = assessed(rows, size=200), assessed(rows, size=2000), assessed(rows)

    by_rows = [2 * 1.96 * np.sqrt(0.8 * 0.2 / (FOLDS * size)) for size in (200, 2000)]
    assert by_rows[0] < few.honest.high - few.honest.low
    assert by_rows[1] < many.honest.high - many.honest.low < few.honest.high - few.honest.low
    assert (few.picked, unknown.picked) == ("", "accuracy")
    assert "accuracy of the best evaluation, picked on the same rows" in unknown.lines[1]


@pytest.mark.parametrize("rows", [[ends(0.8)[:1] + [NAN] * 9], [[0.8, 0.7, *[NAN] * 8]]], ids=["one fold", "two"])
def test_while_too_little_is_known_nothing_is_said(rows: list[list[float]]) -> None:
    assert assess(study_scores(rows, FOLDS)) is None


def test_a_trial_that_cannot_be_exported_never_leads() -> None:
    scores = study_scores([ends(0.8), ends(0.7, 1), [0.95, *[NAN] * 9]], FOLDS, candidates=[0, 1])

    assert scores.leader == 0
