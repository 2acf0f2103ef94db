"""Exports the best trial as a final study file: every knob is fixed, nothing is searched."""

import re
import statistics
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from foldrace.errors import FoldraceError
from foldrace.search.assessment.assessment import Assessment
from foldrace.search.assessment.reader import read_assessment, read_scores
from foldrace.search.prior_store import EarlierTrial, read_taken_over
from foldrace.search.race.learning_curves import read_evaluations
from foldrace.search.ranking import BY_HAND, aside_trials, lead_trial, rank_trials
from foldrace.search.session import Session
from foldrace.search.study_store import check_same, public_toml
from foldrace.search.trials.assignment import check_values
from foldrace.storage.database import Database
from foldrace.storage.files.own_files import write_own
from foldrace.storage.optuna_rows import find_study_id
from foldrace.studies.identity import Identity
from foldrace.studies.knobs import Value
from foldrace.studies.study import Study


class ExportError(FoldraceError):
    """The trial cannot be exported."""


@dataclass(frozen=True)
class SelectedTrial:
    """A trial to export: a complete one, or one that was put aside.

    Attributes:
        number: in its study.
        value: the mean of its folds' best evaluations, as far as they were trained.
        sampled: the value of each knob that was searched.
        folds: the best evaluation of each fold; none of a trial that was added by hand without them.
        prior: the name of the prior that it was taken over from; None: it is a trial of the study itself.
    """

    number: int
    value: float
    sampled: dict[str, Value]
    folds: tuple[float, ...]
    prior: str | None = None

    @property
    def name(self) -> str:
        """What `foldrace export --trial` calls it."""
        return str(self.number) if self.prior is None else f"{self.prior}/{self.number}"

    @property
    def deviation(self) -> float:
        """The standard deviation between folds."""
        return statistics.stdev(self.folds) if len(self.folds) > 1 else 0.0

    def note(self, folds: int) -> str:
        """How its folds differ, in words, and how many of the study's they are; or that it was added by hand."""
        if not self.folds:
            return BY_HAND
        differ = [f"sd {self.deviation:.4f}"] if len(self.folds) > 1 else []
        return ", ".join(differ + [f"{len(self.folds)} of {folds} folds"] * (len(self.folds) != folds))


def select_trial(database: Database, study: Study, name: str | None = None) -> SelectedTrial:
    """The leading trial of a study, or one by its number, or by `PRIOR/NUMBER` where it was taken over.

    Raises:
        ExportError: no trial is complete or put aside, or not that one, or foldrace did not run it.
        StorageError: no such study, or one with other settings.
    """
    check_same(database, study.name, Identity.of(study))
    if name is not None and not re.fullmatch("[0-9]{1,18}", name):
        return _select_taken_over(database, study, name)
    number = None if name is None else int(name)
    with database.read_only():
        storage = database.storage
        stored = database.retry(lambda: optuna.load_study(study_name=study.name, storage=storage))
        trials = database.retry(lambda: stored.get_trials(deepcopy=False))
    ranked, by_number = rank_trials(trials), {trial.number: trial for trial in trials}
    aside = database.read(lambda connection: aside_trials(connection, find_study_id(connection, study.name)))
    there = [*(trial.number for trial in ranked), *aside]
    if not there:
        best = next(iter(taken_over_trials(database, study)), None)
        rest = f"--trial {best.name} exports one that was taken over" if best is not None else "nothing to export"
        raise ExportError(f"study {study.name}: no trial is complete yet, of {len(trials)}; {rest}")
    if number is None:
        first, leaders = next((trial.number for trial in ranked), None), read_scores(database, study.name).leaders
        by_hand = first is not None and first not in leaders
        number = lead_trial(first, next(iter(leaders), None), by_hand=by_hand)
    if number is None or number not in there:
        state = f"is {by_number[number].state.name.lower()}" if number in by_number else "is not there"
        right = f"complete or put aside: {_listed(sorted(there))}"
        raise ExportError(f"study {study.name}: trial {number} {state}; {right}")
    return _selected(by_number[number], study)


