"""What an earlier study says of a new one: its trials are taken over, or give a trend, or say nothing."""

from collections.abc import Iterator

import numpy as np

from foldrace.search.prior_store import EarlierStudy, EarlierTrial, Prior, PriorError
from foldrace.search.race.space import make_search_space
from foldrace.search.sampler.stored_priors import read_study_levels
from foldrace.search.sampler.trends import is_alike
from foldrace.studies.identity import Identity
from foldrace.studies.settings import allows
from foldrace.studies.study import Study

FEWEST_TRIALS = 3  # from which a trend is learnt
ALIKE = 1e-9  # levels that differ by less are the same


def relate(name: str, earlier: EarlierStudy, study: Study) -> Prior:
    """An earlier study as `study` uses it.

    Raises:
        PriorError: none of its trials has ended.
        StudyError: a newer foldrace has written it.
    """
    if not earlier.trials:
        raise PriorError(f"search.prior: {name}: none of its trials has ended yet")
    if earlier.metric != study.search.metric:
        return Prior(name, "unused", f"its metric is {earlier.metric}, this study's {study.search.metric}", earlier)
    differs = _first_difference(name, earlier, study)
    inside = () if differs else tuple(_inside(earlier, study))
    if inside:
        outside = len(earlier.trials) - len(inside)
        note = (
            f"{_count(inside)} taken over{f'; {outside} outside of the ranges' if outside else ''}{_running(earlier)}"
        )
        return Prior(name, "taken over", note, earlier.model_copy(update={"trials": inside}))
    reason = _reason_for_no_trend(earlier, study)
    if reason:
        return Prior(name, "unused", reason, earlier)
    note = f"{_count(earlier.trials)}; {differs or 'all outside of the ranges'}{_running(earlier)}"
    return Prior(name, "trend", note, earlier)


def _first_difference(name: str, earlier: EarlierStudy, study: Study) -> str:
    """Why its trials are no trials of `study`, whatever the ranges of the knobs; empty: they are."""
    if not earlier.identity:
        return "not known to be of the same data"
    may_differ = {"search.seed", "search.baseline", *(f"training.{knob}" for knob in study.searched)}
    now, then = (
        Identity({key: value for key, value in identity.values.items() if key not in may_differ})
        for identity in (Identity.of(study), Identity.from_json(earlier.identity, f"prior {name}"))
    )
    return next(iter(now.changes_since(then)), "")


def _inside(earlier: EarlierStudy, study: Study) -> Iterator[EarlierTrial]:
    """The trials that `study` could have sampled, each with a value for each active knob."""
    searched, defaults = study.searched, study.defaults.model_dump()
    for place, trial in enumerate(earlier.trials):
        values = {knob: value for knob, value in earlier.values(trial).items() if knob in searched}
        active = study.active(values)
        params = {knob: values[knob] for knob in active if knob in values}
        is_whole = trial.folds and len(params) == len(active)
        is_trained_so = all(values.get(knob) == defaults[knob] for knob in searched.keys() - active)
        if is_whole and is_trained_so and all(allows(searched[knob], value) for knob, value in params.items()):
            number = place if trial.number is None else trial.number
            yield trial.model_copy(update={"params": params, "number": number})


def _reason_for_no_trend(earlier: EarlierStudy, study: Study) -> str:
    space, levels = make_search_space(study.searched), read_study_levels(earlier)
    if not any(knob in space and is_alike(d, space[knob]) for knob, d in make_search_space(earlier.searched).items()):
        return f"none of its knobs ({', '.join(sorted(earlier.searched))}) is searched in the same way"
    known = levels.values[np.isfinite(levels.variances)]
    if len(known) < FEWEST_TRIALS:
        return f"fewer than {FEWEST_TRIALS} of its trials have shown something"
    if np.ptp(known) < ALIKE:
        return f"all its trials have the value {known[0]:.4f}"
    return ""


def _count(trials: tuple[EarlierTrial, ...]) -> str:
    return f"{len(trials)} trial{'s' if len(trials) > 1 else ''}"


def _running(earlier: EarlierStudy) -> str:
    return f"; {earlier.running} still ran" if earlier.running else ""
