"""Runs without a search: the published recipes alone."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.search import planning
from bench.search.budget import Budget
from bench.search.description import describe
from bench.search.experiment import check_identity
from bench.search.fold import Fold
from bench.search.plugins import RECIPES_ONLY
from bench.search.simulate import MemoryLedger, simulate
from tests.bench.search.driving import slow, small, with_baselines, with_budget
from tests.bench.search.planned import experiment, make


def with_searcher(plan, searcher):
    return dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, searcher=searcher))


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("published", [None, 0.2, 1.5])
def test_only_the_published_recipes_are_trained_each_with_every_seed_and_no_more(slots, published):
    plan, curve = small(methods=3, slots=slots, trials=60, published=published)
    plan = with_searcher(with_baselines(plan, "pixels"), RECIPES_ONLY)
    fold, _ = simulate(plan, lambda job, epoch: curve(job, epoch) if job.hyperparameters else (0.3, 1.0))
    trained = [trial for trial in fold.trials.values() if trial.attempts]
    assert {trial.stage for trial in trained} == {"baseline", "published"}
    for method, space in plan.spaces.items():
        confirming = list(fold.of(method, "published"))
        assert [trial.state for trial in confirming] == ["complete"] * plan.experiment.seeds
        assert all(trial.hyperparameters == space.recipes[0] for trial in confirming)
        assert fold.confirming(method) == confirming


def test_the_same_run_goes_on_with_a_searcher_and_trains_no_seed_again():
    plan, curve = small(methods=3, slots=2, trials=60)
    ledger = MemoryLedger(keep=True)
    first, _ = simulate(with_searcher(plan, RECIPES_ONLY), curve, ledger)
    spent = first.charged
    before = {uid: trial.held for uid, trial in first.trials.items() if trial.state == "complete"}
    assert len(before) == 9
    fold, _ = simulate(with_budget(with_searcher(plan, "tpe"), 1.2), curve, ledger)
    assert fold.charged > 2 * spent
    assert all(fold.trials[uid].held == held for uid, held in before.items())
    for method in plan.spaces:
        assert fold.trials[f"{method}-0000"].state == "complete"  # the recipe is trial 0 of the search, as always
        assert len(list(fold.of(method, "search"))) > 3
        assert fold.trials[fold.winner(method)].state == "complete"


def test_the_same_command_again_finds_nothing_to_do():
    plan, curve = small(methods=2, slots=2, trials=60)
    ledger = MemoryLedger(keep=True)
    simulate(with_searcher(plan, RECIPES_ONLY), curve, ledger)
    count = len(ledger.events)
    simulate(with_searcher(plan, RECIPES_ONLY), curve, ledger)
    assert [event["event"] for event in ledger.events[count:]] == ["session"]


def test_a_run_of_recipes_may_be_searched_and_one_that_was_searched_stays_so(tmp_path):
    def fold_of(searcher):
        fold = Fold()
        settings = experiment(searcher=searcher).identity()
        fold.apply({"event": "run", "time": 0.0, "settings": settings, "plan": {"epochs": 3}})
        return fold

    budget = Budget.parse("1cpu-hours")
    for searcher in ("tpe", "random", RECIPES_ONLY):
        check_identity(fold_of(RECIPES_ONLY), experiment(searcher=searcher), budget, tmp_path)
    with pytest.raises(UserError, match="holds a run with searcher tpe, not none"):
        check_identity(fold_of("tpe"), experiment(searcher=RECIPES_ONLY), budget, tmp_path)
    went_on = fold_of(RECIPES_ONLY)
    went_on.apply({"event": "session", "time": 1.0, "budget": {"device": "cpu"}, "settings": {"searcher": "tpe"}})
    with pytest.raises(UserError, match="holds a run with searcher tpe, not random"):
        check_identity(went_on, experiment(searcher="random"), budget, tmp_path)


def test_the_least_budget_is_less_than_half_of_that_of_a_search_and_the_plan_says_what_is_done(calibrated):
    plans = {s: make(experiment(searcher=s, epochs=5), Budget.parse("1cpu-hours"), 2) for s in ("tpe", RECIPES_ONLY)}
    plan = plans["tpe"]
    assert plan.least_share() == plans[RECIPES_ONLY].least_share() < plan.searching_share("simclr") / 2
    assert "nothing is searched" in describe(plans[RECIPES_ONLY])
    assert "nothing is searched" not in describe(plans["tpe"])
    free = planning._choose_epochs(dataclasses.replace(plans[RECIPES_ONLY], epochs=1))
    assert free.epochs > planning._choose_epochs(dataclasses.replace(plans["tpe"], epochs=1)).epochs


def dear(plan, times, budget):
    """The plan in which the first method costs so many times as much, with this part of the budget."""
    method = next(iter(plan.spaces))
    calibration = plan.calibration | {method: plan.calibration[method].times(times)}
    return with_budget(dataclasses.replace(plan, calibration=calibration), budget), method


@given(st.floats(0.03, 1.5), st.integers(1, 3), st.sampled_from([None, 0.2]), st.integers(0, 99))
@slow
def test_a_method_too_dear_for_a_search_has_its_recipe_alone_and_the_others_are_searched(
    budget, slots, published, seed
):
    plan, curve = small(methods=3, slots=slots, trials=60, published=published, seed=seed)
    plan, _ = dear(plan, 8.0, budget)
    costs = {name: plan.calibration[name].epoch for name in plan.spaces}
    fold, _ = simulate(plan, lambda job, epoch: (curve(job, epoch)[0], costs[job.method]))
    assert fold.charged <= 1.02 * plan.budget.seconds
    for name in plan.spaces:
        whole = [trial for trial in fold.of(name, "published") if trial.state == "complete"]
        searched = [trial for trial in fold.of(name, "search") if trial.attempts]
        if plan.recipe_alone(name):
            assert not searched
            assert len(whole) == plan.experiment.seeds or plan.share < 1.1 * plan.recipe_share(name)
        else:
            assert searched[0].uid == f"{name}-0000"
            assert len(fold.confirming(name)) >= plan.experiment.seeds
    told = describe(plan)
    alone = [name for name in plan.spaces if plan.recipe_alone(name)]
    assert ("no room for a search" in told) == bool(alone)


def test_a_method_too_dear_for_a_search_is_searched_when_the_budget_has_grown():
    plan, curve = small(methods=3, slots=2, trials=60)
    small_one, method = dear(plan, 6.0, 0.4)
    whole, _ = dear(plan, 6.0, 4.0)
    assert small_one.recipe_alone(method)
    assert not whole.recipe_alone(method)
    ledger = MemoryLedger(keep=True)
    costs = {name: small_one.calibration[name].epoch for name in plan.spaces}

    def seen(job, epoch):
        return curve(job, epoch)[0], costs[job.method]

    first, _ = simulate(small_one, seen, ledger)
    before = {uid: trial.held for uid, trial in first.trials.items() if trial.state == "complete"}
    fold, _ = simulate(whole, seen, ledger)
    assert all(fold.trials[uid].held == held for uid, held in before.items())
    assert len([trial for trial in fold.of(method, "search") if trial.attempts]) > 1
    assert len(fold.confirming(method)) >= 3