def taken_over_trials(database: Database, study: Study) -> list[SelectedTrial]:
    """The complete trials that a study has taken over, the best first."""
    stored = database.read(lambda connection: read_taken_over(connection, find_study_id(connection, study.name)))
    whole = [study.defaults.evaluations] * study.folds.count
    found = [
        _taken_over(prior, trial)
        for prior, trials in stored.items()
        for trial in trials
        if [len(fold) for fold in trial.folds] == whole
    ]
    return sorted(found, key=lambda trial: trial.value, reverse=True)


def _taken_over(prior: str, trial: EarlierTrial) -> SelectedTrial:
    folds = tuple(fold[-1] for fold in trial.folds)
    return SelectedTrial(trial.number or 0, statistics.fmean(folds), trial.params, folds, prior)


def _select_taken_over(database: Database, study: Study, name: str) -> SelectedTrial:
    if not re.fullmatch(r".+/[0-9]{1,18}", name):
        raise ExportError(f"--trial {name}: expected a number, or RUN/NUMBER of a trial that was taken over")
    found = {trial.name: trial for trial in taken_over_trials(database, study)}
    if name not in found:
        there = ", ".join([*found][:10]) or "none"
        raise ExportError(f"study {study.name}: no complete trial {name} was taken over; there: {there}")
    return found[name]


@dataclass(frozen=True)
class ExportedTrial:
    """A trial that was written as a final study file.

    Attributes:
        better: than the study's own best, the best one that was taken over; None where another trial was asked for.
        assessment: how good the trial is; None where too little is known, and of one that was taken over.
    """

    trial: SelectedTrial
    path: Path
    better: SelectedTrial | None
    assessment: Assessment | None


def export_trial(session: Session, name: str | None, output: Path | None, *, force: bool = False) -> ExportedTrial:
    """Write the best trial, or the one of that name, to `output`: by default to final.toml with the run.

    Args:
        force: overwrite a file that was edited.

    Raises: as `select_trial` and `write_own`.
    """
    trial = select_trial(session.database, session.study, name)
    taken_over = [] if name is not None else taken_over_trials(session.database, session.study)
    path = output or session.workspace.folder / "final.toml"
    write_own(path, exported_text(session.study, trial, path), session.workspace.folder, force=force)
    assessment = (
        None if trial.prior is not None else read_assessment(session.database, session.study.name, trial.number)
    )
    better = next((one for one in taken_over if one.value > trial.value), None)
    return ExportedTrial(trial, path, better, assessment)


def exported_text(study: Study, trial: SelectedTrial, path: Path) -> str:
    """The final study file of a trial, which will lie at `path`: every knob there is has its value."""
    folds = ", ".join(f"{value:.4f}" for value in trial.folds)
    of = "" if len(trial.folds) == study.folds.count else f"{len(trial.folds)} of {study.folds.count} of "
    origin = f"the mean of the best\n# evaluations of {of}its folds ({folds})" if folds else BY_HAND
    header = (
        f"# Trial {trial.name} of study {study.name}: {study.search.metric} {trial.value:.4f}, {origin}.\n"
        f"# Train the ensemble and write the submission: foldrace final {path}\n\n"
    )
    return header + public_toml(study.with_fixed(trial.sampled))


def _selected(trial: FrozenTrial, study: Study) -> SelectedTrial:
    last_bests = {fold: record.best for (fold, _), record in sorted(read_evaluations(trial.user_attrs).items())}
    is_whole = trial.state.name == "RUNNING" or last_bests.keys() >= set(range(study.folds.count))
    sampled, missing = (
        dict(trial.params),
        next((knob for knob in study.active(trial.params) if knob not in trial.params), None),
    )
    try:
        if missing is not None:
            raise ValueError(f"it has no {missing}")
        check_values(sampled, study)
    except ValueError as error:
        raise ExportError(
            f"study {study.name}: trial {trial.number} was added by hand, and cannot be exported: {error}; "
            "--trial NUMBER exports another one"
        ) from None
    folds = tuple(best for _, best in sorted(last_bests.items())) if is_whole else ()
    value = statistics.fmean(folds) if trial.value is None and folds else trial.value
    return SelectedTrial(trial.number, value or 0.0, sampled, folds)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
