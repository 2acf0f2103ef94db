"""The pruner that a study names, and its reasons."""

from collections.abc import Callable

import optuna
import pytest
from optuna.pruners import MedianPruner, SuccessiveHalvingPruner, ThresholdPruner
from optuna.trial import TrialState, create_trial

from foldrace.search.race.factory import make_pruner, reason_to_prune
from foldrace.search.race.racing import RacingPruner
from foldrace.studies.study import Study


@pytest.mark.parametrize(
    ("name", "kind"),
    [("racing", RacingPruner), ("median", MedianPruner), ("successive_halving", SuccessiveHalvingPruner)],
)
def test_a_study_has_the_pruner_that_it_names(make_study: Callable[..., Study], name: str, kind: type) -> None:
    assert isinstance(make_pruner(make_study(pruner=name)), kind)


@pytest.mark.parametrize(
    ("fixed", "attrs", "is_stopped"),
    [({}, {}, True), ({"gamma": 0.5}, {}, False), ({"gamma": 0.5}, {"races": True}, True)],
    ids=["sampled", "given", "a further baseline"],
)
def test_a_trial_whose_values_were_given_is_never_stopped_unless_it_races(
    fixed: dict[str, float], attrs: dict[str, bool], is_stopped: bool
) -> None:
    study = optuna.create_study(direction="maximize", pruner=ThresholdPruner(lower=0.9))
    trial = create_trial(
        state=TrialState.RUNNING,
        system_attrs={"fixed_params": fixed},
        user_attrs=attrs,
        intermediate_values={4: 0.3},
    )

    reason = reason_to_prune(study, trial)

    assert (reason is not None) == is_stopped
    assert reason is None or reason == "ThresholdPruner at step 4: 0.3000 on average so far"
