"""The note of a trial says what happened, and nothing in it can be anything but text."""

from dataclasses import replace

import numpy as np

from foldrace.search.recording.trial_note import FoldOutcome, TrialOutcome, escaped, render_note
from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.metrics import Scores
from tests.support.records import record_at


def fold(number: int, *bests: float) -> FoldOutcome:
    curve = tuple(
        record_at(i, best, step=10 * i + 10, epoch=i + 1.0, scores=Scores(best, 0, 0, 0, 0))
        for i, best in enumerate(bests)
    )
    return FoldOutcome(number, curve, 12.34)


def outcome(state: str = "COMPLETE", value: float | None = 0.65, reason: str = "") -> TrialOutcome:
    folds = (fold(0, 0.5, 0.6, 0.6), fold(1, 0.7))
    knobs = Hyperparameters(gamma=0.5)
    return TrialOutcome(3, state, value, reason, "accuracy", {"gamma": 0.5}, knobs, folds, 2, "host:1 on cpu")


def test_a_note_has_the_mean_the_deviation_and_a_row_for_each_fold() -> None:
    text = render_note(outcome())

    assert "**accuracy 0.6500** (sd 0.0707 between folds)" in text
    assert "| 0 | 0.6000 | 2.00 | 0.6000 | 3.00 | 12.3 |" in unspaced(text)
    assert "| 1 | 0.7000 | 1.00 |" in unspaced(text)


def test_a_note_has_the_knobs_the_worker_and_the_attempt() -> None:
    text = render_note(outcome())

    assert "| gamma | 0.5 |" in unspaced(text)
    assert "dropout 0.1" in text
    assert "Ended by host&#58;1 on cpu, attempt 2" in text


def test_a_note_shows_the_pictures_that_are_there() -> None:
    assert "\n\n![curves](/artifacts/1/2/ab)\n\n" in render_note(outcome(), {"curves": "/artifacts/1/2/ab"})
    assert "![" not in render_note(outcome())


def test_another_metric_has_the_accuracy_beside_it() -> None:
    assert "accuracy there" in render_note(replace(outcome(), metric="macro_f1"))
    assert "accuracy there" not in render_note(outcome())


def test_a_pruned_trial_says_why() -> None:
    assert "**Pruned** because of fold 1, epoch 2.0" in render_note(outcome("PRUNED", None, "fold 1, epoch 2.0"))


def test_a_trial_that_failed_before_its_first_evaluation_has_a_note() -> None:
    failed = TrialOutcome(0, "FAIL", None, "out of memory", "accuracy", {}, Hyperparameters(), (), 1, "host:1")

    assert "**Failed**: out of memory" in render_note(failed)
    assert "No fold was judged." in render_note(failed)


def test_a_final_fold_lists_the_most_confused_classes_as_text() -> None:
    confusion = np.array([[5, 2], [0, 7]])

    text = render_note(outcome(), {}, confusion, ["<script>alert(1)</script>", "관계_없음"])

    assert "| 2 | &#60;script&#62;alert&#40;1&#41;&#60;/script&#62; | 관계&#95;없음 |" in unspaced(text)
    assert "<script" not in text


def test_markup_is_escaped() -> None:
    hostile = "<img src=x onerror=a()> | [x](javascript:a) **b** `c` $d$ _e_ \\f & \n# g"

    assert not set("<>|[]()*`$_\\\n") & set(escaped(hostile))


def unspaced(text: str) -> str:
    return text.replace("&emsp;", "")
