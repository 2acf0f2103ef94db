"""The report of a search: one HTML file with its pictures, its best trials, the knobs, what pruning saved, and how to
run it again. It reads the study and writes nothing to it; a study without a complete trial gives a short report.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version

from optuna.trial import FrozenTrial, TrialState

from foldrace.search.monitor.compute import Ledger, ledger
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.recording.trajectory import Course, follow
from foldrace.search.reports.charts import incumbent_picture, knob_picture, race_picture
from foldrace.search.reports.html import Html, code, folded, page, paragraph, picture, section, table
from foldrace.search.session import Session
from foldrace.search.study_store import stored_study, study_as_run
from foldrace.storage.optuna_rows import FAILURE
from foldrace.studies.knobs import Choices, Range
from foldrace.studies.study import Study
from foldrace.trainer.figures import curves, png

BEST = 10  # trials in the table of the best
PACKAGES = ("foldrace", "torch", "transformers", "optuna", "numpy", "scikit-learn")


def study_report(session: Session) -> str:
    """The report of the session's study, as HTML. Raises StorageError when there is no such study."""
    identity, toml = stored_study(session.database, session.study.name)
    study = study_as_run(session.database, session.study.name)
    course = follow(session.database, study)
    spent = ledger(session.database, study, study.name)
    parts = [_summary(course, spent), *_drawn(course), _best(course), _knobs(course), _pruning(course, spent)]
    return page(f"Study {study.name}", [*parts, reproduction(toml, identity, _commands(course))])


def reproduction(toml: str, identity: dict[str, str], commands: Sequence[str]) -> Html:
    """How to run it again: the study file, the commands, the versions, and what makes it the same study."""
    versions = [(name, version(name)) for name in PACKAGES] + [("Python", platform.python_version())]
    return section(
        "How to reproduce it",
        paragraph("Save this as study.toml; paths in it are those of the machine that wrote it."),
        code(toml),
        code("\n".join(commands)),
        table(["package", "version"], versions),
        folded(
            "What makes it the same study (data files by the SHA-256 of their content)",
            table(["setting", "value"], sorted(identity.items())),
        ),
    )


def _summary(course: Course, spent: Ledger) -> Html:
    counts = {state: sum(t.state == state for t in course.trials) for state in TrialState if state.is_finished()}
    words = {TrialState.FAIL: "failed"}
    ended = ", ".join(f"{count} {words.get(state, state.name.lower())}" for state, count in counts.items())
    lines = [paragraph(f"{len(course.trials)} trials ended: {ended}. {spent.spent:.0f} fold-epochs were spent.")]
    if course.incumbent is None or course.incumbent.value is None:
        lines.append(paragraph("No trial is complete yet, so there is no best one and no race to show."))
    else:
        ahead = course.incumbent.value - (course.baseline or 0.0)
        against = "" if course.baseline is None else f", {ahead:+.4f} against the baseline (trial 0)"
        metric, number = course.study.search.metric, course.incumbent.number
        best = f"The best is trial {number}: mean fold {metric} {course.incumbent.value:.4f}{against}."
        lines.append(
            paragraph(best + " As the best of many it is a little optimistic; a final job says how good it is.")
        )
    return section("What came of it", *lines)


def _best(course: Course) -> Html:
    complete = [t for t in course.trials if t.state == TrialState.COMPLETE and t.value is not None]
    best = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:BEST]
    if not best:
        return Html()
    metric, knobs = course.study.search.metric, list(course.study.searched)
    rows = [[metric, *(f"{trial.value:.4f}" for trial in best)]]
    rows += [[f"fold {fold}", *(_fold(trial, fold) for trial in best)] for fold in range(course.study.folds.count)]
    rows += [[knob, *(_shown(trial.params[knob]) for trial in best)] for knob in knobs]
    return section("The best trials", table(["trial", *(trial.number for trial in best)], rows))


def _drawn(course: Course) -> list[Html]:
    found = []
    if course.steps:
        found.append(picture(png(incumbent_picture(course)), "best value so far against compute spent"))
    if course.rivals:
        found.append(picture(png(race_picture(course)), "difference of each trial to the incumbent"))
    if course.incumbent is not None:
        found.append(picture(_curves(course.incumbent, course.study), "curves of the best trial"))
    return [section("Pictures", *found)] if found else []


def _curves(trial: FrozenTrial, study: Study) -> bytes:
    seen = read_evaluations(trial.user_attrs)
    folds = {fold: [seen[cell] for cell in sorted(seen) if cell[0] == fold] for fold, _ in seen}
    title = f"{study.name}, trial {trial.number}: the best"
    return png(curves(dict(sorted(folds.items())), study.hyperparameters(trial.params), study.search.metric, title))


def _knobs(course: Course) -> Html:
    if not course.trials or not course.study.searched:
        return Html()
    best = course.incumbent
    rows = [
        [knob, _range(setting), "" if best is None else _shown(best.params[knob]), _share(course, knob)]
        for knob, setting in course.study.searched.items()
    ]
    header = ["knob", "searched", "best trial", "importance"]
    words = (
        "Importance: the share of the variance of all trials' values that a knob explains (fANOVA); a pruned trial "
        "counts with the value it was expected to end with."
    )
    drawn = picture(png(knob_picture(course)), "value of each trial over each knob")
    return section("The knobs", table(header, rows), paragraph(words), drawn)


def _pruning(course: Course, spent: Ledger) -> Html:
    whole = spent.spent + spent.saved
    share = f" ({spent.saved / whole:.0%} of what all trials would have cost whole)" if whole else ""
    saved = paragraph(f"{spent.spent:.0f} fold-epochs were spent, {spent.saved:.0f} saved by pruning{share}.")
    early = [trial for trial in course.trials if trial.state in (TrialState.PRUNED, TrialState.FAIL)]
    rows = [
        [trial.number, trial.state.name.lower(), len(trial.intermediate_values), _reason(trial)]
        for trial in sorted(early, key=lambda trial: trial.number)
    ]
    return section("What was stopped", saved, table(["trial", "ended", "evaluations", "why"], rows) if rows else Html())


def _commands(course: Course) -> list[str]:
    name = course.study.name
    lines = ["foldrace run study.toml"]
    if course.incumbent is not None:
        lines.append(f"foldrace export {name} --trial {course.incumbent.number}")
        lines.append(f"foldrace final runs/{name}/final.toml")
    return lines


def _fold(trial: FrozenTrial, fold: int) -> str:
    bests = [record.best for cell, record in sorted(read_evaluations(trial.user_attrs).items()) if cell[0] == fold]
    return f"{bests[-1]:.4f}" if bests else ""


def _reason(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("reason") or trial.user_attrs.get(FAILURE) or "no reason was recorded")


def _share(course: Course, knob: str) -> str:
    return f"{course.importances[knob]:.0%}" if knob in course.importances else ""


def _range(setting: Range | Choices) -> str:
    if isinstance(setting, Choices):
        return ", ".join(map(str, setting.choices))
    return f"{setting.low:g} to {setting.high:g}{' (log)' if setting.log else ''}"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
