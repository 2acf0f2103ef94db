"""Reads the scores of a study's trials, in the folds of its search and of its rescore."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from foldrace.search.assessment.assess import StudyScores, assess
from foldrace.search.assessment.assessment import Assessment
from foldrace.search.assessment.half_splits import unbiased_score
from foldrace.search.assessment.process import StudyProcess
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import (
    EvaluationPoint,
    join_bests,
    join_evaluations,
    read_bests,
    read_evaluations,
)
from foldrace.search.ranking import aside_trials, select_ranked
from foldrace.search.study_store import RESCORE, StoredStudy, job_name, read_study
from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.optuna_rows import CELLS
from foldrace.studies.study import Study
from foldrace.trainer.arrays import FloatArray
from foldrace.trainer.evaluation import EvaluationRecord

IN_FULL = 10  # the best trials, whose rows are read too; of the others only scores
_TRIALS, _ATTRS, _STUDIES = tables.trials.c, tables.trial_attrs.c, tables.studies.c
_SEEN = ("RUNNING", "COMPLETE", "PRUNED")
Texts = dict[int, dict[str, str]]  # by number of a trial, its attributes as JSON by key


def read_assessment(database: Database, name: str, number: int | None = None) -> Assessment | None:
    """How good the leader of a study is, or the trial of that number; None while too little is known.

    Raises:
        StorageError: there is no such study.
    """
    return assess(read_scores(database, name), number)


def read_scores(database: Database, name: str, *, with_rescore: bool = True) -> StudyScores:
    """The scores of a study at one moment, and its process just before. Raises StorageError when there is none."""
    stored = database.read(lambda connection: read_study(connection, name))
    process = StudyProcess.read(database, stored)
    return database.snapshot(lambda connection: _read(connection, stored, process, with_rescore))


def _read(connection: sa.Connection, stored: StoredStudy, process: StudyProcess, with_rescore: bool) -> StudyScores:
    study, texts = stored.parse(), _texts(connection, stored.name, _ATTRS.key.like(CELLS))
    ranked = [number for number, _ in connection.execute(select_ranked(stored.study_id))]
    candidates = [number for number in ranked if texts.get(number)]
    candidates += [number for number in aside_trials(connection, stored.study_id) if number in texts]
    fresh, repeats = _fresh(connection, study) if with_rescore else ({}, 0)
    folds = study.folds.count
    shape = folds * (1 + repeats), study.defaults.evaluations
    trials = {number: join_bests(number, read_bests(attrs), shape) for number, attrs in sorted(texts.items())}
    levels, unbiased = process([*trials.values()]) if trials else None, {}
    for number in {*_by_level(candidates, levels)[:IN_FULL], *fresh, 0}.intersection(trials):
        seen = read_evaluations(texts[number]) | fresh.get(number, {})
        trials[number], unbiased[number] = join_evaluations(number, seen, shape), _unbiased(seen, shape[0])
    baseline = 0 if study.search.baseline else None
    return StudyScores(
        study.search.metric, tuple(trials.values()), folds, tuple(candidates), unbiased, process, baseline
    )


def _by_level(candidates: Sequence[int], levels: JointLevels | None) -> list[int]:
    """The candidates, those first of which most is believed."""
    means = {} if levels is None else dict(zip(levels.numbers, levels.means, strict=False))
    return sorted(candidates, key=lambda number: -means.get(number, -math.inf))


def _texts(connection: sa.Connection, name: str, keys: sa.ColumnElement[bool]) -> Texts:
    query = (
        sa.select(_TRIALS.number, _ATTRS.key, _ATTRS.value_json)
        .join(tables.trials, _TRIALS.trial_id == _ATTRS.trial_id)
        .join(tables.studies, _STUDIES.study_id == _TRIALS.study_id)
        .where(_STUDIES.study_name == name, _TRIALS.state.in_(_SEEN), keys)
    )
    found: Texts = defaultdict(dict)
    for number, key, text in connection.execute(query):
        found[number][key] = text
    return dict(found)


def _fresh(connection: sa.Connection, study: Study) -> tuple[dict[int, dict[EvaluationPoint, EvaluationRecord]], int]:
    """The evaluations of the rescore by trial, its folds after those of the search; and how many repeats it has."""
    named = sa.or_(_ATTRS.key.like(CELLS), _ATTRS.key.in_(("trial", "repeat", "fold")))
    found: dict[int, dict[EvaluationPoint, EvaluationRecord]] = defaultdict(dict)
    repeats = 0
    for attrs in _texts(connection, job_name(study.name, RESCORE), named).values():
        names = {key: json.loads(attrs.pop(key, "null")) for key in ("trial", "repeat", "fold")}
        if all(isinstance(number, int) for number in names.values()):
            column = study.folds.count * names["repeat"] + names["fold"]
            records = {(column, index): record for (_, index), record in read_evaluations(attrs).items()}
            found[names["trial"]] |= records
            repeats = max(repeats, names["repeat"])
    return dict(found), repeats


def _unbiased(seen: Mapping[EvaluationPoint, EvaluationRecord], folds: int) -> FloatArray:
    scores = [unbiased_score(_curve(seen, fold)) if _curve(seen, fold) else None for fold in range(folds)]
    return np.array([math.nan if score is None else score for score in scores])


def _curve(seen: Mapping[EvaluationPoint, EvaluationRecord], fold: int) -> list[EvaluationRecord]:
    points: Iterable[EvaluationPoint] = sorted(point for point in seen if point[0] == fold)
    return [seen[point] for point in points]
