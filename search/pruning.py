"""The pruner that a study names. Stock ones see step = evaluations * fold + index, and a running estimate."""

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from studies.knobs import Hyperparameters
from studies.study import Study

STARTUP_TRIALS = 5  # that the median is taken of, at least


def make_pruner(study: Study) -> BasePruner:
    """The pruner of a search; each is given what it needs to mean the same in every worker."""
    evaluations = Hyperparameters.model_validate(study.fixed).evaluations
    half_a_fold = max(1, evaluations // 2)
    if study.search.pruner == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=half_a_fold)
    if study.search.pruner == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=half_a_fold)
    if study.search.pruner == "hyperband":
        return HyperbandPruner(min_resource=half_a_fold, max_resource=evaluations * study.folds.count)
    return NopPruner()
