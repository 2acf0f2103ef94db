"""The report of a search in one HTML file: what was found, how sure, at what cost; pictures, trials, knobs, commands.

It writes nothing to the study. A study without a complete trial has a short report.
"""

import shlex
import statistics
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from foldrace.search.assessment.assessment import Assessment
from foldrace.search.assessment.reader import read_assessment
from foldrace.search.compute import SECONDS
from foldrace.search.prior_store import read_prior_statuses
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.ranking import BY_HAND, rank_trials
from foldrace.search.recording.trajectory import SearchTrajectory, load_trajectory
from foldrace.search.reports.charts import incumbent_chart, knob_chart, race_chart
from foldrace.search.reports.page import Picture, Table, render_page
from foldrace.search.reports.reproduction import Reproduction
from foldrace.search.session import Session
from foldrace.search.study_store import changes_since_run, stored_study
from foldrace.search.words import counted, duration, edited_words, knobs_text
from foldrace.storage.optuna_rows import FAILURE
from foldrace.storage.workspace import WORKSPACE
from foldrace.studies.settings import setting_words
from foldrace.studies.study import Study
from foldrace.trainer.figures import curves, png

MAX_BEST = 10  # trials in the table of the best


def search_report(session: Session) -> str:
    """The HTML of the report of the session's study. Raises StorageError when there is no such study."""
    stored = stored_study(session.database, session.study.name)
    study = stored.parse()
    trajectory = load_trajectory(session.database, study)
    assessment = read_assessment(session.database, study.name)
    edited = changes_since_run(session.database, session.study)
    steps = _next_commands(trajectory, assessment, session.workspace.root)
    best, knobs = trajectory.incumbent, bool(trajectory.trials and study.searched)
    return render_page(
        "search.html",
        title=f"Study {study.name}",
        summary=_summary(trajectory, assessment, edited),
        steps=steps,
        priors=session.database.read(lambda connection: read_prior_statuses(connection, stored.study_id)),
        pictures=_pictures(trajectory),
        best=None if best is None else _best_trials(trajectory),
        knobs=_knobs(trajectory) if knobs else None,
        knob_picture=Picture(png(knob_chart(trajectory)), "value of each trial over each knob") if knobs else None,
        stopped=_stopped(trajectory),
        reproduction=Reproduction.of(stored.toml, stored.identity, ["foldrace run study.toml", *steps]),
    )


def _summary(trajectory: SearchTrajectory, assessment: Assessment | None, edited: str) -> dict[str, list[str]]:
    """The lines of the first screen, by what they tell."""
    best, notes = trajectory.incumbent, [f"{edited_words(edited)}.".capitalize()] if edited else []
    if best is None or best.value is None:
        nothing = "No trial is complete yet, so there is no best one and no race to show."
        return {"found": [*notes, nothing], "cost": _cost(trajectory), "next": ["Go on with the search."]}
    baseline = trajectory.baseline
    against = "" if baseline is None else f", {best.value - baseline:+.4f} against the baseline (trial 0)"
    by_hand = "" if read_evaluations(best.user_attrs) else f" ({BY_HAND})"
    metric = trajectory.study.search.metric
    sure = ["As the best of many it is a little optimistic."]
    if assessment is not None:
        leads = [f"Trial {assessment.trial} leads: {assessment.against(lead)}." for lead in assessment.leads]
        sure = [*leads, *(f"{' '.join(line.split())}." for line in assessment.lines)]
    return {
        "found": [
            *notes,
            f"The best is trial {best.number}{by_hand}: mean fold {metric} {best.value:.4f}{against}.",
            f"Its knobs: {knobs_text(best.params)}.",
        ],
        "how sure": [*_certainty(trajectory, best), *sure],
        "cost": _cost(trajectory),
        "next": ["Train the best trial on every fold: the final job says how good it is, and writes the submission."],
    }


def _certainty(trajectory: SearchTrajectory, best: FrozenTrial) -> list[str]:
    """How the folds of the best trial agree, among each other and with the baseline's."""
    folds, first = _fold_bests(best), next((trial for trial in trajectory.trials if trial.number == 0), None)
    lines = []
    if len(folds) > 1:
        lines.append(
            f"Its {len(folds)} folds differ by a standard deviation of {statistics.stdev(folds.values()):.4f}."
        )
    if trajectory.baseline is not None and first is not None and best.number:
        base = _fold_bests(first)
        ahead = [score > base[fold] for fold, score in folds.items() if fold in base]
        lines += [f"It is ahead of the baseline in {sum(ahead)} of {len(ahead)} folds."] if ahead else []
    return lines


