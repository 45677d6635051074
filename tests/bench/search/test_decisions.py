"""What is decided upon a report."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search.schedulers import Asha
from bench.search.simulate import simulate
from tests.bench.search.driving import EveryThird, Never, next_trial, slow, small, told


def test_the_published_recipe_comes_first_and_is_never_pruned():
    plan, curve = small(trials=60)

    def poor(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return (0.01 if trial.hyperparameters.get("x") == 0.5 else accuracy), seconds

    fold, _ = simulate(plan, poor)
    for method in plan.experiment.spaces:
        first = next(fold.of(method, "search"))
        assert first.published
        assert first.hyperparameters == {"x": 0.5}
        assert first.state == "complete"


@given(st.sampled_from([0.2, 1.5]), st.sampled_from([Asha, EveryThird, Never]), st.integers(1, 9))
@slow
def test_the_published_recipe_and_ours_are_the_first_trials_and_end_complete_whatever_the_scheduler_says(
    published, scheduler, slots
):
    named = f"{scheduler.__module__}:{scheduler.__name__}"
    plan, _ = small(methods=2, slots=slots, trials=60, published=published, scheduler=named)

    def poor(trial, epoch):
        return (0.01 if trial.hyperparameters["x"] in (0.5, published) else 0.5 - trial.seed / 1e9), 1.0

    fold, _ = simulate(plan, poor)
    trials = list(fold.of("method00", "search"))
    assert [trial.hyperparameters["x"] for trial in trials[:2]] == [published, 0.5]
    assert [trial.recipe for trial in trials] == ["published", "ours", *[None] * (len(trials) - 2)]
    assert [trial.published for trial in trials[:2]] == [True, False]
    assert [trial.state for trial in trials[:2]] == ["complete"] * 2
    assert {trial.state for trial in trials[2:]} & {"pruned", "cut"}
    assert [trial.recipe for trial in fold.of("method01", "search")][:2] == ["published", None]


@pytest.mark.parametrize(
    ("report", "reason", "kind"),
    [
        ({"loss": math.nan}, "loss is nan at epoch 1", "diverged"),
        ({"loss": math.inf}, "loss is inf at epoch 1", "diverged"),
        ({"loss": -math.inf}, "loss is -inf at epoch 1", "diverged"),
        ({"feature_std": 0.0001}, "collapsed: feature_std is 0.0001", "collapsed"),
        ({"feature_std": 0.019}, "collapsed: feature_std is 0.019", "collapsed"),
        ({"feature_std": math.nan}, "collapsed", "collapsed"),
        ({"knn_200": None}, "should be evaluated", "error"),
        ({"knn_200": math.nan}, "should be evaluated", "diverged"),
    ],
)
def test_a_trial_that_diverged_or_collapsed_fails_with_the_reason_and_its_kind(search, report, reason, kind):
    uid, assignment = next_trial(search)
    whole = {"epoch": 1, "loss": 1.0, "knn_200": 0.5, "feature_std": 0.9} | report
    assert not search.reported(uid, assignment.attempt, told(whole))
    assert search.fold.trials[uid].state == "failed"
    assert reason in search.fold.trials[uid].reason
    assert search.fold.trials[uid].kind == kind
    assert uid not in search.running


def test_features_that_are_little_spread_have_not_collapsed(search):
    uid, assignment = next_trial(search)
    assert search.reported(
        uid, assignment.attempt, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5, "feature_std": 0.021})
    )
