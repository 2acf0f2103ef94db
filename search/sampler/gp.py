"""Values of a new trial's knobs by expected improvement over a Gaussian process, from what all trials have shown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from scipy.stats import qmc  # type: ignore[import-untyped]

from foldrace.search.ending import OUTLOOK, Outlook
from foldrace.search.prior_store import CREDIBLE_PRIORS
from foldrace.search.race.space import SearchSpace
from foldrace.search.ranking import is_ranked
from foldrace.search.sampler.acquisition import propose
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.curves import CurveReader
from foldrace.search.sampler.gaussian_process import GaussianProcess, Inputs
from foldrace.search.sampler.readings import Readings, read_levels
from foldrace.search.sampler.trends import NO_PRIORS, Priors, Trend, average, most_credible
from foldrace.trainer.arrays import FloatArray

STARTUP_TRIALS = 4  # spread out over the whole space, before the process is asked
PRIOR_TRIALS = 2  # of these, that earlier studies propose
FEWEST_READINGS = 2  # trials that have shown something, before the process is asked
APART = 0.2  # such a proposal lies so far from what was tried, in each knob on average (root mean square)
LOOKED_AT = 4096  # configurations, among which it is chosen


@dataclass(frozen=True)
class Sample:
    """The values of a trial's knobs.

    Attributes:
        priors: the names of the earlier studies whose trends counted; None where there was none, or nothing to ask yet.
        outlook: what the process expected; None before it was asked.
    """

    values: dict[str, Any]
    priors: tuple[str, ...] | None = None
    outlook: Outlook | None = None

    @property
    def attrs(self) -> dict[str, Any]:
        """What is stored beside the values: user attributes of the trial."""
        outlook = None if self.outlook is None else self.outlook.to_json()
        return {key: attr for key, attr in ((CREDIBLE_PRIORS, self.priors), (OUTLOOK, outlook)) if attr is not None}


class GpSampler:
    """Samples trials of one study: determined by its seed, the trial's number and the history, and by nothing else.

    Args:
        read_priors: what is known beforehand; the same object while nothing is added to it.
    """

    def __init__(self, curves: CurveReader, read_priors: Callable[[], Priors] = lambda: NO_PRIORS) -> None:
        self._curves, self._read_priors = curves, read_priors
        self._fitted: tuple[Priors, SearchSpace, list[Trend]] = (NO_PRIORS, {}, [])

    def sample(self, trials: Sequence[FrozenTrial], number: int, space: SearchSpace, seed: int) -> Sample:
        """A value for each knob of the space.

        Args:
            trials: that ended or that run; without `number`, the one to be sampled.
        """
        cube, priors = Cube(space), self._read_priors()
        trends = self._trends(priors, space)
        own = [trial for trial in trials if trial.number != number and cube.holds(trial.params)]
        taken_over = [trial for trial in priors.taken_over if cube.holds(trial.params)]
        params = [trial.params for trial in own] + [dict(trial.params) for trial in taken_over]
        tried = np.array([cube.position(one) for one in params]).reshape(-1, cube.knobs)
        if number < STARTUP_TRIALS and len(taken_over) < STARTUP_TRIALS:
            return _start(cube, tried, trends, number, seed)
        readings = read_levels([*self._curves.read(own), *(trial.curves for trial in taken_over)])
        reported = [trial.value if is_ranked(trial) else math.nan for trial in own] + [math.nan] * len(taken_over)
        readings = readings.with_reported(np.array(reported, dtype=np.float64))
        known = np.isfinite(readings.variances)
        if known.sum() < FEWEST_READINGS:
            return Sample(cube.params(spread_out(cube, number, seed)))
        process, credible = most_credible(cube.inputs(tried[known]), tried[known], readings.of(known), trends)

        def describe(positions: FloatArray) -> Inputs:
            plain = cube.inputs(positions)
            return Inputs(plain.columns, plain.knobs, average(credible, positions)) if credible else plain

        process = _with_pending(process, describe(tried), readings)
        proposed = propose(process, cube, describe, tried, np.random.default_rng([seed, number]))
        outlook = Outlook(proposed.gain, proposed.error, process.scale, int(known.sum()))
        return Sample(cube.params(proposed.position), _names(credible) if trends else None, outlook)

    def _trends(self, priors: Priors, space: SearchSpace) -> list[Trend]:
        """The trends of all earlier studies over a space; they are fitted once."""
        fitted_to, over, trends = self._fitted
        if fitted_to is not priors or over != space:
            trends = [trend for study in priors.studies for trend in study.trends(space)]
            self._fitted = (priors, dict(space), trends)
        return trends


def _start(cube: Cube, tried: FloatArray, trends: Sequence[Trend], number: int, seed: int) -> Sample:
    """One of the first trials: where earlier studies together promise most, away from what was tried; or spread out."""
    if not trends or number >= PRIOR_TRIALS:
        return Sample(cube.params(spread_out(cube, number, seed)))
    positions = cube.snapped(np.random.default_rng(seed).random((LOOKED_AT, cube.knobs)))
    promised = average(trends, positions)
    for row in tried:
        promised[np.sqrt(((positions - row) ** 2).mean(axis=1)) < APART] = -np.inf
    return Sample(cube.params(positions[int(promised.argmax())]), _names(trends))


def _names(trends: Sequence[Trend]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(trend.name for trend in trends))


def spread_out(cube: Cube, number: int, seed: int) -> FloatArray:
    """(knobs,): the middle first, which says most of everywhere else; then points that fill the cube (Sobol 1967)."""
    if number == 0:
        return np.full(cube.knobs, 0.5)
    sobol = qmc.Sobol(cube.knobs, rng=np.random.default_rng(seed))
    sobol.fast_forward(number)
    position: FloatArray = sobol.random(1)[0]
    return position


def _with_pending(process: GaussianProcess, tried: Inputs, readings: Readings) -> GaussianProcess:
    """A trial that runs and has shown nothing counts as if it had shown what is expected: no other is sampled there."""
    known = np.isfinite(readings.variances)
    if known.all():
        return process
    means, _ = process.at(tried)
    usual = float(np.median(readings.variances[known]))
    return process.given(tried, np.where(known, readings.values, means), np.where(known, readings.variances, usual))
