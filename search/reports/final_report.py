"""The report of a final job: its folds, the out-of-fold score, classes, confusions, calibration, the hardest rows."""

import json
import statistics

import numpy as np

from foldrace.search.ensemble.job import SUMMARY_FILE
from foldrace.search.ensemble.outcome import Finished, pictures
from foldrace.search.reports.html import Html, page, paragraph, picture, section, table
from foldrace.search.reports.search_report import reproduction
from foldrace.search.study_store import public_toml
from foldrace.trainer.metrics import per_class

HARDEST = 30  # rows
_WORDS = {
    "curves": "curves of each fold",
    "confusion": "confusion matrices, raw and normalised",
    "calibration": "accuracy against confidence",
}


def final_report(finished: Finished) -> str:
    """The report, as HTML."""
    study = finished.final.study
    drawn = [picture(png, _WORDS[name]) for name, png in pictures(finished).items()]
    parts = [_score(finished), _folds(finished), section("Pictures", *drawn), _classes(finished), _hardest(finished)]
    commands = ["foldrace final study.toml"]
    return page(
        f"Final job {finished.final.name}", [*parts, reproduction(public_toml(study), study.identity(), commands)]
    )


def _score(finished: Finished) -> Html:
    scores, (low, high) = finished.scored.score(finished.data.no_relation), finished.scored.accuracy_interval()
    summary = json.loads((finished.final.folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    head = f"Out-of-fold accuracy {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), over "
    head += f"{len(finished.scored.labels)} rows, each scored by models that were not trained on it."
    plan = finished.data.plan(finished.final.study.final.folds, finished.final.study.final.seeds[0])
    lines = [paragraph(head)]
    if plan.pinned_labels:
        lines.append(paragraph(f"Trained on, but too rare to be scored: {', '.join(plan.pinned_labels)}."))
    if plan.leaky:
        lines.append(paragraph("leaky_oversampling: copies cross the folds, so these scores are optimistic."))
    rows = [[name, f"{value:.4f}"] for name, value in vars(scores).items()]
    return section(
        "The score", *lines, table(["score", "out of fold"], rows), paragraph(f"Handed in: {summary['submission']}")
    )


def _folds(finished: Finished) -> Html:
    metric = finished.final.study.search.metric
    there = [] if metric == "accuracy" else ["accuracy there"]
    header = ["seed", "fold", f"best {metric}", *there, "best epoch", "last", "seconds", "rows/s"]
    rows = [
        [
            fold_job.seed,
            fold_job.fold,
            f"{result.best.best:.4f}",
            *(f"{result.best.scores.accuracy:.4f}" for _ in there),
            f"{result.best.epoch:.2f}",
            f"{getattr(result.curve[-1].scores, metric):.4f}",
            f"{result.about['seconds_training'] + result.about['seconds_evaluating']:.1f}",
            f"{result.about['rows_per_second']:.0f}",
        ]
        for fold_job, result in finished.results.items()
    ]
    bests = [result.best.best for result in finished.results.values()]
    mean = f"Mean {statistics.mean(bests):.4f}, standard deviation {statistics.stdev(bests):.4f}. Each is the best of "
    return section(
        "The folds", table(header, rows), paragraph(mean + "its fold's evaluations, so a little optimistic.")
    )


def _classes(finished: Finished) -> Html:
    found = per_class(finished.scored.probabilities, finished.scored.labels)
    rows = [
        [name, *(f"{value:.3f}" if one.support else "-" for value in (one.precision, one.recall, one.f1)), one.support]
        for name, one in zip(finished.names, found, strict=True)
    ]
    return section("The classes", table(["class", "precision", "recall", "F1", "rows"], rows))


def _hardest(finished: Finished) -> Html:
    """The rows whose true class got the least probability."""
    scored, names = finished.scored, finished.names
    true = scored.probabilities[np.arange(len(scored.labels)), scored.labels]
    header = ["id", "sentence", "subject", "object", "true class", "taken for", "probability of the true class"]
    rows = []
    for i in np.argsort(true, kind="stable")[:HARDEST]:
        example = finished.data.examples.rows[scored.scored[i]]
        answer = names[int(scored.probabilities[i].argmax())]
        entities = example.subject.text, example.object.text
        rows.append([example.id, example.sentence, *entities, names[scored.labels[i]], answer, f"{true[i]:.4f}"])
    words = "The rows whose true class got the least probability out of fold: hard, or wrongly labelled."
    return section("The hardest rows", paragraph(words), table(header, rows))
