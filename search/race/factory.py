"""The pruner that a study names, and its reasons. Stock ones see step = evaluations * fold + index, and an estimate."""

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from foldrace.search.race.racing import RacingPruner
from foldrace.studies.study import Study

STARTUP_TRIALS = 5  # that the median is taken of, at least


def make_pruner(study: Study) -> BasePruner:
    """The pruner of a search; each is given what it needs to mean the same in every worker."""
    evaluations = study.defaults.evaluations
    half_a_fold = max(1, evaluations // 2)
    if study.search.pruner == "racing":
        return RacingPruner(study.folds.count, evaluations, study.search.risk)
    if study.search.pruner == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=half_a_fold)
    if study.search.pruner == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=half_a_fold)
    if study.search.pruner == "hyperband":
        return HyperbandPruner(min_resource=half_a_fold, max_resource=evaluations * study.folds.count)
    return NopPruner()


def reason_to_prune(study: optuna.Study, trial: FrozenTrial) -> str | None:
    """Why the study's pruner stops the trial after its last report; None: it goes on.

    A trial whose values were given, as a baseline's are, is never stopped: somebody wants to know what they give.
    """
    if trial.system_attrs.get("fixed_params"):
        return None
    pruner = study.pruner
    if isinstance(pruner, RacingPruner):
        verdict = pruner.verdict(study, trial)
        return str(verdict) if verdict.prune else None
    if not pruner.prune(study, trial):
        return None
    step = trial.last_step
    return f"{type(pruner).__name__} at step {step}: {trial.intermediate_values[step or 0]:.4f} on average so far"
