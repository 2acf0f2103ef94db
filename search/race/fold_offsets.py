"""By how much some folds are easier than others, estimated in spite of the pruning.

The end of a fold is modelled as what the trial's knobs let expect, plus the level of the trial, plus the offset of the
fold, plus noise. The differences between the folds of a trial do not need the levels, but pruning biases them: a trial
went on to its second fold because its first one looked good, in part by chance, so that the first fold seems easy.
Here the levels are random effects, and every observation is used, also of trials that were pruned in their first fold.
A trial is pruned by what was observed of it, so that the rest is missing at random, and the likelihood of the
observations needs no model of the pruning (Rubin 1976, "Inference and Missing Data"; for the mixed model, where animals
are culled by their first records, Henderson 1975, "Best Linear Unbiased Estimation and Prediction under a Selection
Model"). That holds as far as levels and noise are normal, with the same variances for all trials.
"""

import numpy as np

from foldrace.trainer.arrays import FloatArray

OFFSET_PENALTY = 2.0  # precision of the prior, in trials, that all folds are equally easy
# The variance of the levels is at least so many times that of the folds around them. On the recordings it is 0.8 to 11
# times as large. The two estimates may contradict each other, because few trials have several folds; levels would then
# not vary at all, and the first fold would be corrected too much.
MIN_LEVEL_RATIO = 1.0
MIN_VARIANCE = 1e-12  # where all folds of each trial end alike
MIN_DEGREES_OF_FREEDOM = 2  # of the variance between folds, before it says anything


def estimate_fold_offsets(
    residuals: FloatArray, noises: FloatArray, level_variances: FloatArray, fold_variance: float
) -> FloatArray:
    """The offset of each fold, (folds,), with mean 0: generalised least squares with the levels as random effects.

    Args:
        residuals: (trials, folds), the observed ends less what each trial's knobs let expect.
        noises: (trials, folds), the variance of each observation around the end; infinite or NaN where not observed.
        level_variances: (trials,), of the levels.
        fold_variance: of an end around its level.
    """
    variance = max(fold_variance, MIN_VARIANCE)
    observed = np.isfinite(noises) & np.isfinite(residuals)
    weights = np.where(observed, variance / (variance + np.where(observed, noises, 0.0)), 0.0)
    values = np.where(observed, residuals, 0.0)
    level_precisions = variance / np.maximum(level_variances, MIN_LEVEL_RATIO * variance)
    return _solve(values, weights, level_precisions, OFFSET_PENALTY)


def offsets_within_trials(ends: FloatArray, penalty: float = OFFSET_PENALTY) -> FloatArray:
    """The offset of each fold, (folds,), with mean 0, from the differences between the folds of each trial.

    Args:
        ends: (trials, folds), NaN where not done.
    """
    done = np.isfinite(ends)
    return _solve(np.where(done, ends, 0.0), done.astype(np.float64), np.zeros(len(ends)), penalty)


def within_trial_variance(ends: FloatArray) -> tuple[float, int]:
    """The variance of `ends`, (trials, folds), NaN where not done, around trial and fold; its degrees of freedom.

    Where the offsets leave too little to tell it, the trial with the most folds tells it alone, offsets and all.
    """
    ends = ends[np.isfinite(ends).sum(axis=1) > 1]  # a single fold is all level
    done = np.isfinite(ends)
    if not done.any():
        return 0.0, 0
    degrees_of_freedom = int(done.sum()) - len(ends) - (int(done.any(axis=0).sum()) - 1)
    if degrees_of_freedom >= MIN_DEGREES_OF_FREEDOM:
        ends = ends - offsets_within_trials(ends, penalty=0.0)
    else:
        ends = ends[[done.sum(axis=1).argmax()]]
        degrees_of_freedom = int(np.isfinite(ends).sum()) - 1
    residuals = ends - np.nanmean(ends, axis=1, keepdims=True)
    return float(np.nansum(residuals**2)) / degrees_of_freedom, degrees_of_freedom


def _solve(values: FloatArray, weights: FloatArray, level_precisions: FloatArray, penalty: float) -> FloatArray:
    """The normal equations of the offsets, in units of the fold variance, with the levels and the mean eliminated.

    Args:
        values, weights: (trials, folds); a weight is 0 where nothing was observed.
        level_precisions: (trials,); 0 makes the level of a trial a free parameter.
        penalty: the precision of the prior that an offset is zero.
    """
    level_weights = weights / np.maximum(level_precisions + weights.sum(axis=1), MIN_VARIANCE)[:, None]
    information = np.diag(weights.sum(axis=0)) - level_weights.T @ weights
    score = (weights * values).sum(axis=0) - level_weights.T @ (weights * values).sum(axis=1)
    of_mean = information.sum(axis=1)
    if of_mean.sum() > 1e-9 * weights.sum():  # else the levels have taken the mean
        score = score - of_mean * score.sum() / of_mean.sum()
        information = information - np.outer(of_mean, of_mean) / of_mean.sum()
    identity = np.eye(len(score))
    solution: FloatArray = np.linalg.lstsq(information + penalty * identity, score, rcond=1e-9)[0]
    return solution
