"""Studies: what is accepted, what is refused, and in which words."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldrace.studies.knobs import Hyperparameters, bounds, is_integer, is_numeric, is_searchable
from foldrace.studies.loading import parse
from foldrace.studies.settings import Choices, Range, Setting
from foldrace.studies.study import NAME_RULE, Study, StudyError


def study(**sections: Any) -> Study:
    return parse({"name": "s", "data": {"train": "train.tsv"}, **sections}, "s.toml")


def refusal(**sections: Any) -> str:
    with pytest.raises(StudyError) as caught:
        study(**sections)
    message = str(caught.value)
    assert message.startswith("s.toml: ")
    assert "\n" not in message
    return message.removeprefix("s.toml: ")


# What is refused


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"serach": {}},
            "serach: unknown key; did you mean search? known: name, data, model, folds, training, search, final",
        ),
        ({"data": {"train": "t", "tset": "t"}}, "data.tset: unknown key; did you mean test? known: train, test, "),
        ({"data": {}}, "data.train: missing"),
        ({"data": {"trian": "t"}}, "data.trian: unknown key; did you mean train? known: train, "),
        ({"lr": 3e-5}, "lr: unknown key; did you mean training.lr?"),
        *(
            ({"data": {"train": train}}, f"data.train: expected a file or a list of files, found {train}")
            for train in ([], 3, ["a", 3], {"a": 1})
        ),
        ({"data": {"train": "t", "extra": 3}}, "data.extra: expected a file or a list of files, found 3"),
        ({"training": {"lr": {"low": 0.1, "high": 0.2, "step": 1e-300}}}, "training.lr: a range has at most 1,000,000"),
        ({"name": "../evil"}, f"name: {NAME_RULE}, found '../evil'"),
        ({"folds": {"count": 1}}, "folds.count: Input should be greater than or equal to 2, found 1"),
        ({"search": {"trials": 0}}, "search.trials: Input should be greater than or equal to 1, found 0"),
        (
            {"search": {"trials": 5_000_000}},
            "search.trials: Input should be less than or equal to 20000, found 5000000",
        ),
        ({"search": {"trials": True}}, "search.trials: expected a number, found true"),
        ({"search": {"target": True}}, "search.target: expected a number, found true"),
        ({"folds": {"seed": False}}, "folds.seed: expected a number, found false"),
        ({"data": {"train": "t", "max_unknown": True}}, "data.max_unknown: expected a number, found true"),
        ({"final": {"seeds": list(range(50_000))}}, "final.seeds: Tuple should have at most 100 items"),
        ({"search": {"trials": "many"}}, "search.trials: Input should be a valid integer"),
        ({"search": {"lease_seconds": float("nan")}}, "search.lease_seconds: Input should be"),
        ({"search": {"metric": "f1"}}, "search.metric: Input should be 'accuracy', 'micro_f1', 'macro_f1' or 'auprc'"),
        (
            {"search": {"prior": ["../runs/old"]}},
            "search.prior: expected the name of a run, a .json file, or shipped; f",
        ),
        ({"search": {"prior": ["a/old.json", "b/old.json"]}}, "search.prior: old.json is listed twice"),
        ({"search": {"prior": ["s"]}}, "search.prior: s is the study itself"),
        (
            {"search": {"prior": ["old"], "sampler": "tpe"}},
            'search: sampler = "tpe" reads no prior; write sampler = "gp"',
        ),
        (
            {"model": {"name": "models/koelectra", "vocabulary": 900}},
            "model: vocabulary: models/koelectra has pieces of its own; only tiny learns them",
        ),
        ({"model": {"max_length": 4}}, "model.max_length: Input should be greater than or equal to 8, found 4"),
    ],
)
def test_a_wrong_key_or_value_is_named(sections: dict[str, Any], message: str) -> None:
    assert refusal(**sections).startswith(message)


@pytest.mark.parametrize(
    ("knob", "setting", "message"),
    [
        ("learning_rate", 1e-3, "unknown knob; known: optimizer, lr, "),
        ("label_smothing", 0.1, "unknown knob; did you mean label_smoothing? known: optimizer, lr, "),
        ("dropout_rate", 0.1, "unknown knob; did you mean dropout? known: optimizer, lr, "),
        ("batch_size", 0, "Input should be greater than or equal to 1, found 0"),
        ("batch_size", 2.5, "Input should be a valid integer"),
        ("dropout", 1.0, "Input should be less than 1, found 1.0"),
        ("dropout", {"low": 0.1, "high": 1.0}, "Input should be less than 1, found 1.0"),
        ("lr", "fast", "Input should be a valid number"),
        ("lr", 2.0, "Input should be less than or equal to 1, found 2.0"),
        ("lr", float("inf"), "expected a value, { low = ..., high = ... } or { choices = [...] }, found inf"),
        (
            "gamma",
            [0.4, 1.0],
            "expected { low = 0.4, high = 1.0 } for a range, or { choices = [0.4, 1.0] }, found [0.4",
        ),
        ("optimizer", ["adam", "adamw"], 'expected { choices = ["adam", "adamw"] }, found ['),
        (
            "gamma",
            {"min": 0.05, "max": 0.4},
            "a range has low and high: expected { low = 0.05, high = 0.4 }, found min",
        ),
        (
            "gamma",
            {"low": 0.05, "max": 0.4},
            "a range has low and high: expected { low = 0.05, high = 0.4 }, found low",
        ),
        ("lr", "3e-5", "Input should be a valid number, found '3e-5'"),
        ("batch_size", True, "Input should be a valid integer, found True"),
        ("entity_marking", "bold", "Input should be 'none', 'concat' or 'typed_markers', found 'bold'"),
        ("entity_marking", {"choices": ["none", "bold"]}, "Input should be 'none', 'concat' or 'typed_markers'"),
        ("entity_marking", {"low": 0, "high": 1}, "not a number; search it with { choices = [...] }"),
        ("gamma", {"low": 1.0, "high": 0.4}, "the range is upside down: low 1 is above high 0.4"),
        ("gamma", {"low": 0.5, "high": 1.5}, "the range 0.5 to 1.5 leaves the knob's bounds, 0 to 1"),
        ("gamma", {"low": 0.5}, "missing"),
        ("gamma", {"low": 0.5, "high": 1.0, "hihg": 1.0}, "unknown key; did you mean high? known: low, high, "),
        ("gamma", {"low": 0.5, "hihg": 1.0}, "unknown key; did you mean high? known: low, high, "),
        ("loss", {"choises": ["focal"]}, "unknown key; did you mean choices? known: low, high, "),
        ("loss", {"choices": ["focal"], "whne": {}}, "unknown key; did you mean when? known: choices, when"),
        ("gamma", {"low": 0.5, "high": 1.0, "step": 0}, "Input should be greater than 0, found 0"),
        ("min_lr", {"low": 0.0, "high": 1e-3, "log": True}, "a log range needs low above 0, found 0"),
        ("lr", {"low": 1e-5, "high": 1e-3, "log": True, "step": 1e-5}, "a range has a step or is log, not both"),
        ("epochs", {"low": 1.5, "high": 4}, "counts whole epochs; the range 1.5 to 4 does not"),
        ("evaluations", {"low": 4, "high": 8}, "cannot be searched; give it one value"),
        ("gamma", {"low": False, "high": True}, "a range is between numbers, found {"),
        ("epochs", {"choices": list(range(50_000))}, "Tuple should have at most 1000 items"),
        ("epochs", {"choices": [5, 5]}, "the choice 5 is listed twice"),
    ],
)
def test_a_setting_that_a_knob_cannot_have_is_refused(knob: str, setting: Any, message: str) -> None:
    refused = refusal(training={knob: setting})

    key, _, reason = refused.partition(": ")
    assert key.startswith(f"training.{knob}")
    assert reason.startswith(message)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (
            {"gamma": 0.3},
            "search.baseline.gamma: 0.3 lies outside the searched 0.4 to 1; give one within",
        ),
        (
            {"loss": "mse"},
            "search.baseline.loss: Input should be 'cross_entropy', 'focal' or 'kl_divergence', found 'mse'",
        ),
        (
            {"entity_marking": "none"},
            "search.baseline.entity_marking: 'none' is not one of ['concat', 'typed_markers']",
        ),
        ({"dropout": 0.2}, "search.baseline.dropout: not a knob that [training] searches"),
        ({"warmup": 0.2}, "search.baseline.warmup: not a knob that [training] searches"),
        (
            {"label_smoothing": 0.15},
            "search.baseline.label_smoothing: 0.15 lies between 0.1 and 0.2; the searched 0.1 to 0.3 has steps of 0.1",
        ),
        (
            [{"gamma": 0.5}, {"gamma": 0.3}],
            "search.baseline[1].gamma: 0.3 lies outside the searched 0.4 to 1; give one within",
        ),
    ],
)
def test_a_baseline_that_the_search_could_not_reach_is_refused(baseline: Any, message: str) -> None:
    training = {
        "gamma": {"low": 0.4, "high": 1.0},
        "loss": {"choices": ["cross_entropy", "focal"]},
        "entity_marking": {"choices": ["concat", "typed_markers"]},
        "label_smoothing": {"low": 0.1, "high": 0.3, "step": 0.1},
        "dropout": 0.1,
    }

    assert refusal(training=training, search={"baseline": baseline}) == message


@pytest.mark.parametrize("value", [0.1, 0.2, 0.3])
def test_a_baseline_on_the_grid_is_accepted(value: float) -> None:
    training = {"dropout": {"low": 0.1, "high": 0.3, "step": 0.1}}

    assert study(training=training, search={"baseline": {"dropout": value}}).search.baseline == ({"dropout": value},)


def test_one_baseline_is_stored_as_versions_before_stored_it() -> None:
    one, two = ({"baseline": b} for b in ({"gamma": 1.0}, [{"gamma": 1.0}, {"gamma": 0.5}]))

    assert "[search.baseline]" in study(training=TRAINING, search=one).to_toml()
    stored = tomllib.loads(study(training=TRAINING, search=two).to_toml())
    assert stored["search"] == two


# What is asked for


TRAINING = {"lr": 1e-3, "gamma": {"low": 0.4, "high": 1.0}, "entity_marking": {"choices": ["none", "concat"]}}


def test_a_value_fixes_a_knob_and_a_range_or_choices_search_it() -> None:
    found = study(training=TRAINING)

    assert found.fixed == {"lr": 1e-3}
    assert found.searched == {"gamma": Range(low=0.4, high=1.0), "entity_marking": Choices(choices=("none", "concat"))}


def test_a_trial_has_a_value_for_every_knob() -> None:
    knobs = study(training=TRAINING).hyperparameters({"gamma": 0.5, "entity_marking": "none"})

    assert knobs == Hyperparameters(lr=1e-3, gamma=0.5, entity_marking="none")


def test_a_searched_knob_without_a_value_is_no_trial() -> None:
    with pytest.raises(StudyError, match=r"training\.entity_marking is searched, so it has no one value; export first"):
        study(training=TRAINING).hyperparameters({"gamma": 0.5})


def test_fixing_a_trials_values_leaves_nothing_to_search() -> None:
    searched = study(training=TRAINING, search={"baseline": {"gamma": 1.0}})

    fixed = searched.with_fixed({"gamma": 0.5, "entity_marking": "none"})

    assert fixed.searched == {}
    assert fixed.hyperparameters({}) == searched.hyperparameters({"gamma": 0.5, "entity_marking": "none"})
    assert parse(tomllib.loads(fixed.to_toml()), "") == fixed


def test_a_study_asks_the_most_where_its_ranges_are_furthest_from_the_defaults() -> None:
    ranges = {
        "layer_lr_decay": {"low": 0.8, "high": 1.0},
        "reinit_layers": {"low": 0, "high": 6},
        "dropout_samples": {"choices": [1, 5, 3]},
        "class_weights": {"choices": ["none", "balanced"]},
        "freeze": 2,
    }

    (furthest,) = study(training=ranges).furthest

    asked = {"layer_lr_decay": 0.8, "reinit_layers": 6, "dropout_samples": 5, "class_weights": "balanced", "freeze": 2}
    assert furthest == Hyperparameters.model_validate(asked)


def test_a_study_asks_only_what_one_trial_can_have_together() -> None:
    training = {
        "reinit_layers": {"choices": [0, 6]},
        "freeze": {"low": 1, "high": 10, "when": {"reinit_layers": 0}},
        "pooling": {"choices": ["first", "mean"]},
    }

    found = [(knobs.reinit_layers, knobs.freeze, knobs.pooling) for knobs in study(training=training).furthest]

    assert found == [(0, 10, "first"), (0, 10, "mean"), (6, 0, "first"), (6, 0, "mean")]


def test_conditions_on_a_million_combinations_of_choices_are_refused() -> None:
    """Each of them is checked before anything is trained."""
    choices = {knob: {"choices": list(range(1, 65))} for knob in ("batch_size", "dropout_samples", "epochs")}
    depends = {"low": 0.0, "high": 0.1, "when": dict.fromkeys(choices, 1)}

    found = refusal(training=choices | {"weight_decay": depends})

    assert found.startswith("training: 262,144 combinations of batch_size, dropout_samples, epochs decide which knobs")


def test_every_knob_has_a_meaning_and_a_default_within_its_bounds() -> None:
    for knob, field in Hyperparameters.model_fields.items():
        assert field.description
        study(training={knob: field.default})


OPTIMIZERS = {"choices": ["adamw", "sgd"]}
MARKED_WITH_SGD = {"choices": ["typed_markers"], "when": {"optimizer": "sgd"}}


@pytest.mark.parametrize(
    "training",
    [
        {"pooling": "entities"},
        {"pooling": {"choices": ["first", "entities"]}, "entity_marking": "none"},
        {"pooling": "entities", "entity_marking": {"choices": ["typed_markers", "concat"]}},
        {"pooling": "entities", "entity_marking": MARKED_WITH_SGD, "optimizer": OPTIMIZERS},
    ],
)
def test_entities_are_pooled_where_every_trial_marks_them(training: dict[str, Any]) -> None:
    found = refusal(training=training)

    assert found.startswith('training.pooling: "entities" reads the markers of two entities: every trial needs entity_')
    assert (
        f'can be "{training.get("entity_marking") if training.get("entity_marking") == "none" else "concat"}"' in found
    )


@pytest.mark.parametrize("marking", ["typed_markers", {"choices": ["typed_markers"]}])
@pytest.mark.parametrize("pooling", ["entities", {"choices": ["entities", "mean"]}])
def test_marked_entities_may_be_pooled(marking: object, pooling: object) -> None:
    assert "entities" in study(training={"entity_marking": marking, "pooling": pooling}).values("pooling")


def test_entities_may_be_pooled_under_the_condition_that_marks_them() -> None:
    pooling = {"choices": ["first", "entities"], "when": {"optimizer": "sgd"}}

    found = study(training={"entity_marking": MARKED_WITH_SGD, "pooling": pooling, "optimizer": OPTIMIZERS})

    assert {(one.pooling, one.optimizer) for one in found.furthest} == {
        ("first", "adamw"),
        ("first", "sgd"),
        ("entities", "sgd"),
    }


# Written and read again


def fixed_value(knob: str) -> st.SearchStrategy[Any]:
    if not is_numeric(knob):
        return st.sampled_from(_values(knob))
    low, high = bounds(knob)
    if is_integer(knob):
        return st.integers(int(low), int(high))
    is_open = any(hasattr(constraint, "lt") for constraint in Hyperparameters.model_fields[knob].metadata)
    return st.floats(low, high, exclude_max=is_open)


def _values(knob: str) -> list[Any]:
    default = Hyperparameters.model_fields[knob].default
    if isinstance(default, bool):
        return [True, False]
    return list(Hyperparameters.model_fields[knob].annotation.__args__)  # type: ignore[union-attr]


@st.composite
def settings(draw: st.DrawFn, knob: str) -> Setting:
    kinds = ["value", *(["choices"] if is_searchable(knob) else [])]
    if is_searchable(knob) and is_numeric(knob):
        kinds.append("range")
    kind = draw(st.sampled_from(kinds))
    if kind == "choices":
        return Choices(choices=tuple(draw(st.lists(fixed_value(knob), min_size=1, max_size=4, unique=True))))
    if kind == "range":
        low, high = sorted((draw(fixed_value(knob)), draw(fixed_value(knob))))
        return Range(low=low, high=high, log=low > 0 and draw(st.booleans()))
    value: Setting = draw(fixed_value(knob))
    return value


@given(st.data())
def test_a_study_survives_its_file(data: st.DataObject) -> None:
    knobs = data.draw(st.sets(st.sampled_from(sorted(Hyperparameters.model_fields))))
    marked = {"entity_marking": "typed_markers"} if "pooling" in knobs else {}
    written = study(
        training={knob: data.draw(settings(knob)) for knob in sorted(knobs)} | marked,
        data={"train": "/d/t.tsv", "exclude_labels": data.draw(st.lists(st.text(), max_size=3))},
        search={"trials": data.draw(st.integers(1, 1000)), "trackers": ["mlflow"], "storage": "sqlite:///x.db"},
        final={"seeds": data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))},
    )

    read = parse(tomllib.loads(written.to_toml()), "written.toml")

    assert read == written
    assert list(read.searched) == list(written.searched)
