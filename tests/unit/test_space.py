"""Knobs as Optuna's distributions."""

import tomllib

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from foldrace.search.race.space import encode_params, make_search_space, normalise_knobs, single_value
from foldrace.studies.loading import SHIPPED, parse
from foldrace.studies.settings import Choices, Range


def test_each_kind_of_setting_has_its_distribution() -> None:
    space = make_search_space(
        {
            "epochs": Range(low=5, high=40),
            "batch_size": Range(low=8, high=64, log=True),
            "lr": Range(low=1e-5, high=1e-3, log=True),
            "gamma": Range(low=0.4, high=1.0, step=0.2),
            "entity_marking": Choices(choices=("none", "concat")),
        }
    )
    assert space == {
        "batch_size": IntDistribution(8, 64, log=True),
        "entity_marking": CategoricalDistribution(("none", "concat")),
        "epochs": IntDistribution(5, 40),
        "gamma": FloatDistribution(0.4, 1.0, step=0.2),
        "lr": FloatDistribution(1e-5, 1e-3, log=True),
    }


METHODS = """
loss_mix = { choices = ["none", "focal"] }
loss_mix_share = { low = 0.1, high = 0.5 }
class_weights = { choices = ["none", "balanced", "effective"] }
class_weight_beta = { choices = [0.9, 0.99, 0.999] }
layer_lr_decay = { low = 0.8, high = 1.0 }
reinit_layers = { low = 0, high = 6 }
freeze = { low = 0, high = 7, step = 2 }
rdrop_alpha = { low = 0.1, high = 5.0, log = true }
fgm_epsilon = { low = 0.0, high = 1.0 }
ema_decay = { choices = [0.0, 0.99, 0.999] }
dropout_samples = { low = 1, high = 8, log = true }
"""


def test_every_method_of_training_can_be_searched_beside_what_a_shipped_study_searches() -> None:
    text = (SHIPPED / "koelectra_re.toml").read_text(encoding="utf-8")
    shipped = parse(tomllib.loads(text), "koelectra_re.toml")
    study = parse(tomllib.loads(text.replace("[training]", f"[training]{METHODS}")), "methods.toml")

    added = make_search_space(study.searched).items() - make_search_space(shipped.searched).items()

    assert dict(added) == {
        "loss_mix": CategoricalDistribution(("none", "focal")),
        "loss_mix_share": FloatDistribution(0.1, 0.5),
        "class_weights": CategoricalDistribution(("none", "balanced", "effective")),
        "class_weight_beta": CategoricalDistribution((0.9, 0.99, 0.999)),
        "layer_lr_decay": FloatDistribution(0.8, 1.0),
        "reinit_layers": IntDistribution(0, 6),
        "freeze": IntDistribution(0, 6, step=2),
        "rdrop_alpha": FloatDistribution(0.1, 5.0, log=True),
        "fgm_epsilon": FloatDistribution(0.0, 1.0),
        "ema_decay": CategoricalDistribution((0.0, 0.99, 0.999)),
        "dropout_samples": IntDistribution(1, 8, log=True),
    }


def test_the_order_of_the_file_does_not_matter() -> None:
    one, other = {"lr": Range(low=1e-5, high=1e-3)}, {"epochs": Range(low=5, high=9)}
    assert list(make_search_space(one | other)) == list(make_search_space(other | one))


def test_an_integer_range_ends_at_the_last_step_it_reaches() -> None:
    space = make_search_space({"epochs": Range(low=5, high=40, step=10)})
    assert space == {"epochs": IntDistribution(5, 35, step=10)}


def test_values_are_stored_as_optuna_stores_them() -> None:
    space = make_search_space({"entity_marking": Choices(choices=("none", "concat"))})
    [(value, text)] = encode_params(space, {"entity_marking": "concat"}).values()
    assert value == 1
    assert "concat" in text


def test_a_range_of_one_value_needs_no_draw() -> None:
    space = make_search_space({"epochs": Range(low=7, high=7), "loss": Choices(choices=("focal",))})
    assert {knob: single_value(d) for knob, d in space.items()} == {"epochs": 7, "loss": "focal"}


def test_a_trial_lies_in_its_space_by_each_knob_s_own_scale() -> None:
    space = {
        "entity_marking": CategoricalDistribution(("none", "concat")),
        "epochs": IntDistribution(5, 25),
        "lr": FloatDistribution(1e-5, 1e-3, log=True),
        "seed": IntDistribution(7, 7),
    }
    trial = create_trial(
        value=0.5, params={"entity_marking": "concat", "epochs": 10, "lr": 1e-4, "seed": 7}, distributions=space
    )

    assert normalise_knobs(trial.params, trial.distributions) == pytest.approx(
        {"entity_marking=none": 0.0, "entity_marking=concat": 1.0, "epochs": 0.25, "lr": 0.5}
    )


def test_a_value_queued_outside_its_range_lies_at_its_end() -> None:
    trial = create_trial(value=0.5, params={"lr": 1e-4}, distributions={"lr": FloatDistribution(1e-5, 1e-3, log=True)})
    trial.params["lr"] = 0.0

    assert normalise_knobs(trial.params, trial.distributions) == {"lr": 0.0}