def _cost(trajectory: SearchTrajectory) -> list[str]:
    counts = {state: sum(t.state == state for t in trajectory.trials) for state in TrialState if state.is_finished()}
    words = {TrialState.FAIL: "failed"}
    ended = ", ".join(f"{count} {words.get(state, state.name.lower())}" for state, count in counts.items())
    spent, seconds = trajectory.fold_epochs, sum(trial.user_attrs.get(SECONDS, 0) for trial in trajectory.trials)
    whole = spent.spent + spent.saved
    share = f" ({spent.saved / whole:.0%} of what all trials would have cost whole)" if whole else ""
    time = [f"The trials took {duration(seconds)} of their workers' time."] if seconds else []
    return [
        f"{counted(len(trajectory.trials), 'trial')} ended: {ended}.",
        f"{spent.spent:.0f} fold-epochs were spent, {spent.saved:.0f} saved by pruning{share}.",
        *time,
    ]


def _best_trials(trajectory: SearchTrajectory) -> Table:
    best = rank_trials(trajectory.trials)[:MAX_BEST]
    metric, knobs = trajectory.study.search.metric, list(trajectory.study.searched)
    bests = [_fold_bests(trial) for trial in best]
    rows = [[metric, *(f"{trial.value:.4f}" for trial in best)]]
    for fold in range(trajectory.study.folds.count):
        rows.append([f"fold {fold}", *(f"{found[fold]:.4f}" if fold in found else "" for found in bests)])
    rows += [[knob, *(_formatted(trial.params.get(knob, "")) for trial in best)] for knob in knobs]
    return Table(["trial", *(trial.number for trial in best)], rows)


def _pictures(trajectory: SearchTrajectory) -> list[Picture]:
    found = []
    if trajectory.steps:
        found.append(Picture(png(incumbent_chart(trajectory)), "best value so far against compute spent"))
    if trajectory.gap_curves:
        found.append(Picture(png(race_chart(trajectory)), "difference of each trial to the incumbent"))
    if trajectory.incumbent is not None and read_evaluations(trajectory.incumbent.user_attrs):
        found.append(Picture(_curves(trajectory.incumbent, trajectory.study), "curves of the best trial"))
    return found


def _curves(trial: FrozenTrial, study: Study) -> bytes:
    seen = read_evaluations(trial.user_attrs)
    folds = {fold: [seen[cell] for cell in sorted(seen) if cell[0] == fold] for fold, _ in seen}
    title = f"{study.name}, trial {trial.number}: the best"
    return png(curves(dict(sorted(folds.items())), study.hyperparameters(trial.params), study.search.metric, title))


def _knobs(trajectory: SearchTrajectory) -> Table:
    best = trajectory.incumbent
    rows = [
        [
            knob,
            setting_words(setting),
            "" if best is None else _formatted(best.params.get(knob, "")),
            _share(trajectory, knob),
        ]
        for knob, setting in trajectory.study.searched.items()
    ]
    return Table(["knob", "searched", "best trial", "importance"], rows)


def _stopped(trajectory: SearchTrajectory) -> Table:
    early = [trial for trial in trajectory.trials if trial.state in (TrialState.PRUNED, TrialState.FAIL)]
    rows = [
        [trial.number, trial.state.name.lower(), len(trial.intermediate_values), _reason(trial)]
        for trial in sorted(early, key=lambda trial: trial.number)
    ]
    return Table(["trial", "ended", "evaluations", "why"], rows)


def _next_commands(trajectory: SearchTrajectory, assessment: Assessment | None, runs: Path) -> list[str]:
    name = trajectory.study.name
    if trajectory.incumbent is None:
        return [f"foldrace run {name}"]
    chosen = trajectory.incumbent.number if assessment is None else assessment.trial
    place, options = (WORKSPACE, []) if runs == WORKSPACE.absolute() else (runs, ["--workspace", str(runs)])
    export = ["foldrace", "export", name, "--trial", str(chosen), *options]
    return [shlex.join(export), shlex.join(["foldrace", "final", str(place / name / "final.toml"), *options])]


def _fold_bests(trial: FrozenTrial) -> dict[int, float]:
    """The best score of each fold of a trial that was evaluated."""
    return {fold: record.best for (fold, _), record in sorted(read_evaluations(trial.user_attrs).items())}


def _reason(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("reason") or trial.user_attrs.get(FAILURE) or "no reason was recorded")


def _share(trajectory: SearchTrajectory, knob: str) -> str:
    return f"{trajectory.importances[knob]:.0%}" if knob in trajectory.importances else ""


def _formatted(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
