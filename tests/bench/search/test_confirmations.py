"""Fresh seeds for winners, recipes and baselines."""

import collections
import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.search.job import CHOOSING
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, simulate
from tests.bench.search.driving import (
    peak,
    small,
    with_baselines,
    with_budget,
)


@pytest.mark.parametrize(
    ("best", "seeds", "confirmed"),
    [
        (0.9, {"confirm": 3, "published": 3, "ours": 3}, "confirm"),
        (0.5, {"ours": 5, "published": 4}, "ours"),  # time for 9 trainings is kept back
        (0.2, {"published": 5, "ours": 4}, "published"),
    ],
)
def test_winner_and_both_recipes_are_confirmed_with_the_same_seeds_and_a_recipe_that_won_with_more(
    best, seeds, confirmed
):
    plan, _ = small(methods=1, trials=60, published=0.2)
    assert plan.configurations("method00") == 3
    fold, _ = simulate(plan, peak(best))
    found = {stage: list(fold.of("method00", stage)) for stage in ("confirm", "published", "ours")}
    found = {stage: trials for stage, trials in found.items() if trials}
    assert found.keys() == seeds.keys()
    assert {stage: sum(trial.state == "complete" for trial in trials) for stage, trials in found.items()} == seeds
    assert len({tuple(trial.seed for trial in trials[: min(seeds.values())]) for trials in found.values()}) == 1
    assert fold.confirming("method00") == found[confirmed]
    assert {trial.hyperparameters["x"] for trial in found["published"]} == {0.2}
    assert {trial.hyperparameters["x"] for trial in found["ours"]} == {0.5}
    assert {trial.recipe for trial in found["ours"]} == {"ours"}
    assert fold.charged <= 1.02 * plan.budget.seconds


@pytest.mark.parametrize(("best", "stages"), [(0.9, {"confirm", "published"}), (0.2, {"published", "ours"})])
def test_where_a_share_has_no_room_for_three_our_recipe_is_confirmed_in_the_time_of_a_winner_that_is_a_recipe(
    best, stages
):
    plan, _ = small(methods=1, trials=8, published=0.2)
    assert plan.configurations("method00") == 2
    fold, _ = simulate(plan, peak(best))
    confirming = [trial for trial in fold.by_method["method00"] if trial.stage not in CHOOSING]
    assert {trial.stage for trial in confirming} == stages
    for stage in stages:
        assert sum(trial.state == "complete" for trial in fold.of("method00", stage)) >= 3


@given(
    st.integers(0, 20),
    st.integers(1, 6),
    st.sampled_from([(27, 60), (27, 120), (9, 80)]),
    st.sampled_from([None, 0.2, 0.97]),
)
@settings(max_examples=12)
def test_a_winner_that_takes_twice_the_time_of_most_trials_is_confirmed_with_every_seed(seed, slots, size, published):
    epochs, trials = size
    plan, _ = small(methods=2, slots=slots, trials=trials, epochs=epochs, published=published, seed=seed)

    def dear(trial, epoch):
        x = trial.hyperparameters["x"]
        seconds = plan.calibration[trial.method].epoch
        return (x / 10 + (0.8 if x > 0.95 else 0.3)) * epoch / epochs, seconds * (2 if x > 0.95 else 1)

    fold, _ = simulate(plan, dear)
    assert fold.charged <= 1.02 * plan.budget.seconds
    for method in plan.experiment.spaces:
        assert fold.spent[method] <= 1.02 * plan.share
        for confirming in (fold.confirming(method), list(fold.of(method, "published"))):
            assert sum(trial.state == "complete" for trial in confirming) >= 3


@pytest.mark.parametrize("best", [0.2, 0.9])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_published_recipe_that_takes_several_times_as_long_leaves_time_to_search(slots, best):
    plan, _ = small(methods=1, slots=slots, trials=40, epochs=4, published=0.2)
    (method,) = plan.experiment.spaces
    seconds = plan.calibration[method].epoch
    calibration = {method: dataclasses.replace(plan.calibration[method], published=4.5 * seconds)}
    plan = dataclasses.replace(plan, calibration=calibration)

    def dear(trial, epoch):
        x = trial.hyperparameters["x"]
        return peak(best)(trial, epoch)[0], seconds * (4.5 if x == 0.2 else 1)

    fold, _ = simulate(plan, dear)
    assert len(list(fold.of(method, "search"))) >= 8
    assert fold.spent[method] <= 1.02 * plan.share
    for confirming in (fold.confirming(method), list(fold.of(method, "published"))):
        assert sum(trial.state == "complete" for trial in confirming) >= 3


def test_the_winner_has_the_best_last_epoch_of_complete_trials_and_the_earlier_of_equals():
    plan, curve = small(trials=80)

    def flat(trial, epoch):  # high before the end counts for nothing, and many are equal at the end
        return (0.9 if epoch < plan.epochs else round(curve(trial, epoch)[0], 1)), 1.0

    fold, _ = simulate(plan, flat)
    for method in plan.experiment.spaces:
        complete = [t for t in fold.of(method, "search") if t.state == "complete"]
        best = max(t.last.metrics["knn_200"] for t in complete)
        assert fold.winner(method) == next(t.uid for t in complete if t.last.metrics["knn_200"] == best)


