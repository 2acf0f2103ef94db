"""The records of a trial or a final job for trackers, under the names that the retrospective's author used."""

import math
from collections.abc import Mapping, Sequence

from foldrace.search.recording.trial_note import TrialOutcome
from foldrace.storage.trackers.protocol import Points, Record
from foldrace.trainer.evaluation import EvaluationRecord


def trial_record(outcome: TrialOutcome, count: int, pictures: Mapping[str, bytes]) -> Record:
    """The record of a trial of a search with `count` folds."""
    curves = [fold.curve for fold in outcome.folds]
    bests = [fold.best.scores.accuracy for fold in outcome.folds]
    return Record(
        name=f"trial-{outcome.number:05d}",
        number=outcome.number,
        state=outcome.state,
        value=outcome.value,
        parameters=outcome.knobs.model_dump(),
        series=series(curves) | {f"{count}-fold val best acc list": list(enumerate(bests))},
        values=average(bests, count) if outcome.state == "COMPLETE" else {},
        texts={"worker": outcome.worker} | ({"reason": outcome.reason} if outcome.reason else {}),
        pictures=pictures,
    )


def series(curves: Sequence[Sequence[EvaluationRecord]]) -> dict[str, Points]:
    """The curves of each fold over its optimiser steps, without the values that are not finite."""
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
