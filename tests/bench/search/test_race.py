"""The race for the winner."""

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.search.plan import RACE_PART
from bench.search.race import DOUBT, estimates
from bench.search.simulate import MemoryLedger, simulate
from tests.bench.search.driving import peak, replayed, small, with_budget

SEARCHED = st.floats(0, 1).map(lambda figure: {0: figure})
FURTHER = st.dictionaries(st.integers(1, 4), st.floats(0, 1), max_size=4)
FIGURES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(dict.__or__, SEARCHED, FURTHER),
    min_size=1,
    max_size=12,
)


def noisy(curve, spread):
    """The curve with noise of this standard deviation, of its own in every training."""

    def with_noise(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        luck = random.Random(f"{trial.uid}/{trial.seed}").gauss(0, spread)
        return accuracy + luck, seconds

    return with_noise


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), SEARCHED, min_size=1, max_size=12))
def test_what_was_searched_alone_is_drawn_towards_the_middle_and_not_beyond(figures):
    found, middle = estimates(figures, set(), 0), statistics.median(each[0] for each in figures.values())
    for uid, each in figures.items():
        low, high = sorted((middle, each[0]))
        assert low - 1e-9 <= found.mean(uid) <= high + 1e-9


@given(FIGURES, st.integers(1, 4), st.floats(-1, 1))
def test_what_a_seed_does_to_all_configurations_alike_changes_nothing(figures, seed, luck):
    """The seed of the search is that with which the middle goes; a further one says which is better, not how good."""
    lucky = {uid: {s: figure + luck * (s == seed) for s, figure in each.items()} for uid, each in figures.items()}
    before, after = estimates(figures, set(), 0), estimates(lucky, set(), 0)
    assert after.means == pytest.approx(before.means, abs=1e-6)
    assert after.covariance == pytest.approx(before.covariance, abs=1e-6)


@given(FIGURES, st.data())
def test_one_of_two_is_better(figures, data):
    found = estimates(figures, set(), 0)
    first, second = (data.draw(st.sampled_from(sorted(figures))) for _ in range(2))
    assert found.better(first, second) == pytest.approx(1 - found.better(second, first))
    assert 0 <= found.better(first, second) <= 1


def test_further_seeds_on_which_one_of_two_is_always_better_make_it_surer():
    search = {uid: {0: 0.5 + place / 100} for place, uid in enumerate("abcdefgh")}
    sure = []
    for count in range(1, 5):
        further = {s: 0.5 + 0.1 * (s % 2) for s in range(1, count + 1)}  # seeds differ by much more than a and h
        figures = search | {
            "a": search["a"] | further,
            "h": search["h"] | {s: figure + 0.07 for s, figure in further.items()},
        }
        sure.append(estimates(figures, set(), 0).better("h", "a"))
    assert sure == sorted(sure)
    assert sure[-1] > 0.99


def test_a_recipe_is_not_drawn_towards_the_others():
    figures = {"recipe": {0: 0.9}, "other": {0: 0.9}, "a": {0: 0.5}, "b": {0: 0.4}, "c": {0: 0.6}}
    found = estimates(figures, {"recipe"}, 0)
    assert found.mean("recipe") == pytest.approx(0.9)
    assert found.mean("other") < 0.9


def test_where_most_tie_at_the_top_what_further_seeds_say_still_counts():
    tied = {f"tied{n}": {0: 0.6} for n in range(5)}
    further = {"good": {0: 0.6, 1: 0.7, 2: 0.68}, "bad": {0: 0.5, 1: 0.5, 2: 0.52}}
    found = estimates(tied | further, set(), 0)
    assert found.mean("good") > found.mean("tied0") > found.mean("bad")
    assert found.better("good", "bad") > 0.5


@pytest.mark.parametrize("almost", [0.0, 5e-324, 1e-160, 1e-12])
def test_figures_that_are_equal_but_for_rounding_are_as_good_as_each_other(almost):
    figures = {"a": {0: 0.5, 1: 0.5}, "b": {0: 0.5 + almost, 1: 0.5}, "c": {0: almost}, "d": {0: 2 * almost}}
    found = estimates(figures, {"a"}, 0)
    assert np.isfinite(found.means).all()
    assert np.isfinite(found.covariance).all()
    assert found.better("a", "b") == pytest.approx(0.5, abs=0.3)
    assert found.better("a", "c") > 0.5


def test_what_failed_to_learn_does_not_hide_how_near_the_good_ones_are():
    good = {f"good{n}": {0: 0.7 + n / 1000} for n in range(8)}
    bad = {f"bad{n}": {0: 0.1} for n in range(7)}
    alone, among = estimates(good, set(), 0), estimates(good | bad, set(), 0)
    assert among.covariance[7, 7] < 4 * alone.covariance[7, 7]


@pytest.mark.parametrize("slots", [1, 2, 6])
def test_what_replaces_a_recipe_is_better_with_the_probability_that_is_asked(slots):
    replaced = 0
    for seed in range(12):
        plan, _ = small(methods=1, slots=slots, trials=40, seed=seed)
        fold, _ = simulate(plan, noisy(peak(0.6), 0.02))
        chosen = fold.chosen["method00"]
        if not fold.trials[chosen["winner"]].published:
            replaced += 1
            assert chosen["better"] > 1 - DOUBT
            assert abs(fold.trials[chosen["winner"]].hyperparameters["x"] - 0.6) < 0.1
    assert replaced  # the recipe is the worse one by five times the spread of seeds


