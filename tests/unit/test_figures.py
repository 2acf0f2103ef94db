"""Pictures: Korean is legible, hostile text is only text, and nothing global is changed."""

import io
from collections.abc import Sequence

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.figures import BOX, confusions, curves, font, legible, new_figure, png, reliability
from foldrace.trainer.metrics import Scores
from tests.support.records import record_at

KNOBS = Hyperparameters(epochs=4, first_cycle_ratio=0.2, gamma=0.5, lr=1e-3)
HOSTILE = ["관계_없음", "<script>alert(1)</script>", "$\\frac{$", "🙂", "two\nlines", "x" * 60]


def curve(points: int) -> Sequence[EvaluationRecord]:
    scores = Scores(0.5, 0.5, 0.5, 0.5, 0.1)
    losses = {"train_loss": 2.0, "eval_loss": 2.1}
    return [record_at(i, 0.5, step=10 * (i + 1), epoch=(i + 1) / 2, scores=scores, **losses) for i in range(points)]


def pixels(figure: Figure) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.asarray(matplotlib.image.imread(io.BytesIO(png(figure))))


def test_the_font_draws_every_korean_syllable() -> None:
    path = font_manager.findfont(font_manager.FontProperties(family=font().get_family()[1:]))

    missing = set(range(ord("가"), ord("힣") + 1)) - set(font_manager.get_font(path).get_charmap())

    assert "NanumGothic" in path
    assert missing == set()


def test_two_korean_names_do_not_look_alike() -> None:
    first, second = (pixels(new_figure(3, 1, title)) for title in ("관계", "없음"))

    assert (first != second).any()


def test_a_character_that_no_font_has_becomes_a_box() -> None:
    assert legible("관계 🙂\n두 줄") == f"관계 {BOX} 두 줄"


def test_hostile_names_are_drawn_without_a_warning() -> None:
    counts = np.eye(len(HOSTILE), dtype=np.int64)

    drawn = pixels(confusions({"validation": counts}, HOSTILE, "$\\frac{$ 시험 🙂"))

    assert (drawn[..., :3] < 0.5).any()


def test_a_confusion_without_rows_is_drawn() -> None:
    nothing = np.zeros((3, 3), dtype=np.int64)

    assert png(confusions({"training": nothing, "validation": nothing}, ["a", "b", "c"], "empty"))


@pytest.mark.parametrize("lengths", [(), (0,), (1,), (8, 8, 3)])
def test_curves_of_whole_and_unfinished_folds_are_drawn(lengths: tuple[int, ...]) -> None:
    folds = {fold: curve(points) for fold, points in enumerate(lengths)}

    figure = curves(folds, KNOBS, "accuracy", "trial 3")

    assert len(figure.axes[0].get_lines()) == sum(2 if points else 1 for points in lengths)
    assert png(figure).startswith(b"\x89PNG")


def test_records_that_say_no_epoch_are_drawn() -> None:
    """Another version, or another program, may leave it out."""
    for epoch in (float("nan"), 0.0):
        figure = curves({0: [record_at(0, 0.5, step=1, epoch=epoch)]}, KNOBS, "accuracy", "trial 3")
        assert pixels(figure).size > 0


def test_the_ends_of_cycles_are_marked() -> None:
    figure = curves({0: curve(8)}, KNOBS, "accuracy", "trial 3")

    marked = [line.get_xdata()[0] for line in figure.axes[2].get_lines()[1:]]  # type: ignore[index]

    assert marked == [0.8, 2.4, 4.0]  # epochs: cycles of 8 and 16 steps, and a compressed one


def test_reliability_shows_the_accuracy_of_each_bin() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])

    figure = reliability(probabilities, np.array([0, 1, 1]), "calibration")

    heights = [round(float(bar.get_height()), 2) for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert (heights[13], heights[8], sum(heights)) == (0.5, 1.0, 1.5)


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)

    png(new_figure(3, 1, "관계"))

    assert dict(matplotlib.rcParams) == before
