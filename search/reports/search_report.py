"""The report of a search in one HTML file: pictures, the best trials, the knobs, what pruning saved, the commands.

It writes nothing to the study. A study without a complete trial has a short report.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from foldrace.search.prior_store import PriorStatus, read_prior_statuses
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.ranking import BY_HAND, rank_trials
from foldrace.search.recording.trajectory import SearchTrajectory, load_trajectory
from foldrace.search.reports.charts import incumbent_chart, knob_chart, race_chart
from foldrace.search.reports.html import Html, html_page, image, paragraph, section, table
from foldrace.search.reports.reproduction import reproduction
from foldrace.search.session import Session
from foldrace.search.study_store import stored_study
from foldrace.storage.optuna_rows import FAILURE
from foldrace.studies.settings import Choices, Range
from foldrace.studies.study import Study
from foldrace.trainer.figures import curves, png

MAX_BEST = 10  # trials in the table of the best


def search_report(session: Session) -> str:
    """The HTML of the report of the session's study. Raises StorageError when there is no such study."""
    stored = stored_study(session.database, session.study.name)
    study = stored.parse()
    trajectory = load_trajectory(session.database, study)
    parts = [
        _summary(trajectory),
        _priors(session.database.read(lambda connection: read_prior_statuses(connection, stored.study_id))),
        *_pictures(trajectory),
        _best_trials(trajectory),
        _knobs(trajectory),
        _pruning(trajectory),
    ]
    return html_page(f"Study {study.name}", [*parts, reproduction(stored.toml, stored.identity, _commands(trajectory))])


def _summary(trajectory: SearchTrajectory) -> Html:
    counts = {state: sum(t.state == state for t in trajectory.trials) for state in TrialState if state.is_finished()}
    words = {TrialState.FAIL: "failed"}
    ended = ", ".join(f"{count} {words.get(state, state.name.lower())}" for state, count in counts.items())
    spent = f"{trajectory.fold_epochs.spent:.0f} fold-epochs were spent."
    lines = [paragraph(f"{len(trajectory.trials)} trials ended: {ended}. {spent}")]
    if trajectory.incumbent is None or trajectory.incumbent.value is None:
        lines.append(paragraph("No trial is complete yet, so there is no best one and no race to show."))
    else:
        ahead = trajectory.incumbent.value - (trajectory.baseline or 0.0)
        against = "" if trajectory.baseline is None else f", {ahead:+.4f} against the baseline (trial 0)"
        metric, number = trajectory.study.search.metric, trajectory.incumbent.number
        by_hand = "" if read_evaluations(trajectory.incumbent.user_attrs) else f" ({BY_HAND})"
        best = f"The best is trial {number}{by_hand}: mean fold {metric} {trajectory.incumbent.value:.4f}{against}."
        lines.append(
            paragraph(best + " As the best of many it is a little optimistic; a final job says how good it is.")
        )
    return section("What came of it", *lines)


def _priors(priors: Sequence[PriorStatus]) -> Html:
    return section("What was known beforehand", *(paragraph(str(prior)) for prior in priors)) if priors else Html()


def _best_trials(trajectory: SearchTrajectory) -> Html:
    best = rank_trials(trajectory.trials)[:MAX_BEST]
    if not best:
        return Html()
    metric, knobs = trajectory.study.search.metric, list(trajectory.study.searched)
    rows = [[metric, *(f"{trial.value:.4f}" for trial in best)]]
    rows += [[f"fold {fold}", *(_fold(trial, fold) for trial in best)] for fold in range(trajectory.study.folds.count)]
    rows += [[knob, *(_formatted(trial.params.get(knob, "")) for trial in best)] for knob in knobs]
    return section("The best trials", table(["trial", *(trial.number for trial in best)], rows))


def _pictures(trajectory: SearchTrajectory) -> list[Html]:
    found = []
    if trajectory.steps:
        found.append(image(png(incumbent_chart(trajectory)), "best value so far against compute spent"))
    if trajectory.gap_curves:
        found.append(image(png(race_chart(trajectory)), "difference of each trial to the incumbent"))
    if trajectory.incumbent is not None and read_evaluations(trajectory.incumbent.user_attrs):
        found.append(image(_curves(trajectory.incumbent, trajectory.study), "curves of the best trial"))
    return [section("Pictures", *found)] if found else []


def _curves(trial: FrozenTrial, study: Study) -> bytes:
    seen = read_evaluations(trial.user_attrs)
    folds = {fold: [seen[cell] for cell in sorted(seen) if cell[0] == fold] for fold, _ in seen}
    title = f"{study.name}, trial {trial.number}: the best"
    return png(curves(dict(sorted(folds.items())), study.hyperparameters(trial.params), study.search.metric, title))


def _knobs(trajectory: SearchTrajectory) -> Html:
    if not trajectory.trials or not trajectory.study.searched:
        return Html()
    best = trajectory.incumbent
    rows = [
        [knob, _range(setting), "" if best is None else _formatted(best.params.get(knob, "")), _share(trajectory, knob)]
        for knob, setting in trajectory.study.searched.items()
    ]
    header = ["knob", "searched", "best trial", "importance"]
    words = (
        "Importance: the share of the variance of all trials' values that a knob explains (fANOVA); a pruned trial "
        "counts with the value it was expected to end with."
    )
    drawn = image(png(knob_chart(trajectory)), "value of each trial over each knob")
    return section("The knobs", table(header, rows), paragraph(words), drawn)


def _pruning(trajectory: SearchTrajectory) -> Html:
    spent = trajectory.fold_epochs
    whole = spent.spent + spent.saved
    share = f" ({spent.saved / whole:.0%} of what all trials would have cost whole)" if whole else ""
    saved = paragraph(f"{spent.spent:.0f} fold-epochs were spent, {spent.saved:.0f} saved by pruning{share}.")
    early = [trial for trial in trajectory.trials if trial.state in (TrialState.PRUNED, TrialState.FAIL)]
    rows = [
        [trial.number, trial.state.name.lower(), len(trial.intermediate_values), _reason(trial)]
        for trial in sorted(early, key=lambda trial: trial.number)
    ]
    return section("What was stopped", saved, table(["trial", "ended", "evaluations", "why"], rows) if rows else Html())


def _commands(trajectory: SearchTrajectory) -> list[str]:
    name = trajectory.study.name
    lines = ["foldrace run study.toml"]
    if trajectory.incumbent is not None:
        lines.append(f"foldrace export {name} --trial {trajectory.incumbent.number}")
        lines.append(f"foldrace final runs/{name}/final.toml")
    return lines


def _fold(trial: FrozenTrial, fold: int) -> str:
    bests = [record.best for cell, record in sorted(read_evaluations(trial.user_attrs).items()) if cell[0] == fold]
    return f"{bests[-1]:.4f}" if bests else ""


def _reason(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("reason") or trial.user_attrs.get(FAILURE) or "no reason was recorded")


def _share(trajectory: SearchTrajectory, knob: str) -> str:
    return f"{trajectory.importances[knob]:.0%}" if knob in trajectory.importances else ""


def _range(setting: Range | Choices) -> str:
    if isinstance(setting, Choices):
        return ", ".join(map(str, setting.choices))
    return f"{setting.low:g} to {setting.high:g}{' (log)' if setting.log else ''}"


def _formatted(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
