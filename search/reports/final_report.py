"""The report of a final job in one HTML file: the out-of-fold score, the folds, pictures, classes, the hardest rows."""

import statistics

import numpy as np

from foldrace.search.ensemble.job import read_summary
from foldrace.search.ensemble.outcome import FinalOutcome, outcome_pictures
from foldrace.search.reports.html import Html, html_page, image, paragraph, section, table
from foldrace.search.reports.reproduction import reproduction
from foldrace.search.study_store import public_toml
from foldrace.studies.identity import Identity
from foldrace.trainer.metrics import per_class

MAX_HARDEST = 30  # rows
_WORDS = {
    "curves": "curves of each fold",
    "confusion": "confusion matrices, raw and normalised",
    "calibration": "accuracy against confidence",
}


def final_report(outcome: FinalOutcome) -> str:
    """The HTML of the report."""
    study = outcome.job.study
    drawn = [image(png, _WORDS[name]) for name, png in outcome_pictures(outcome).items()]
    parts = [_score(outcome), _folds(outcome), section("Pictures", *drawn), _classes(outcome), _hardest(outcome)]
    commands = ["foldrace final study.toml"]
    return html_page(
        f"Final job {outcome.job.name}", [*parts, reproduction(public_toml(study), Identity.of(study), commands)]
    )


def _score(outcome: FinalOutcome) -> Html:
    scores, (low, high) = outcome.scored.score(outcome.data.no_relation), outcome.scored.accuracy_interval()
    submission = read_summary(outcome.job.folder).submission
    head = f"Out-of-fold accuracy {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), over "
    head += f"{len(outcome.scored.labels)} rows, each scored by models that were not trained on it."
    plan = outcome.data.plan(outcome.job.study.final.folds, outcome.job.study.final.seeds[0])
    lines = [paragraph(head)]
    if plan.pinned_labels:
        lines.append(paragraph(f"Trained on, but too rare to be scored: {', '.join(plan.pinned_labels)}."))
    if plan.leaky:
        lines.append(paragraph("leaky_oversampling: copies cross the folds, so these scores are optimistic."))
    rows = [[name, f"{value:.4f}"] for name, value in vars(scores).items()]
    return section("The score", *lines, table(["score", "out of fold"], rows), paragraph(f"Handed in: {submission}"))


def _folds(outcome: FinalOutcome) -> Html:
    metric = outcome.job.study.search.metric
    there = [] if metric == "accuracy" else ["accuracy there"]
    header = ["seed", "fold", f"best {metric}", *there, "best epoch", "last", "seconds", "rows/s"]
    rows = [
        [
            fold.seed,
            fold.fold,
            f"{result.best.best:.4f}",
            *(f"{result.best.scores.accuracy:.4f}" for _ in there),
            f"{result.best.epoch:.2f}",
            f"{getattr(result.curve[-1].scores, metric):.4f}",
            f"{result.cost.seconds:.1f}",
            f"{result.cost.rows_per_second:.0f}",
        ]
        for fold, result in outcome.results.items()
    ]
    bests = [result.best.best for result in outcome.results.values()]
    mean = f"Mean {statistics.mean(bests):.4f}, standard deviation {statistics.stdev(bests):.4f}. Each is the best of "
    return section(
        "The folds", table(header, rows), paragraph(mean + "its fold's evaluations, so a little optimistic.")
    )


def _classes(outcome: FinalOutcome) -> Html:
    found = per_class(outcome.scored.probabilities, outcome.scored.labels)
    rows = [
        [name, *(f"{value:.3f}" if one.support else "-" for value in (one.precision, one.recall, one.f1)), one.support]
        for name, one in zip(outcome.class_names, found, strict=True)
    ]
    return section("The classes", table(["class", "precision", "recall", "F1", "rows"], rows))


def _hardest(outcome: FinalOutcome) -> Html:
    """The section with the rows whose true class got the least probability."""
    scored, names = outcome.scored, outcome.class_names
    true = scored.probabilities[np.arange(len(scored.labels)), scored.labels]
    header = ["id", "sentence", "subject", "object", "true class", "taken for", "probability of the true class"]
    rows = []
    for i in np.argsort(true, kind="stable")[:MAX_HARDEST]:
        example = outcome.data.examples.rows[scored.scored[i]]
        answer = names[int(scored.probabilities[i].argmax())]
        entities = example.subject.text, example.object.text
        rows.append([example.id, example.sentence, *entities, names[scored.labels[i]], answer, f"{true[i]:.4f}"])
    words = "The rows whose true class got the least probability out of fold: hard, or wrongly labelled."
    return section("The hardest rows", paragraph(words), table(header, rows))
