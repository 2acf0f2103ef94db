"""What trackers are told of a trial or a final job, under the names that the retrospective's author logged them by."""

import math
from collections.abc import Mapping, Sequence

from foldrace.search.recording.trial_note import Ending
from foldrace.storage.trackers.protocol import Points, Record
from foldrace.trainer.evaluation import EvaluationRecord


def trial_record(ending: Ending, count: int, pictures: Mapping[str, bytes]) -> Record:
    """A trial of a search with `count` folds."""
    curves = [story.curve for story in ending.folds]
    bests = [story.best.scores.accuracy for story in ending.folds]
    return Record(
        name=f"trial-{ending.number:05d}",
        number=ending.number,
        state=ending.state,
        value=ending.value,
        parameters=ending.knobs.model_dump(),
        series=series(curves) | {f"{count}-fold val best acc list": list(enumerate(bests))},
        values=average(bests, count) if ending.state == "COMPLETE" else {},
        texts={"worker": ending.worker} | ({"reason": ending.reason} if ending.reason else {}),
        pictures=pictures,
    )


def series(curves: Sequence[Sequence[EvaluationRecord]]) -> dict[str, Points]:
    """The curves of each fold over its optimiser steps; what is not finite is left out."""
    found: dict[str, Points] = {}
    for fold, curve in enumerate(curves):
        found[f"{fold}-th val_acc_score"] = [(e.step, e.scores.accuracy) for e in curve]
        for name in ("eval_loss", "train_loss", "lr"):
            found[f"{fold}-th {name}"] = _finite([(e.step, getattr(e, name)) for e in curve])
    return found


def average(bests: Sequence[float], count: int) -> dict[str, float]:
    """The mean of the accuracies of the folds' best evaluations."""
    return {f"Result ACC : {count}-fold val Total Average acc": sum(bests) / len(bests)}


def _finite(points: Sequence[tuple[int, float | None]]) -> Points:
    return [(step, value) for step, value in points if value is not None and math.isfinite(value)]
