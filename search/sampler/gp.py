"""Values of a new trial's knobs by the knowledge gradient of a Gaussian process, from what all trials have shown."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from foldrace.search.ending import OUTLOOK, Outlook
from foldrace.search.prior_store import CREDIBLE_PRIORS
from foldrace.search.race.knowledge_gradient import JointLevels
from foldrace.search.race.learning_curves import LearningCurves
from foldrace.search.race.space import SearchSpace
from foldrace.search.ranking import is_ranked
from foldrace.search.sampler.acquisition import Surface, are_among, propose
from foldrace.search.sampler.cube import Cube
from foldrace.search.sampler.curves import CurveReader
from foldrace.search.sampler.gaussian_process import JITTER, GaussianProcess, Inputs
from foldrace.search.sampler.readings import Readings, read_levels
from foldrace.search.sampler.trends import NO_PRIORS, Priors, TakenOver, Trend, average, most_credible
from foldrace.trainer.arrays import FloatArray

Tried = TypeVar("Tried", FrozenTrial, TakenOver)
Training = Mapping[int, Collection[int]]  # folds that were begun and are not done, by the number of their trial
NOTHING: Training = MappingProxyType({})

STARTUP_TRIALS = 4  # spread out over the whole space, before the process is asked
PRIOR_TRIALS = 2  # of these, that earlier studies propose
FEWEST_READINGS = 2  # trials that have shown something, before the process is asked
APART = 0.2  # such a proposal lies so far from what was tried, in each knob on average (root mean square)
POINTS = 64  # that are looked at, for one that was not tried
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


@dataclass(frozen=True, eq=False)
class Posterior:
    """What a process believes, given the readings of all trials, and what is known beforehand.

    Attributes:
        numbers: of the study's own trials, which come first among those that were tried.
        tried: (trials, knobs), their positions.
        failed: (trials,), whether a trial failed: it is not tried again, and cannot be chosen.
        process: given what is known now.
        pending: the process as if each fold that is trained now had ended as is expected of it, so that what is
            trained on many devices at once promises no more than is left to learn. The means are the same.
        credible: the trends that count.
        to_inputs: turns positions into what the process takes.
    """

    numbers: tuple[int, ...]
    tried: FloatArray
    failed: NDArray[np.bool_]
    readings: Readings
    process: GaussianProcess
    pending: GaussianProcess
    credible: Sequence[Trend]
    to_inputs: Callable[[FloatArray], Inputs]

    @property
    def noise(self) -> float:
        """The variance of a fold around its trial's level; 0 while it is not known."""
        return 0.0 if math.isnan(self.readings.fold_variance) else self.readings.fold_variance

    @property
    def surface(self) -> Surface:
        """Where to try next: what is awaited, and the trials that have to be beaten."""
        return Surface(self.pending, self.to_inputs, self.tried[~self.failed])

    def levels(self) -> JointLevels:
        """What is believed of the levels: first of the study's own trials that have shown something."""
        own = np.arange(len(self.tried)) < len(self.numbers)
        first = np.flatnonzero(own & self.readings.known)
        rest = np.flatnonzero(~(own & self.readings.known) & ~self.failed)
        at = self.to_inputs(self.tried[np.append(first, rest)])
        means, _, covariance = self.process.joint(at, at)
        _, _, once_done = self.pending.joint(at, at)
        return JointLevels(tuple(self.numbers[row] for row in first), means, covariance, once_done)

    def with_pending(self, training: Sequence[Collection[int]]) -> "Posterior":
        """The same, with the folds of each trial that are trained now."""
        values, variances = self.readings.values, self.readings.variances
        once_done = self.readings.variances_once_done(training)
        if np.array_equal(once_done, variances):
            return self
        at = self.to_inputs(self.tried)
        expected, _ = self.process.at(at)
        own = self.process.scale**2 * (self.process.nugget + JITTER)  # the variance of what no neighbour shares
        shares = np.where(self.readings.known, (once_done + own) / (variances + own), 0.0)
        values = expected + np.where(self.readings.known, values - expected, 0.0) * shares
        return replace(self, pending=self.process.given(at, values, once_done))


