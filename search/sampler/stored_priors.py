"""Reads the priors of a study from its database, as its sampler uses them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from foldrace.search.prior_store import EarlierStudy, EarlierTrial, Prior, read_prior_names, read_priors
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import make_search_space, normalise_knobs
from foldrace.search.sampler.readings import Readings, read_levels
from foldrace.search.sampler.trends import NO_PRIORS, Priors, PriorStudy, TakenOver
from foldrace.storage.database import Database
from foldrace.studies.settings import allows
from foldrace.studies.study import Study

NO_NOISE = 1e-12  # the least variance of a level


class StoredPriors:
    """The priors of a study in its database, read again whenever one was added: all workers know the same."""

    def __init__(self, database: Database, study_id: int, study: Study) -> None:
        self._database, self._study_id, self._study = database, study_id, study
        self._names: Sequence[str] = ()
        self._priors = NO_PRIORS

    def read(self) -> Priors:
        """All priors; the same object while none is added."""
        names = self._database.read(lambda connection: read_prior_names(connection, self._study_id))
        if names != self._names:
            stored = self._database.read(lambda connection: read_priors(connection, self._study_id))
            self._names, self._priors = names, _priors(stored, self._study)
        return self._priors


def read_study_levels(earlier: EarlierStudy) -> Readings:
    """Readings of the levels of an earlier study's trials."""
    folds = max((len(trial.folds) for trial in earlier.trials), default=0)
    from_folds = read_levels([_curves(trial, folds, earlier.evaluations) for trial in earlier.trials])
    levels = np.array([np.nan if trial.level is None else trial.level for trial in earlier.trials])
    noises = np.array([np.nan if trial.noise is None else trial.noise for trial in earlier.trials])
    given = np.isfinite(levels)
    return Readings(
        np.where(given, levels, from_folds.values),
        np.where(given, np.maximum(noises**2, NO_NOISE), from_folds.variances),
    )


def _priors(stored: Sequence[Prior], study: Study) -> Priors:
    folds, evaluations = study.folds.count, study.defaults.evaluations
    space = make_search_space(study.searched)
    trials = [trial for prior in stored if prior.use == "taken over" for trial in prior.study.trials]
    taken_over = [
        TakenOver(
            trial.params,
            replace(_curves(trial, folds, evaluations), number=number, knobs=normalise_knobs(trial.params, space)),
        )
        for number, trial in enumerate(trials, start=-len(trials))
    ]
    return Priors(taken_over, [_prior_study(prior, study) for prior in stored if prior.use == "trend"])


def _prior_study(prior: Prior, study: Study) -> PriorStudy:
    levels, searched, values = read_study_levels(prior.study), prior.study.searched, study.defaults.model_dump()
    known = np.isfinite(levels.variances)
    params = [trial.params for trial, is_known in zip(prior.study.trials, known, strict=True) if is_known]
    fixed = {k: values[k] for k, d in searched.items() if k not in study.searched and allows(d, values[k])}
    return PriorStudy(prior.name, make_search_space(searched), params, levels.of(known), fixed)


def _curves(trial: EarlierTrial, folds: int, evaluations: int) -> LearningCurves:
    best = np.full((folds, evaluations), np.nan)
    for row, fold in zip(best, trial.folds, strict=False):
        row[: len(fold)] = fold
    done = len(list(takewhile(lambda fold: len(fold) == evaluations, trial.folds)))
    return LearningCurves(-1, best, (np.empty(0, np.uint8),) * done, (0,) * done, {})