@pytest.mark.parametrize("slots", [1, 4])
def test_a_recipe_that_is_the_best_by_more_than_seeds_differ_keeps_its_place(slots):
    def alone(trial, epoch):  # all others are worse by the spread of seeds
        return (0.5 + 0.02 * (trial.hyperparameters["x"] == 0.5)) * epoch / trial.epochs, 1.0

    kept = 0
    for seed in range(20):
        plan, _ = small(methods=1, slots=slots, trials=40, seed=seed)
        fold, _ = simulate(plan, noisy(alone, 0.01))
        kept += fold.trials[fold.winner("method00")].published
    assert kept >= 19


def test_what_is_clearly_better_wins_and_is_raced_with_the_recipe_on_the_same_seeds():
    plan, _ = small(methods=2, trials=80)
    fold, _ = simulate(plan, noisy(peak(0.9), 0.02))
    for method in plan.experiment.spaces:
        assert abs(fold.trials[fold.winner(method)].hyperparameters["x"] - 0.9) < 0.15
        assert fold.chosen[method]["better"] > 1 - DOUBT
        raced = list(fold.of(method, "race"))
        assert all(trial.evaluate_at == [plan.epochs] and trial.of for trial in raced)
        searched = {trial.seed for trial in fold.of(method, "search")}
        assert len(searched) == 1
        assert len({trial.seed for trial in raced}) < len(raced)
        fresh = {trial.seed for trial in fold.confirming(method)}
        assert not fresh & {trial.seed for trial in [*raced, *fold.of(method, "search")]}


@given(st.integers(0, 30), st.integers(1, 6), st.sampled_from([0.0, 0.02, 0.2]))
@settings(max_examples=15)
def test_a_race_takes_no_more_than_its_part_and_a_training_and_shares_stay_even(seed, slots, spread):
    plan, curve = small(methods=3, slots=slots, trials=120, epochs=9, seed=seed)
    fold, _ = simulate(plan, noisy(curve, spread))
    assert fold.charged <= 1.02 * plan.budget.seconds
    for method in plan.experiment.spaces:
        assert fold.winner(method)
        late = 0.05 * plan.training(method)  # so much longer than planned may a training take here
        assert fold.spent[method] <= 1.02 * plan.share + late
        held = sum(trial.held for trial in fold.of(method, "race"))
        choosing = plan.share - plan.confirming(method)
        assert held <= RACE_PART * choosing + (slots + 2) * 2 * plan.training(method)


def test_a_race_that_is_killed_goes_on_to_the_same_winner():
    plan, curve = small(methods=2, slots=1, trials=60)
    curve = noisy(curve, 0.02)
    whole = MemoryLedger(keep=True)
    fold, _ = simulate(plan, curve, whole)
    assert any(trial.stage == "race" for trial in fold.trials.values())
    first = next(n for n, event in enumerate(whole.events) if event.get("stage") == "race")
    for kept in range(first, len(whole.events), 7):
        again, _ = simulate(plan, curve, replayed(whole.events[:kept]))
        assert {m: again.winner(m) for m in plan.spaces} == {m: fold.winner(m) for m in plan.spaces}


def test_a_larger_budget_races_on_with_the_seeds_there_were():
    plan, curve = small(methods=1, slots=2, trials=40)
    ledger = MemoryLedger()
    before, _ = simulate(plan, noisy(curve, 0.02), ledger)
    count = len(list(before.of("method00", "race")))
    fold, _ = simulate(with_budget(plan, 3), noisy(curve, 0.02), ledger)
    assert len(list(fold.of("method00", "race"))) >= count
    assert fold.winner("method00")


def test_a_published_recipe_of_which_a_further_seed_fails_is_raced_no_more_and_may_give_way():
    plan, _ = small(methods=1, slots=2, trials=60)

    def fails(trial, epoch):
        accuracy, seconds = noisy(peak(0.55), 0.02)(trial, epoch)
        return (math.nan if trial.stage == "race" and trial.hyperparameters["x"] == 0.5 else accuracy), seconds

    fold, _ = simulate(plan, fails)
    raced = [trial for trial in fold.of("method00", "race") if trial.published]
    assert [trial.state for trial in raced] in (["failed"], ["failed", "failed"])  # two may run at once
    assert fold.winner("method00")


def test_a_configuration_of_which_a_further_seed_fails_is_out():
    plan, _ = small(methods=1, slots=2, trials=60)

    def fails(trial, epoch):
        accuracy, seconds = noisy(peak(0.9), 0.02)(trial, epoch)
        return (math.nan if trial.stage == "race" and trial.hyperparameters["x"] > 0.8 else accuracy), seconds

    fold, _ = simulate(plan, fails)
    failed = {trial.of for trial in fold.of("method00", "race") if trial.state == "failed"}
    assert failed
    assert fold.winner("method00") not in failed
