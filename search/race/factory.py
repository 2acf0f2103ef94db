"""The pruner that a study names, and why it stops a trial.

Optuna's own pruners see step = evaluations * fold + index, and a running estimate of the trial's value.
"""

from collections.abc import Callable, Sequence

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.racing import RacingPruner
from foldrace.storage.optuna_rows import RACES
from foldrace.studies.study import Study

STARTUP_TRIALS = 5  # at least, before the median pruner stops any


def make_pruner(study: Study, taken_over: Callable[[], Sequence[LearningCurves]] = tuple) -> BasePruner:
    """The pruner of a search, with the same settings in every worker.

    Args:
        taken_over: the curves of trials that the study took over; racing alone looks at them.
    """
    evaluations = study.defaults.evaluations
    half_a_fold = max(1, evaluations // 2)
    if study.search.pruner == "racing":
        return RacingPruner(study.folds.count, evaluations, study.search.risk, taken_over)
    if study.search.pruner == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=half_a_fold)
    if study.search.pruner == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=half_a_fold)
    if study.search.pruner == "hyperband":
        return HyperbandPruner(min_resource=half_a_fold, max_resource=evaluations * study.folds.count)
    return NopPruner()


def reason_to_prune(study: optuna.Study, trial: FrozenTrial) -> str | None:
    """The reason for which the study's pruner stops the trial after its last report; None if it goes on.

    A trial whose values were given, as the first baseline's are, is never stopped: its user wants to know what they
    give. Further baselines race.
    """
    if trial.system_attrs.get("fixed_params") and RACES not in trial.user_attrs:
        return None
    pruner = study.pruner
    if isinstance(pruner, RacingPruner):
        verdict = pruner.judge(study, trial)
        return str(verdict) if verdict.prune else None
    if not pruner.prune(study, trial):
        return None
    step = trial.last_step
    return f"{type(pruner).__name__} at step {step}: {trial.intermediate_values[step or 0]:.4f} on average so far"
