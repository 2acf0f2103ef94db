"""Final jobs whose folds are done, without the training."""

from dataclasses import replace

import numpy as np

from foldrace.search.ensemble.job import FinalJob
from foldrace.search.study_store import public_toml
from foldrace.storage.files.atomic import atomic_write
from foldrace.trainer.modeling.classifier import build_model
from foldrace.trainer.results import save_model, save_result
from foldrace.trainer.training.tasks import FoldCost, FoldResult
from foldrace.trainer.training_data import TrainingData
from tests.support.records import curve_of_bits, record_at


def leave_results(job: FinalJob, data: TrainingData, *, with_bits: bool = False, with_models: bool = False) -> None:
    """Leave in the job's folder what trained folds leave, with probabilities drawn at random.

    Args:
        with_bits: eight evaluations that say which rows they got right, each row with a probability of .6.
        with_models: a model of each fold too, as it begins.
    """
    atomic_write(job.folder / "study.toml", public_toml(job.study))
    random, classes = np.random.default_rng(0), len(data.examples.labels.names)
    for fold in job.folds:
        plan = data.final_plan(fold.seed)
        task = data.task(job.study.hyperparameters({}), plan, fold.fold, "cpu", predict_test=True)
        sizes = len(task.validation), len(data.test.rows if data.test else ()), len(task.training)
        drawn, test, train = (random.dirichlet(np.ones(classes), size).astype(np.float32) for size in sizes)
        curve = [record_at(0, 0.5, step=1, epoch=1.0), record_at(1, 0.6, step=2, epoch=2.0)]
        if with_bits:
            curve = [*curve_of_bits(random.random((8, len(task.validation))) < 0.6)]
        result = FoldResult(tuple(curve), drawn, test, train, {}, FoldCost(1.0, 0.1, 100.0, 1, 1, 32))
        model = {}
        if with_models:
            weights = build_model(task.source, task.knobs, task.seed).state_dict()
            model = save_model(replace(result, weights=weights), task, data, job.fold_folder(fold))
        save_result(result, task.hash(), job.fold_folder(fold), model)
