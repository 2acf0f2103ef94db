"""Knobs that are searched with some values of another knob only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldrace.search.prior_store import EarlierStudy
from foldrace.search.priors.relation import relate
from foldrace.search.race.space import SearchSpace, make_search_space, normalise_knobs
from foldrace.search.sampler.acquisition import Surface, propose
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.gaussian_process import fit
from foldrace.search.sampler.gp import spread_out
from foldrace.search.sampler.readings import Readings
from foldrace.search.sampler.trends import PriorStudy
from foldrace.search.trials.assignment import check_values
from foldrace.studies.identity import Identity
from foldrace.studies.loading import load, parse
from foldrace.studies.study import Study, StudyError

OPTIMIZER = {"choices": ["adamw", "sgd"]}
MOMENTUM = {"low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}}
GAMMA = {"low": 0.4, "high": 1.0}


def study(baseline: Any = (), **training: Any) -> Study:
    search = {"baseline": baseline}
    return parse({"name": "s", "data": {"train": __file__}, "training": training, "search": search}, "s.toml")


BOTH = study(optimizer=OPTIMIZER, momentum=MOMENTUM)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"momentum": {**MOMENTUM, "when": {"optimiser": "sgd"}}},
            "momentum.when.optimiser: unknown knob; did you mean optimizer",
        ),
        ({"momentum": {**MOMENTUM, "when": {"momentum": 0.9}}}, "momentum.when.momentum: a knob cannot depend on its"),
        ({"momentum": {**MOMENTUM, "when": {"optimizer": "rmsprop"}}}, "momentum.when.optimizer: Input should be 'a"),
        (
            {"optimizer": {"choices": ["adamw"]}, "momentum": MOMENTUM},
            r"momentum.when.optimizer: 'sgd' is not one of \['adamw'\]",
        ),
        (
            {"gamma": GAMMA, "momentum": {**MOMENTUM, "when": {"gamma": 0.5}}},
            "momentum.when.gamma: is searched over a range; a condition needs { choices",
        ),
        (
            {"optimizer": OPTIMIZER, "loss": {"choices": ["focal"], "when": {"optimizer": "sgd"}}}
            | {"momentum": {**MOMENTUM, "when": {"loss": "focal"}}},
            "momentum.when.loss: is itself searched under a condition; that is one level at most",
        ),
        ({"momentum": {**MOMENTUM, "when": "sgd"}}, "momentum.when: expected knobs with their values, as in { opt"),
        ({"momentum": {**MOMENTUM, "when": {"optimizer": []}}}, "momentum.when: expected a value of optimizer, or a l"),
        (
            {"momentum": {**MOMENTUM, "when": {"gamma": {"low": 0.5, "high": 1}}}},
            "momentum.when: expected a value of gamma, or a list of some, found {'high': 1, 'low': 0.5}",
        ),
    ],
)
def test_a_condition_that_cannot_be_met_or_told_is_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=rf"^s\.toml: training\.{message}"):
        study(**training)


@pytest.mark.parametrize(
    ("training", "searched"),
    [
        ({"optimizer": OPTIMIZER}, {"optimizer", "momentum"}),
        ({"optimizer": "sgd"}, {"momentum"}),
        ({"optimizer": "adamw"}, set()),
        ({}, set()),  # its default is adamw
    ],
)
def test_a_condition_on_a_knob_with_one_value_is_decided_at_once(training: dict[str, Any], searched: set[str]) -> None:
    found = study(**training, momentum=MOMENTUM)

    assert found.searched.keys() == searched
    assert bool(found.searched["momentum"].when if "momentum" in searched else ()) == ("optimizer" in searched)
    assert found.defaults.momentum == 0.9


def test_an_inactive_knob_has_its_default_in_what_is_trained() -> None:
    assert BOTH.hyperparameters({"optimizer": "adamw"}).momentum == 0.9
    assert BOTH.hyperparameters({"optimizer": "adamw", "momentum": 0.6}).momentum == 0.9  # added by hand
    assert BOTH.hyperparameters({"optimizer": "sgd", "momentum": 0.6}).momentum == 0.6
    with pytest.raises(StudyError, match=r"training\.momentum is searched"):
        BOTH.hyperparameters({"optimizer": "sgd"})


def test_an_exported_trial_has_every_knob_fixed() -> None:
    inactive, active = BOTH.with_fixed({"optimizer": "adamw"}), BOTH.with_fixed({"optimizer": "sgd", "momentum": 0.6})

    assert (inactive.training["momentum"], active.training["momentum"]) == (0.9, 0.6)
    assert not inactive.searched | active.searched


def test_a_condition_is_part_of_the_identity_once_it_is_open() -> None:
    plain, lists = {"low": 0.5, "high": 0.99}, {**MOMENTUM, "when": {"optimizer": ["sgd"]}}
    stored = Identity.of(BOTH).to_json()

    assert Identity.of(study(optimizer=OPTIMIZER, momentum=lists)).to_json() == stored
    assert stored["training.momentum"] == '{"low": 0.5, "high": 0.99, "when": {"optimizer": ["sgd"]}}'
    decided, without = (study(optimizer="sgd", momentum=one) for one in (MOMENTUM, plain))
    assert Identity.of(decided).to_json() == Identity.of(without).to_json()
    assert Identity.of(without).to_json()["training.momentum"] == '{"low": 0.5, "high": 0.99}'  # as ever


def test_a_study_with_a_condition_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(BOTH.to_toml(), encoding="utf-8")

    assert load(tmp_path / "s.toml") == BOTH


@pytest.mark.parametrize(
    ("baseline", "found"),
    [({"optimizer": "adamw", "momentum": 0.6}, "optimizer adamw"), ({"momentum": 0.6}, "optimizer open")],
)
def test_a_baseline_that_gives_an_inactive_knob_is_refused(baseline: dict[str, Any], found: str) -> None:
    message = rf"search\.baseline\.momentum: is searched only when optimizer is sgd; found {found}$"
    with pytest.raises(StudyError, match=message):
        study(baseline, optimizer=OPTIMIZER, momentum=MOMENTUM)
    assert study({"optimizer": "sgd", "momentum": 0.6}, optimizer=OPTIMIZER, momentum=MOMENTUM).searched


def test_an_override_that_decides_a_condition_drops_the_knob_from_the_baseline(tmp_path: Path) -> None:
    whole = study({"optimizer": "sgd", "momentum": 0.6}, optimizer=OPTIMIZER, momentum=MOMENTUM, gamma=GAMMA)
    (tmp_path / "s.toml").write_text(whole.to_toml(), encoding="utf-8")

    assert load(tmp_path / "s.toml", ["training.optimizer=adamw"]).search.baseline == ()
    assert load(tmp_path / "s.toml", ["training.optimizer=sgd"]).search.baseline == ({"momentum": 0.6},)


def test_a_queued_trial_counts_an_inactive_knob_as_fixed_at_its_default() -> None:
    check_values({"optimizer": "adamw", "momentum": 0.9}, BOTH)
    check_values({"momentum": 0.6}, BOTH)  # sgd may be sampled
    with pytest.raises(
        ValueError, match=r"^momentum: is searched only when optimizer is sgd, so here it cannot be 0\.6"
    ):
        check_values({"optimizer": "adamw", "momentum": 0.6}, BOTH)


def space_of(**training: Any) -> SearchSpace:
    return make_search_space(study(**training).searched)


SPACE = space_of(optimizer=OPTIMIZER, momentum=MOMENTUM)


def test_values_that_are_known_decide_what_is_left_to_be_sampled() -> None:
    assert list(SPACE.without({"optimizer": "adamw"})) == []
    assert list(SPACE.without({"optimizer": "sgd"})) == ["momentum"]
    assert SPACE.without({"optimizer": "sgd"}).conditions == {}
    assert list(SPACE.without({"momentum": 0.6})) == ["optimizer"]
    assert SPACE.without({}).conditions == SPACE.conditions == {"momentum": {"optimizer": ("sgd",)}}


def test_configurations_that_differ_in_inactive_knobs_are_one_place_of_the_cube() -> None:
    cube = Cube(SPACE)
    positions = np.array([[0.1, 0.25], [0.9, 0.25], [0.1, 0.75], [0.9, 0.75]])  # momentum, optimizer

    assert cube.snapped(positions).tolist() == [[0.5, 0.25], [0.5, 0.25], [0.1, 0.75], [0.9, 0.75]]
    assert np.unique(cube.inputs(positions).columns, axis=0).shape == (3, 3)
    assert cube.params(positions[0]) == {"optimizer": "adamw"}
    assert cube.params(positions[2]) == {"momentum": pytest.approx(0.549), "optimizer": "sgd"}
    assert (
        cube.position({"optimizer": "adamw"}) == cube.position({"optimizer": "adamw", "momentum": 0.6}) == [0.5, 0.25]
    )
    assert [cube.holds(params) for params in ({"optimizer": "adamw"}, {"optimizer": "sgd"}, {})] == [True, False, False]
    assert cube.filled({"optimizer": "adamw"}) == {"momentum": pytest.approx(0.745), "optimizer": "adamw"}


def test_the_race_knows_no_place_of_an_inactive_knob() -> None:
    assert normalise_knobs({"optimizer": "adamw"}, SPACE) == {"optimizer=adamw": 1.0, "optimizer=sgd": 0.0}


def test_no_configuration_is_proposed_twice() -> None:
    """adamw has one configuration here, so once it was tried, sgd is left, however good it was."""
    cube = Cube(SPACE)
    sgd: list[dict[str, Any]] = [{"optimizer": "sgd", "momentum": momentum} for momentum in (0.55, 0.7, 0.85, 0.95)]
    tried = np.array([cube.position(params) for params in ({"optimizer": "adamw"}, *sgd)])
    values, noise = np.array([0.5, 0.5, 0.1, 0.1, 0.1]), np.array([1e-1, 1e-6, 1e-6, 1e-6, 1e-6])  # adamw may be best
    surface = Surface(fit(cube.inputs(tried), values, noise), cube.inputs, tried)

    found = propose(surface, cube, tried, 1e-4, np.random.default_rng(0)).position
    first = [cube.params(spread_out(cube, tried[:1], number, seed)) for seed in range(3) for number in (1, 2, 3)]

    middle = cube.snapped(np.full((1, 2), 0.5))
    beside_middle = spread_out(cube, middle, 0, 0)

    assert cube.params(found)["optimizer"] == "sgd"
    assert {params["optimizer"] for params in first} == {"sgd"}
    assert cube.params(beside_middle) != cube.params(middle[0])


def earlier(*params: dict[str, Any], of: Study) -> EarlierStudy:
    """An earlier study whose trials were tried with these values."""
    trials = [{"params": one, "folds": [[0.5 + 0.1 * i] * 8] * 5} for i, one in enumerate(params)]
    knobs = of.defaults.model_dump() | {k: s.model_dump(exclude_defaults=True) for k, s in of.searched.items()}
    identity = Identity.of(of).to_json()
    plain = {"format": "foldrace-prior-1", "metric": "accuracy", "identity": identity, "knobs": knobs, "trials": trials}
    return EarlierStudy.model_validate(plain)


ADAMW, SGD = {"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.6}
ALWAYS = study(optimizer=OPTIMIZER, momentum={"low": 0.5, "high": 0.99})


@pytest.mark.parametrize(
    ("before", "now", "tried", "taken"),
    [
        (BOTH, BOTH, [ADAMW, SGD], [ADAMW, SGD]),
        (BOTH, ALWAYS, [ADAMW, SGD], [ADAMW | {"momentum": 0.9}, SGD]),  # a condition is taken away
        (ALWAYS, BOTH, [ADAMW | {"momentum": 0.6}, ADAMW | {"momentum": 0.9}, SGD], [ADAMW, SGD]),  # or added
        (study(optimizer="sgd", momentum=MOMENTUM), BOTH, [{"momentum": 0.6}], [SGD]),
        (study(gamma=GAMMA), study(gamma=GAMMA, optimizer=OPTIMIZER, momentum=MOMENTUM), [{"gamma": 0.6}], None),
    ],
)
def test_a_widened_study_takes_over_what_it_could_have_trained(
    before: Study, now: Study, tried: list[dict[str, Any]], taken: list[dict[str, Any]] | None
) -> None:
    prior = relate("old", earlier(*tried, of=before), now)

    assert prior.use == "taken over"
    assert [trial.params for trial in prior.study.trials] == (taken or [{"gamma": 0.6, "optimizer": "adamw"}])


def test_a_trial_without_an_active_knob_is_no_trial_of_an_earlier_study() -> None:
    with pytest.raises(ValueError, match=r"trials\.0\.params\.momentum: missing"):
        earlier({"optimizer": "sgd"}, of=BOTH)


def test_a_trend_holds_a_fixed_knob_at_its_value_whichever_trial_is_first() -> None:
    readings = Readings(np.array([0.7, 0.8]), np.full(2, 1e-4))
    orders: list[list[dict[str, Any]]] = [[ADAMW, SGD], [SGD, ADAMW]]
    held = [
        PriorStudy("old", SPACE, tried, readings, {"momentum": 0.5}).trends(SPACE.only(["optimizer"]))[0].held
        for tried in orders
    ]

    assert held == [(0.0,), (0.0,)]
