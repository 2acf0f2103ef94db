"""The report of a final job in one HTML file: the out-of-fold score, the folds, pictures, classes, the hardest rows."""

import statistics
from typing import Any

import numpy as np

from foldrace.search.ensemble.comparison import find_comparable
from foldrace.search.ensemble.job import read_summary
from foldrace.search.ensemble.outcome import FinalOutcome, outcome_pictures
from foldrace.search.ensemble.result import UNSCORED
from foldrace.search.reports.page import Picture, Table, render_page
from foldrace.search.reports.reproduction import Reproduction
from foldrace.search.study_store import public_toml
from foldrace.search.words import counted, duration
from foldrace.trainer.ensemble import OutOfFold, interval_words
from foldrace.trainer.metrics import per_class

MAX_HARDEST = 30  # rows
_WORDS = {
    "curves": "curves of each fold",
    "confusion": "confusion matrices, raw and normalised",
    "calibration": "accuracy against confidence",
}


def final_report(outcome: FinalOutcome) -> str:
    """The HTML of the report."""
    study, folder, scored = outcome.job.study, outcome.job.folder, outcome.scored
    return render_page(
        "final.html",
        title=f"Final job {outcome.job.name}",
        summary=_summary(outcome),
        steps=[f"foldrace predict {folder.parent.parent.name}/{outcome.job.name} FILE"],
        scored=None if scored is None else _scored(outcome, scored),
        models=_models(outcome),
        pictures=[Picture(png, _WORDS[name]) for name, png in outcome_pictures(outcome).items()],
        reproduction=Reproduction.of(public_toml(study), outcome.data.identity, ["foldrace final study.toml"]),
    )


def _scored(outcome: FinalOutcome, scored: OutOfFold) -> dict[str, Any]:
    """What the page shows of the rows that were held out."""
    scores, metric = vars(outcome.scores(scored)), outcome.job.study.search.metric
    names = dict.fromkeys((metric, *scores))
    return {
        "scores": Table(["score", "out of fold"], [[name, f"{scores[name]:.4f}"] for name in names]),
        "folds": _folds(outcome),
        "spread": _spread(outcome),
        "classes": _classes(outcome, scored),
        "hardest": _hardest(outcome, scored),
    }


def _summary(outcome: FinalOutcome) -> dict[str, list[str]]:
    """The lines of the first screen, by what they tell."""
    scored = outcome.scored
    seconds = sum(result.cost.seconds for result in outcome.results.values())
    submission = read_summary(outcome.job.folder).submission
    told = _unscored_summary(outcome) if scored is None else _scored_summary(outcome, scored)
    return {
        **told,
        "cost": [f"{counted(len(outcome.results), 'model')}, trained in {duration(seconds)} of their workers' time."],
        "next": [f"Hand in: {submission}", "Or predict other rows with the same models:"],
    }


def _unscored_summary(outcome: FinalOutcome) -> dict[str, list[str]]:
    comparable = find_comparable(outcome.job, outcome.data.identity)
    rows = counted(len(outcome.data.examples.rows), "row")
    found = f"{counted(len(outcome.results), 'model')} of all {rows}, one for each seed; {UNSCORED}."
    return {"found": [found], "how sure": [] if comparable is None else [f"Beside it {comparable}."]}


def _scored_summary(outcome: FinalOutcome, scored: OutOfFold) -> dict[str, list[str]]:
    scores, luck, metric = outcome.scores(scored), outcome.luck, outcome.job.study.search.metric
    interval = interval_words(scored.accuracy_interval(luck or 0.0), metric)
    unknown = "." if metric == "accuracy" else f"; by how much is not known of {metric}, which has no interval either."
    plan = outcome.data.final_plan(outcome.job.study.final.seeds[0])
    rows = counted(len(scored.labels), "row")
    sure = [
        f"Over {rows}, each scored by models that were not trained on it: {interval}.",
        "Each model is the best of its evaluations on these very rows, which is optimistic"
        + (
            unknown if luck is None else f": {scores.accuracy - luck:.4f} without that luck. The vote is likely better."
        ),
        _spread(outcome),
    ]
    if plan.pinned_labels:
        sure.append(f"Trained on, but too rare to be scored: {', '.join(plan.pinned_labels)}.")
    if plan.leaky:
        sure.append("leaky_oversampling: copies cross the folds, so these scores are optimistic.")
    return {"found": [f"Out-of-fold {scores.words(metric)}."], "how sure": sure}


def _models(outcome: FinalOutcome) -> Table:
    rows = [
        [fold.seed, f"{result.curve[-1].epoch:.2f}", f"{result.curve[-1].train_loss:.4f}", f"{result.cost.seconds:.1f}"]
        for fold, result in outcome.results.items()
    ]
    return Table(["seed", "epochs", "training loss", "seconds"], rows)


def _spread(outcome: FinalOutcome) -> str:
    bests = [result.best.best for result in outcome.results.values()]
    metric = outcome.job.study.search.metric
    return f"Mean fold {metric} {statistics.mean(bests):.4f}, standard deviation {statistics.stdev(bests):.4f}."


def _folds(outcome: FinalOutcome) -> Table:
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
    return Table(header, rows)


def _classes(outcome: FinalOutcome, scored: OutOfFold) -> Table:
    found = per_class(scored.probabilities, scored.labels)
    rows = [
        [name, *(f"{value:.3f}" if one.support else "-" for value in (one.precision, one.recall, one.f1)), one.support]
        for name, one in zip(outcome.class_names, found, strict=True)
    ]
    return Table(["class", "precision", "recall", "F1", "rows"], rows)


def _hardest(outcome: FinalOutcome, scored: OutOfFold) -> Table:
    """The rows whose true class got the least probability."""
    names = outcome.class_names
    true = scored.probabilities[np.arange(len(scored.labels)), scored.labels]
    texts = {"relation": ["sentence", "subject", "object"], "text": ["text"], "pair": ["text", "pair"]}
    header = ["id", *texts[outcome.data.examples.task], "true class", "taken for", "probability of the true class"]
    rows = []
    for i in np.argsort(true, kind="stable")[:MAX_HARDEST]:
        example = outcome.data.examples.rows[scored.scored[i]]
        answer = names[int(scored.probabilities[i].argmax())]
        entities = [entity.text for entity in (example.subject, example.object) if entity is not None]
        shown = [example.sentence, *entities, *([] if example.pair is None else [example.pair])]
        rows.append([example.id, *shown, names[scored.labels[i]], answer, f"{true[i]:.4f}"])
    return Table(header, rows)