class GpSampler:
    """Samples trials of one study: determined by its seed, the trial's number, the history and what is trained now.

    Args:
        read_priors: what is known beforehand; the same object while nothing is added to it.
    """

    def __init__(self, curves: CurveReader, read_priors: Callable[[], Priors] = lambda: NO_PRIORS) -> None:
        self._curves, self._read_priors = curves, read_priors
        self._fitted: tuple[Priors, SearchSpace, list[Trend]] = (NO_PRIORS, SearchSpace({}), [])
        self._believed: tuple[Priors, object, Posterior | None] = (NO_PRIORS, None, None)

    def sample(
        self, trials: Sequence[FrozenTrial], number: int, space: SearchSpace, seed: int, training: Training = NOTHING
    ) -> Sample:
        """A value for each knob of the space, for trial `number`."""
        cube, priors = Cube(space), self._read_priors()
        others = [trial for trial in trials if trial.number != number]
        if number < STARTUP_TRIALS and len(_held(cube, priors.taken_over)) < STARTUP_TRIALS:
            return _start(cube, _tried(cube, others, priors), self._trends(priors, space), number, seed)
        posterior = self.believe(others, space, training)
        if posterior is None:
            return Sample(cube.params(spread_out(cube, _tried(cube, others, priors), number, seed)))
        random = np.random.default_rng([seed, number])
        proposed = propose(posterior.surface, cube, posterior.tried, posterior.noise, random)
        known = int(posterior.readings.known.sum())
        outlook = Outlook(proposed.gain, proposed.error, posterior.process.scale, known, proposed.rise)
        names = _names(posterior.credible) if self._trends(priors, space) else None
        return Sample(cube.params(proposed.position), names, outlook)

    def believe(
        self, trials: Sequence[FrozenTrial], space: SearchSpace, training: Training = NOTHING
    ) -> Posterior | None:
        """What trials that ended or that run let believe; None while too few have shown something.

        It is learnt anew where a trial has shown more: a claim asks first which fold is next, and then for values.
        """
        cube, priors = Cube(space), self._read_priors()
        own = _held(cube, trials)
        curves, reported = self._curves.read(own), [trial.value if is_ranked(trial) else math.nan for trial in own]
        shown = space, [(trial.number, trial.state == TrialState.FAIL) for trial in own], curves, reported
        believed_by, shown_before, posterior = self._believed
        if believed_by is not priors or shown_before != shown:
            posterior = self._learn(space, own, curves, np.array(reported, dtype=np.float64))
            self._believed = priors, shown, posterior
        return None if posterior is None else posterior.with_pending([training.get(one.number, ()) for one in own])

    def _learn(
        self, space: SearchSpace, own: Sequence[FrozenTrial], curves: Sequence[LearningCurves], reported: FloatArray
    ) -> Posterior | None:
        cube, priors = Cube(space), self._read_priors()
        taken_over = _held(cube, priors.taken_over)
        tried, beside = _positions(cube, [*own, *taken_over]), len(taken_over)
        failed = np.array([*(trial.state == TrialState.FAIL for trial in own), *[False] * beside])
        seen = [one.without_folds() if is_failed else one for one, is_failed in zip(curves, failed, strict=False)]
        readings = read_levels([*seen, *(trial.curves for trial in taken_over)])
        readings = readings.with_reported(np.append(reported, np.full(beside, np.nan)))
        known = readings.known
        if known.sum() < FEWEST_READINGS:
            return None
        trends = self._trends(priors, space)
        process, credible = most_credible(cube.inputs(tried[known]), tried[known], readings.of(known), trends)

        def to_inputs(positions: FloatArray) -> Inputs:
            plain = cube.inputs(positions)
            return Inputs(plain.columns, plain.knobs, average(credible, positions)) if credible else plain

        numbers = tuple(trial.number for trial in own)
        return Posterior(numbers, tried, failed, readings, process, process, credible, to_inputs)

    def _trends(self, priors: Priors, space: SearchSpace) -> list[Trend]:
        """The trends of all earlier studies over a space; they are fitted once."""
        fitted_to, over, trends = self._fitted
        if fitted_to is not priors or over != space:
            trends = [trend for study in priors.studies for trend in study.trends(space)]
            self._fitted = (priors, space, trends)
        return trends


def _held(cube: Cube, trials: Sequence[Tried]) -> list[Tried]:
    """The trials that have a value for each knob."""
    return [trial for trial in trials if cube.holds(trial.params)]


def _tried(cube: Cube, trials: Sequence[FrozenTrial], priors: Priors) -> FloatArray:
    """Where the trials lie, and those that are taken over."""
    return _positions(cube, [*_held(cube, trials), *_held(cube, priors.taken_over)])


def _positions(cube: Cube, trials: Sequence[FrozenTrial | TakenOver]) -> FloatArray:
    return np.array([cube.position(trial.params) for trial in trials]).reshape(-1, cube.knobs)


def _start(cube: Cube, tried: FloatArray, trends: Sequence[Trend], number: int, seed: int) -> Sample:
    """One of the first trials: where earlier studies together promise most, away from what was tried; or spread out."""
    if not trends or number >= PRIOR_TRIALS:
        return Sample(cube.params(spread_out(cube, tried, number, seed)))
    positions = cube.snapped(np.random.default_rng(seed).random((LOOKED_AT, cube.knobs)))
    promised = average(trends, positions)
    for row in tried:
        promised[np.sqrt(((positions - row) ** 2).mean(axis=1)) < APART] = -np.inf
    return Sample(cube.params(positions[int(promised.argmax())]), _names(trends))


def _names(trends: Sequence[Trend]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(trend.name for trend in trends))


def spread_out(cube: Cube, tried: FloatArray, number: int, seed: int) -> FloatArray:
    """(knobs,): the middle first, which says most of everywhere else; then points that fill the cube (Sobol 1967).

    A point whose configuration was tried is left out, unless all of the next ones were.
    """
    middle = np.full(cube.knobs, 0.5)
    if number == 0 and not are_among(cube.snapped(middle[None]), tried).any():
        return middle
    from scipy.stats import qmc  # type: ignore[import-untyped]  # takes half a second, and few trials need it

    sobol = qmc.Sobol(cube.knobs, rng=np.random.default_rng(seed))
    sobol.fast_forward(max(number, 1))
    positions: FloatArray = cube.snapped(sobol.random(POINTS))
    position: FloatArray = positions[int(are_among(positions, tried).argmin())]
    return position