def test_winner_and_published_recipe_are_confirmed_with_the_same_fresh_seeds_and_evaluated_once():
    plan, curve = small(trials=80)
    fold, _ = simulate(plan, curve)
    search_seeds = {t.seed for t in fold.trials.values() if t.stage == "search"}
    tuned = 0
    for method in plan.experiment.spaces:
        published = list(fold.of(method, "published"))
        confirming = fold.confirming(method)
        assert len(confirming) == (6 if fold.trials[fold.winner(method)].published else 3)
        assert [t.seed for t in confirming] == [t.seed for t in published]
        assert not {t.seed for t in published} & search_seeds
        for trial in [*confirming, *published]:
            assert trial.state == "complete"
            assert trial.evaluate_at == [trial.epochs]
        if not fold.trials[fold.winner(method)].published:
            tuned += 1
            assert {t.of for t in confirming} == {fold.winner(method)}
            assert confirming[0].hyperparameters == fold.trials[fold.winner(method)].hyperparameters
    assert tuned > 0


def test_a_published_winner_is_not_confirmed_twice_but_with_twice_the_seeds():
    plan, _ = small()
    fold, _ = simulate(plan, lambda trial, epoch: (1 - abs(trial.hyperparameters["x"] - 0.5), 1.0))
    assert not [t for t in fold.trials.values() if t.stage == "confirm"]
    for method in plan.experiment.spaces:
        assert fold.winner(method) == f"{method}-0000"
        assert fold.confirming(method) == list(fold.of(method, "published"))
        assert len({trial.seed for trial in fold.confirming(method)}) == 6


def test_more_seeds_than_were_asked_for_are_not_tried_where_one_has_failed():
    plan, curve = small(methods=1)
    ledger = MemoryLedger()
    simulate(plan, curve, ledger)
    search = Search(with_budget(plan, 9), ledger, clock=lambda: 0.0)
    assert max(each.seed for each in itertools.islice(search.confirmations.of("method00"), 20)) > 5
    next(ledger.fold.of("method00", "published")).state = "failed"
    search = Search(search.plan, ledger, clock=lambda: 0.0)
    assert max(each.seed for each in search.confirmations.of("method00")) <= 5


def test_when_the_budget_ends_in_confirming_methods_have_equal_seeds_to_one():
    plan, curve = small(methods=5, slots=3, trials=60)
    at_sealing = MemoryLedger(keep=True)
    simulate(plan, curve, at_sealing)
    last = max(i for i, e in enumerate(at_sealing.events) if e["event"] == "chosen")
    for extra in range(20, 300, 40):
        fold = MemoryLedger().fold
        for event in at_sealing.events[: last + extra]:
            fold.apply(event)
        done = [sum(t.attempts > 0 for t in fold.of(m, "confirm", "published")) for m in plan.experiment.spaces]
        seeds = [max((t.number for t in fold.of(m, "confirm", "published")), default=0) for m in plan.experiment.spaces]
        if min(done) > 0:
            assert max(seeds) - min(seeds) <= 1


@pytest.mark.parametrize("stages", [{"confirm"}, {"published"}, {"confirm", "published"}])
def test_what_fails_with_every_fresh_seed_costs_its_seeds_and_no_more(stages):
    plan, _ = small(methods=2, slots=2, trials=60)

    def fails(trial, epoch):
        accuracy, seconds = peak(0.9)(trial, epoch)
        return (math.nan if trial.stage in stages else accuracy), seconds

    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, fails, ledger)
    for method in plan.experiment.spaces:
        assert not fold.trials[fold.winner(method)].published
        for stage in ("confirm", "published"):
            state = "failed" if stage in stages else "complete"
            assert [trial.state for trial in fold.of(method, stage)] == [state] * 3
    assert fold.charged <= 1.02 * plan.budget.seconds
    before = len(ledger.events)
    simulate(plan, fails, ledger)
    assert [event["event"] for event in ledger.events[before:]] == ["session"]


def test_baselines_that_fail_cost_their_seeds_and_the_methods_nothing():
    plan, curve = small(methods=2, slots=2, trials=60)
    plan = with_baselines(plan, "pixels", "supervised")

    def fails(trial, epoch):
        return curve(trial, epoch) if trial.hyperparameters else (math.nan, 1.0)

    ledger = MemoryLedger()
    fold, _ = simulate(plan, fails, ledger)
    baselines = [trial for trial in fold.trials.values() if trial.stage == "baseline"]
    assert [trial.state for trial in baselines] == ["failed"] * 4
    assert Search(plan, ledger, clock=lambda: 0.0).shares.share == plan.share
    assert all(len(fold.confirming(method)) >= 3 for method in plan.experiment.spaces)


def test_baselines_run_first_with_every_seed_and_only_random_ones_repeat():
    plan, curve = small(trials=60)
    plan = with_baselines(plan, "pixels", "random", "supervised")
    fold, _ = simulate(plan, lambda trial, epoch: curve(trial, epoch) if trial.hyperparameters else (0.5, 1.0))
    baselines = [t for t in fold.trials.values() if t.stage == "baseline"]
    assert [t.uid for t in fold.trials.values()][: len(baselines)] == [t.uid for t in baselines]
    counts = collections.Counter(t.method for t in baselines)
    assert counts == {"pixels": 1, "random": 3, "supervised": 3}
    assert {(t.method, t.epochs) for t in baselines} == {("pixels", 1), ("random", 1), ("supervised", plan.epochs)}
    assert all(t.state == "complete" for t in baselines)
