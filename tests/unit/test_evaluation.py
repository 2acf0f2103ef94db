"""The record of an evaluation: written and read by one class, whoever wrote it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldrace.trainer.evaluation import EvaluationRecord, RecordError, first_best
from foldrace.trainer.metrics import Scores
from tests.support.records import record_at

WHOLE = EvaluationRecord(
    index=3,
    step=40,
    epoch=2.5,
    cycle_end=True,
    lr=1e-4,
    train_loss=1.25,
    eval_loss=1.5,
    scores=Scores(0.5, 0.4, 0.3, 0.2, 0.1),
    right="f0",
    rows=8,
    best=0.5,
)


def test_a_record_that_is_stored_and_read_is_the_same() -> None:
    assert EvaluationRecord.from_json(json.loads(json.dumps(WHOLE.to_json(), allow_nan=False))) == WHOLE
    assert EvaluationRecord.from_json(json.dumps(WHOLE.to_json())) == WHOLE


def test_what_is_not_finite_is_stored_as_null_and_read_as_nan() -> None:
    stored = record_at(0, 0.5, train_loss=math.inf).to_json()

    assert (stored["train_loss"], stored["scores"]["accuracy"]) == (None, None)
    assert math.isnan(EvaluationRecord.from_json(stored).train_loss)


@pytest.mark.parametrize(
    "stored", [{}, {"best": None}, {"best": "0.5"}, {"best": True}, {"best": 1.5}, "no JSON", None, 3, [0.5]]
)
def test_a_record_without_a_best_is_refused(stored: object) -> None:
    with pytest.raises(RecordError, match="expected a number from 0 to 1 as best, found"):
        EvaluationRecord.from_json(stored)


def test_a_best_that_rounding_lifted_above_one_is_one() -> None:
    assert EvaluationRecord.from_json({"best": math.nextafter(1, 2)}).best == 1
    with pytest.raises(RecordError, match="expected a number from 0 to 1 as best, found"):
        EvaluationRecord.from_json({"best": 1.01})


def test_a_record_of_an_older_version_has_the_defaults_of_what_it_lacks() -> None:
    assert EvaluationRecord.from_json({"best": 0.5, "index": 2, "value": 0.4}) == record_at(2, 0.5)


ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3)


@given(st.dictionaries(st.sampled_from([*WHOLE.to_json(), "other"]), ANY | st.just(10**400)))
def test_whatever_is_stored_is_read_or_refused(stored: dict[str, Any]) -> None:
    try:
        record = EvaluationRecord.from_json(stored)
    except RecordError:
        return
    assert math.isfinite(record.best)
    json.dumps(record.to_json(), allow_nan=False)


def test_the_first_best_is_the_first_evaluation_that_reached_the_best_of_its_fold() -> None:
    curve = [record_at(index, best) for index, best in enumerate([0.3, 0.5, 0.5, 0.5])]

    assert first_best(curve).index == 1
