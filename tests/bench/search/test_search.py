"""The search, driven in virtual time: the same code as in a run, without workers."""

import collections
import dataclasses
import io
import itertools
import math
import re
import statistics
import sys
import types

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from algorithms.training.report import EpochReport
from bench.errors import UserError
from bench.execution.progress import Progress
from bench.search import plugins
from bench.search.budget import Budget
from bench.search.experiment import Experiment
from bench.search.job import Assignment, Failure, Idle
from bench.search.plan import Costs
from bench.search.schedulers import Asha
from bench.search.search import Search
from bench.search.searchers import FEW, BestAndLatest, random, tpe
from bench.search.simulate import MemoryLedger, NoSettings, Space, fairness, plan_for, simulate, synthetic
from bench.search.trials import OF_THE_MACHINE, OF_THE_RECIPE
from bench.search.winners import FAILURES

slow = settings(max_examples=25)


PUBLISHED = st.sampled_from([None, 0.2, 1.5])
"""Of the methods' published recipes: none but ours, another one, one that the search space does not propose."""


def small(methods=3, slots=2, trials=30, epochs=9, searcher="random", published=None, scheduler="asha", seed=0):
    """Where `published` is given, the first method and every second have two recipes: this one, and ours."""
    calibration, curve = synthetic(methods)
    spaces = {
        method: Space(method, published=None if place % 2 or published is None else {"x": published})
        for place, method in enumerate(calibration)
    }
    plan = plan_for(calibration, slots, trials, epochs, searcher, spaces)
    experiment = dataclasses.replace(plan.experiment, scheduler=scheduler, seed=seed)
    return dataclasses.replace(plan, experiment=experiment), curve


def peak(at):
    """A curve on which configurations are the better the nearer to this one."""
    return lambda trial, epoch: ((1 - abs(trial.hyperparameters["x"] - at)) * epoch / trial.epochs, 1.0)


class EveryThird:
    """A scheduler of a user: one milestone, and every third trial goes on."""

    def __init__(self, epochs):
        self.milestones = [epochs // 2]
        self.count = 0

    def arrive(self, uid, epoch, accuracy):
        self.count += 1
        return self.count % 3 == 0


class Never:
    """A scheduler of a user, by which no trial goes on."""

    def __init__(self, epochs):
        self.milestones = [1]

    def arrive(self, uid, epoch, accuracy):
        return False


def with_budget(plan, factor):
    """The same run with another budget."""
    return dataclasses.replace(plan, budget=Budget(plan.budget.device, plan.budget.seconds * factor))


def with_baselines(plan, *names):
    cost = dict.fromkeys(names, Costs(1.0, 0.0))
    experiment = dataclasses.replace(plan.experiment, baselines=names)
    return dataclasses.replace(plan, experiment=experiment, calibration=plan.calibration | cost)


def replayed_decisions(events, plan):
    """For each report at a milestone, in order: (uid, epoch, whether the trial was pruned, whether it should be)."""
    schedulers = {method: Asha(plan.epochs) for method in plan.experiment.spaces}
    trials, found = {}, []
    for event in events:
        if event["event"] == "suggested":
            trials[event["uid"]] = event
        if event["event"] != "reported" or event["decision"] == "failed":
            continue
        trial, report = trials[event["uid"]], event["report"]
        if trial["stage"] == "search" and report["epoch"] in plan.milestones:
            goes_on = schedulers[trial["method"]].arrive(trial["uid"], report["epoch"], report["knn_200"])
            should = not goes_on and not trial["published"] and not trial.get("ours")
            found.append((trial["uid"], report["epoch"], event["decision"] == "pruned", should))
    return found


@given(st.integers(1, 8), st.integers(1, 30), st.integers(20, 120), st.integers(3, 30), PUBLISHED)
@slow
def test_methods_get_equal_device_time_and_the_budget_is_kept(methods, slots, trials, epochs, published):
    plan, curve = small(methods, slots, trials, epochs, published=published)
    fold, _ = simulate(plan, curve)
    longest_epoch = 3.5
    spent = sum(fold.spent.values())
    assert spent <= plan.budget.seconds * 1.02 + slots * longest_epoch
    for method in plan.experiment.spaces:
        assert fold.spent[method] <= plan.share + (slots + 1) * longest_epoch
        # unused: what cannot hold the epochs to the next milestone, and what confirming took less than foreseen
        gap = max(b - a for a, b in itertools.pairwise([0, *plan.milestones, plan.epochs]))
        assert fold.spent[method] >= plan.share * 0.95 - plan.cost(method, "search", 0, gap)


@pytest.mark.parametrize(("searcher", "recipe"), [("tpe", None), ("random", None), ("random", 0.2), ("random", 1.5)])
@pytest.mark.parametrize(("slots", "trials", "epochs"), [(64, 1200, 27), (64, 600, 100), (8, 300, 27), (2, 90, 9)])
def test_methods_get_the_same_device_time_to_a_twentieth_whoever_wins(slots, trials, epochs, searcher, recipe):
    plan, curve = small(16, slots, trials, epochs, searcher, recipe)

    def some_published(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        off = abs(trial.hyperparameters["x"] - 0.5)
        return (accuracy if trial.method < "method08" else (1 - off) * epoch / epochs), seconds

    fold, _ = simulate(plan, some_published)
    won = {fold.trials[fold.winner(method)].recipe for method in plan.experiment.spaces}
    assert won >= {None, "published", *(["ours"] if recipe else [])}
    assert fairness(fold, plan) <= 1.05
    assert fold.charged <= 1.02 * plan.budget.seconds


def test_the_rest_of_a_share_is_spent_when_no_trial_runs_that_can_win():
    plan, curve = small(methods=1, slots=4, trials=60, epochs=27)
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, curve, ledger)
    chosen = next(i for i, e in enumerate(ledger.events) if e["event"] == "chosen")
    running, alone, last = set(), 0, 0
    for place, event in enumerate(ledger.events[:chosen]):
        if event["event"] == "assigned":
            running.add(event["uid"])
            last = place
            alone = place if len(running) == 1 else alone
        elif event.get("decision", "continue") != "continue":
            running.discard(event["uid"])
    rest = {event["uid"] for event in ledger.events[alone : last + 1] if event["event"] == "assigned"}
    assert 1 <= len(rest) <= 9
    assert {fold.trials[uid].state for uid in rest} <= {"pruned", "cut"}
    then = MemoryLedger().fold
    for event in ledger.events[:chosen]:
        then.apply(event)
    left = plan.share - then.spent["method00"] - plan.confirming("method00")
    assert left < plan.cost("method00", "search", 0, plan.milestones[0]) + 0.01 * plan.share
    assert left < plan.training("method00") / 2


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
    named = f"{__name__}:{scheduler.__name__}"
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


@pytest.mark.parametrize("searcher", ["tpe", "random"])
@pytest.mark.parametrize("slots", [1, 4])
def test_of_a_recipe_that_the_search_space_does_not_propose_no_searcher_learns(searcher, slots):
    """Neither of how well it did, nor that it runs."""
    proposed = []
    for accuracy in (0.001, 0.999, math.nan):
        plan, _ = small(methods=1, slots=slots, trials=60, searcher=searcher, published=1.5, scheduler="full")
        ledger = MemoryLedger()

        def curve(trial, epoch, accuracy=accuracy):
            x = trial.hyperparameters["x"]
            return (accuracy if x == 1.5 else 1 - abs(x - 0.3)), 1.0

        fold, _ = simulate(plan, curve, ledger)
        proposed.append([trial.parameters["x"] for trial in fold.of("method00", "search")][:25])
        for search in (Search(plan, ledger, clock=lambda: 0.0), Search(plan, MemoryLedger(), clock=lambda: 0.0)):
            search.next()
            seen = search.proposals.studies.study("method00").get_trials()
            assert seen[0].state == TrialState.FAIL
            assert not seen[0].intermediate_values
            assert [trial.number for trial in seen] == list(range(len(seen)))
    assert len(proposed[0]) == 25
    assert proposed[0] == proposed[1] == proposed[2]


def test_of_a_published_recipe_that_it_may_propose_a_searcher_learns_and_does_not_propose_it_again():
    plan, _ = small(methods=1, published=0.2)
    search = Search(plan, MemoryLedger(), clock=lambda: 0.0)
    next_trial(search)
    (seen,) = search.proposals.studies.study("method00").get_trials()
    assert (seen.state, seen.params) == (TrialState.RUNNING, {"x": 0.2})
    assert search.proposals.studies.tried["method00"] == {(("x", 0.2),)}


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
    confirming = [trial for trial in fold.by_method["method00"] if trial.stage != "search"]
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


def test_every_pruning_decision_follows_from_the_ledger_and_from_its_own_method_alone():
    plan, curve = small(methods=4, slots=6, trials=200)
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, curve, ledger)
    decisions = replayed_decisions(ledger.events, plan)
    assert sum(pruned for _, _, pruned, _ in decisions) > 50
    assert all(pruned == should for _, _, pruned, should in decisions)
    for method in plan.experiment.spaces:
        own = [e for e in ledger.events if e.get("method", fold.trials.get(e.get("uid"), None)) is not None]
        own = [e for e in own if e.get("method", e.get("uid", "").split("-")[0]) == method]
        assert replayed_decisions(own, plan) == [d for d in decisions if d[0].startswith(method)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_asha_keeps_the_best_third_and_always_the_best(accuracies):
    asha = Asha(27)
    assert asha.milestones == [3, 9]
    kept, best = 0, -1.0
    for number, accuracy in enumerate(accuracies, 1):
        goes_on = asha.arrive(str(number), 3, accuracy)
        better = sum(a > accuracy for a in accuracies[:number])
        assert goes_on == (better < max(1, number // 3))
        assert goes_on or accuracy < best
        best = max(best, accuracy)
        kept += goes_on
    assert kept >= 1


@pytest.mark.parametrize(
    ("epochs", "milestones"), [(1, []), (2, [1]), (4, [1]), (9, [1, 3]), (10, [1, 3]), (50, [6, 18]), (200, [22, 66])]
)
def test_milestones_lie_where_at_least_half_of_the_epochs_is_still_to_come(epochs, milestones):
    assert Asha(epochs).milestones == milestones


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


def holding_half(curve, method, above=0.0):
    """The curve, where the memory does not hold a whole batch of the method's trials whose `x` is not below `above`."""

    def changed(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        out = trial.method == method and trial.hyperparameters["x"] >= above and not trial.halved
        return (None if out else accuracy), seconds

    return changed


def assert_halved_alike(fold, events):
    """Each trial is halved once at most, search trials that begin after one of their method are halved from the first,
    and what confirms a search trial is halved where that is."""
    halved, searched = set(), {}
    for event in events:
        if event["event"] == "halved":
            assert event["uid"] not in halved
            halved.add(event["uid"])
            searched[fold.trials[event["uid"]].method] = True
        if event["event"] == "suggested" and event["stage"] == "search":
            assert event["halved"] == searched.get(event["method"], False)
    for trial in fold.trials.values():
        if trial.stage != "search":
            repeated = fold.trials[trial.of or f"{trial.method}-{int(trial.ours):04d}"]
            assert trial.halved == repeated.halved
            assert trial.uid not in halved


def test_a_method_whose_batch_memory_does_not_hold_goes_on_with_half_of_it_at_its_own_cost():
    plan, curve = small(slots=1, trials=60)
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, holding_half(curve, "method00"), ledger)
    (event,) = [event for event in ledger.events if event["event"] == "halved"]
    first = fold.trials[event["uid"]]
    assert (first.uid, first.state, first.attempts) == ("method00-0000", "complete", 2)
    assert (event["reason"], first.reason, first.kind) == ("out of memory", None, None)
    seconds = curve(first.job, 1)[1]
    assert event["held"] == pytest.approx(seconds)
    assert first.held == pytest.approx((1 + plan.epochs) * seconds)
    assert {trial.method for trial in fold.trials.values() if trial.halved} == {"method00"}
    assert all(trial.halved for trial in fold.by_method["method00"])
    assert len(fold.confirming("method00")) >= 3
    assert all(trial.state == "complete" for trial in fold.confirming("method00"))
    assert_halved_alike(fold, ledger.events)
    assert fairness(fold, plan) <= 1.1


def test_trials_that_memory_held_with_the_whole_batch_keep_their_results_and_are_confirmed_with_it():
    plan, _ = small(methods=1, slots=2, trials=60)

    def best_at_a_third(trial, epoch):
        return (1 - abs(trial.hyperparameters["x"] - 1 / 3)) * epoch / plan.epochs, 1.0

    found = set()
    for seed in range(6):
        seeded = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, seed=seed))
        ledger = MemoryLedger(keep=True)
        fold, _ = simulate(seeded, holding_half(best_at_a_third, "method00", above=0.96), ledger)
        assert not fold.trials["method00-0000"].halved
        assert fold.trials["method00-0000"].state == "complete"
        assert_halved_alike(fold, ledger.events)
        winner = fold.trials[fold.winner("method00")]
        assert not winner.published
        assert {trial.halved for trial in fold.confirming("method00")} == {winner.halved}
        found.add(winner.halved)
    assert found == {False, True}


def test_memory_that_is_out_with_half_the_batch_too_is_a_failure_and_the_method_is_given_up():
    plan, curve = small(methods=2, slots=1, trials=60)

    def never(trial, epoch):
        return (None if trial.method == "method00" else curve(trial, epoch)[0]), 1.0

    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, never, ledger)
    assert [event["uid"] for event in ledger.events if event["event"] == "halved"] == ["method00-0000"]
    own = fold.by_method["method00"]
    assert [(trial.state, trial.kind, trial.halved) for trial in own] == [("failed", "memory", True)] * FAILURES
    assert [trial.attempts for trial in own] == [2] + [1] * (FAILURES - 1)
    assert fold.given_up.keys() == {"method00"}


def test_a_trial_that_memory_held_for_an_epoch_is_not_tried_with_half_the_batch(search):
    uid, assignment = next_trial(search)
    search.reported(uid, assignment.attempt, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
    search.failed(uid, Failure("memory", "out of memory"))
    assert (search.fold.trials[uid].state, search.fold.trials[uid].kind) == ("failed", "memory")
    assert not search.fold.halved


def test_what_confirms_is_never_halved_by_itself():
    plan, curve = small(methods=1, slots=1, trials=40)

    def out_when_confirming(trial, epoch):
        return (curve(trial, epoch)[0] if trial.stage == "search" else None), 1.0

    fold, _ = simulate(plan, out_when_confirming)
    confirming = list(fold.of("method00", "confirm", "published"))
    assert {(trial.state, trial.kind, trial.halved) for trial in confirming} == {("failed", "memory", False)}
    assert not fold.halved


def test_a_method_that_was_calibrated_with_half_the_batch_begins_with_it_and_so_does_a_baseline():
    plan, curve = small(methods=2, slots=2, trials=40)
    plan = dataclasses.replace(with_baselines(plan, "supervised"), halved=["method01", "supervised"])
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, lambda trial, epoch: curve(trial, epoch) if trial.hyperparameters else (0.5, 1.0), ledger)
    assert not [event for event in ledger.events if event["event"] == "halved"]
    assert {trial.method for trial in fold.trials.values() if trial.halved} == {"method01", "supervised"}
    assert all(trial.halved == (trial.method != "method00") for trial in fold.trials.values())


@given(st.data())
@slow
def test_a_run_killed_after_any_event_and_continued_loses_nothing_and_repeats_nothing(data):
    published = data.draw(PUBLISHED, label="published")
    plan, curve = small(slots=data.draw(st.integers(1, 5), label="slots"), trials=40, published=published)
    for method in data.draw(st.sets(st.sampled_from(list(plan.spaces))), label="short of memory"):
        curve = holding_half(curve, method, data.draw(st.sampled_from([0.0, 0.6]), label=f"{method} from"))
    whole = MemoryLedger(keep=True)
    simulate(plan, curve, whole)
    ledger, events = MemoryLedger(keep=True), whole.events
    for _ in range(data.draw(st.integers(1, 3), label="kills")):
        kept = events[: data.draw(st.integers(2, len(events)), label="events before the kill")]
        ledger = MemoryLedger(keep=True)
        for event in kept:
            ledger.events.append(event)
            ledger.fold.apply(event)
        before = {uid: dict(t.reports) for uid, t in ledger.fold.trials.items()}
        ended = {uid: t.state for uid, t in ledger.fold.trials.items() if t.final}
        for trial in ledger.fold.open.values():
            if trial.state == "running":
                ledger.append("cut", uid=trial.uid, held=trial.held, reason="its driver died")
        fold, _ = simulate(plan, curve, ledger)
        events = ledger.events
        for uid, reports in before.items():
            assert dict(list(fold.trials[uid].reports.items())[: len(reports)]) == reports
        assert {uid: fold.trials[uid].state for uid in ended} == ended
        assert_halved_alike(fold, events)
    told = collections.Counter((e["uid"], e["report"]["epoch"]) for e in events if e["event"] == "reported")
    assert set(told.values()) == {1}
    suggested = collections.Counter(e["uid"] for e in events if e["event"] == "suggested")
    assert set(suggested.values()) == {1}
    assert all(pruned == should for _, _, pruned, should in replayed_decisions(events, plan))
    for method in plan.experiment.spaces:
        recipes = len(plan.experiment.spaces[method].recipes)
        least = {1: 6, 2: 3}[recipes] if fold.trials[fold.winner(method)].recipe else 3
        assert len(fold.confirming(method)) >= least
        assert all(t.state == "complete" for t in fold.confirming(method))


@pytest.mark.parametrize("published", [None, 0.2, 1.5])
@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_a_continued_run_proposes_what_the_uninterrupted_one_would(searcher, published, monkeypatch):
    monkeypatch.setattr(BestAndLatest.__init__, "__defaults__", (3, 9))  # so that a short run leaves trials out
    plan, curve = small(slots=1, trials=60, searcher=searcher, published=published)
    whole = MemoryLedger(keep=True)
    simulate(plan, curve, whole)
    proposed = [e["parameters"] for e in whole.events if e["event"] == "suggested" and e["stage"] == "search"]
    ends = [i for i, e in enumerate(whole.events) if e["event"] == "reported" and e["decision"] != "continue"]
    ledger = MemoryLedger(keep=True)
    for event in whole.events[: ends[len(ends) // 2] + 1]:
        ledger.events.append(event)
        ledger.fold.apply(event)
    simulate(plan, curve, ledger)
    again = [e["parameters"] for e in ledger.events if e["event"] == "suggested" and e["stage"] == "search"]
    assert again == proposed


def test_a_larger_budget_continues_what_was_cut_and_searches_on():
    plan, curve = small(slots=6, trials=100)
    ledger = MemoryLedger()
    first, _ = simulate(plan, curve, ledger)
    cut = [uid for uid, t in first.trials.items() if t.state == "cut"]
    count, winners = len(first.trials), {m: first.winner(m) for m in plan.experiment.spaces}
    assert cut
    larger = with_budget(plan, 3)
    fold, _ = simulate(larger, curve, ledger)
    assert all(fold.trials[uid].final for uid in cut)
    assert len(fold.trials) > 2 * count
    assert sum(fold.spent.values()) <= 1.02 * larger.budget.seconds + 6 * 3.2
    for method, former in winners.items():
        assert all(t.state == "complete" for t in fold.confirming(method))
        assert fold.trials[fold.winner(method)].accuracy >= fold.trials[former].accuracy
    superseded = [t for t in fold.trials.values() if fold.stage(t) == "superseded"]
    assert all(t.of != fold.winner(t.method) for t in superseded)


@pytest.mark.parametrize(
    ("factor", "published"), [(1.25, None), (1.5, None), (2, None), (3, None), (1.25, 0.2), (2, 1.5)]
)
def test_a_larger_budget_is_spent_evenly_also_where_all_was_confirmed_already(factor, published):
    plan, curve = small(methods=16, slots=8, trials=600, epochs=27, published=published)
    ledger = MemoryLedger()
    simulate(plan, curve, ledger)
    larger = with_budget(plan, factor)
    fold, _ = simulate(larger, curve, ledger)
    assert fairness(fold, larger) <= 1.1
    assert sum(fold.spent.values()) >= 0.95 * larger.budget.seconds  # a pair of seeds may not fit
    assert fold.charged <= 1.02 * larger.budget.seconds


@pytest.mark.parametrize("epochs", [1, 4, 9])
def test_epochs_that_take_longer_than_calibrated_cost_trials_and_no_seeds(epochs):
    plan, curve = small(methods=4, trials=120, epochs=epochs)

    def slower(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return accuracy, 1.5 * seconds

    fold, _ = simulate(plan, slower)
    assert fold.charged <= 1.02 * plan.budget.seconds
    for method in plan.experiment.spaces:
        assert sum(trial.state == "complete" for trial in fold.of(method, "published")) >= 3
        assert sum(trial.state == "complete" for trial in fold.confirming(method)) >= 3


def test_confirming_that_takes_longer_than_foreseen_is_not_paid_by_the_other_methods():
    plan, curve = small(methods=4, slots=1, trials=200)

    def slow(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return accuracy, seconds * (3 if trial.method == "method00" and trial.stage != "search" else 1)

    fold, _ = simulate(plan, slow)
    assert all(spent <= 1.02 * plan.share for spent in fold.spent.values())
    for method in ("method01", "method02", "method03"):
        assert sum(trial.state == "complete" for trial in fold.of(method, "confirm", "published")) == 6


def test_more_seeds_than_were_asked_for_are_not_tried_where_one_has_failed():
    plan, curve = small(methods=1)
    ledger = MemoryLedger()
    simulate(plan, curve, ledger)
    search = Search(with_budget(plan, 9), ledger, clock=lambda: 0.0)
    assert max(each.number for each in itertools.islice(search.confirmations.of("method00"), 20)) > 5
    next(ledger.fold.of("method00", "published")).state = "failed"
    search = Search(search.plan, ledger, clock=lambda: 0.0)
    assert max(each.number for each in search.confirmations.of("method00")) <= 5


def test_the_same_budget_again_does_nothing():
    plan, curve = small()
    ledger = MemoryLedger(keep=True)
    simulate(plan, curve, ledger)
    before = len(ledger.events)
    simulate(plan, curve, ledger)
    assert [e["event"] for e in ledger.events[before:]] == ["session"]
    assert not Search(plan, ledger, clock=lambda: 0.0).work_left()


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


told = EpochReport.from_json


def next_trial(search):
    assignment = search.next()
    search.started(assignment.job.uid)
    return assignment.job.uid, assignment


@pytest.fixture
def search():
    plan, _ = small(slots=4)
    return Search(plan, MemoryLedger(keep=True), clock=lambda: 0.0)


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


def ended(trial, state, **values):
    """The search trial as the ledger would have it after an end; three epochs of four were reported."""
    reports = {epoch: told({"epoch": epoch, "knn_200": 0.1 * epoch}) for epoch in (1, 3)}
    return dataclasses.replace(trial, state=state, reports=reports, **values)


@pytest.mark.parametrize(
    ("state", "kind", "told", "values"),
    [
        ("pruned", None, "PRUNED", [0.1, 0.3]),
        *[("failed", kind, "PRUNED", []) for kind in OF_THE_RECIPE],
        *[("failed", kind, "FAIL", [0.1, 0.3]) for kind in OF_THE_MACHINE],
        ("failed", None, "FAIL", [0.1, 0.3]),
    ],
)
def test_failures_of_the_recipe_are_told_as_the_worst_that_was_pruned_and_those_of_the_machine_as_failures(
    search, state, kind, told, values
):
    uid, _ = next_trial(search)
    trial = search.fold.trials[uid]
    study = search.proposals.studies.study(trial.method)
    search.proposals.studies._tell(study, ended(trial, state, kind=kind))
    (seen,) = study.get_trials()
    assert seen.state.name == told
    assert list(seen.intermediate_values.values()) == pytest.approx(values)


def diverging(curve, method):
    """The curve, but for the trainings of a method, which diverge."""

    def changed(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return (math.nan if trial.method == method else accuracy), seconds

    return changed


def test_a_method_whose_trials_all_fail_is_given_up_at_once_and_the_others_have_their_share():
    plan, curve = small(methods=3, slots=3, trials=120)
    first_diverges = diverging(curve, "method00")
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, first_diverges, ledger)
    own = list(fold.by_method["method00"])
    assert FAILURES <= len(own) < FAILURES + plan.slots
    assert {trial.stage for trial in own} == {"search"}  # nothing confirms it
    assert fold.winner("method00") is None
    assert fold.given_up.keys() == {"method00"}
    assert fold.given_up["method00"].endswith(f"{own[-1].uid}: loss is nan at epoch 1")
    for method in ("method01", "method02"):
        assert len(fold.confirming(method)) >= 3
        assert fold.spent[method] > 0.9 * plan.share
    before = len(ledger.events)
    simulate(plan, first_diverges, ledger)
    assert [event["event"] for event in ledger.events[before:]] == ["session"]


@pytest.mark.parametrize("slots", [1, 8])
def test_a_run_in_which_all_trials_fail_ends_soon_and_says_why_in_a_line(slots):
    plan, _ = small(methods=4, slots=slots, trials=300)
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, lambda trial, epoch: (math.nan, 1.0), ledger)
    assert 4 * FAILURES <= len(fold.trials) < 4 * FAILURES + 2 * slots
    assert fold.charged < 0.1 * plan.budget.seconds
    assert fold.given_up.keys() == plan.experiment.spaces.keys()
    stream = io.StringIO()
    now = Search(plan, ledger, clock=lambda: 0.0)
    assert not now.work_left()
    Progress(now, stream).closed()
    (line,) = stream.getvalue().splitlines()
    assert "all 4 methods were given up" in line
    assert "loss is nan at epoch 1" in line


def test_a_run_that_is_killed_gives_up_what_the_uninterrupted_one_does():
    plan, curve = small(methods=2, slots=1, trials=40)
    first_diverges = diverging(curve, "method00")
    whole = MemoryLedger(keep=True)
    given_up = simulate(plan, first_diverges, whole)[0].given_up
    for kept in range(2, len(whole.events), 5):
        ledger = MemoryLedger()
        for event in whole.events[:kept]:
            ledger.fold.apply(event)
        for trial in list(ledger.fold.open.values()):
            if trial.state == "running":
                ledger.append("cut", uid=trial.uid, held=trial.held, reason="its driver died")
        fold, _ = simulate(plan, first_diverges, ledger)
        assert fold.given_up == given_up
        assert len(fold.by_method["method00"]) == FAILURES


def test_that_a_method_is_given_up_is_said_once_as_soon_as_it_is():
    plan, _ = small(methods=2, slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: 0.0)
    stream = io.StringIO()
    progress = Progress(search, stream)
    while not search.fold.given_up:
        uid, assignment = next_trial(search)
        if uid.startswith("method00"):
            search.failed(uid, Failure("error", "RecursionError: too deep (knn.py:33)"))
        else:
            search.reported(uid, assignment.attempt, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
            search.cut(uid, "stop")
        progress.tick()
    progress.tick()
    progress.closed()
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("method00 is given up: 5 trials failed alike")
    assert line.endswith("RecursionError: too deep (knn.py:33)")


def test_a_larger_budget_does_not_try_again_what_was_given_up():
    plan, curve = small(methods=2, slots=2, trials=60)
    first_diverges = diverging(curve, "method00")
    ledger = MemoryLedger()
    fold, _ = simulate(plan, first_diverges, ledger)
    count = len(fold.by_method["method00"])
    simulate(with_budget(plan, 3), first_diverges, ledger)
    assert len(fold.by_method["method00"]) == count
    assert fold.given_up.keys() == {"method00"}


@pytest.mark.parametrize("fails", ["late", "differently", "only the recipe", "most"])
def test_a_method_is_not_given_up_where_some_trial_came_through_an_evaluation_or_failures_differ(fails):
    plan, _ = small(methods=1, slots=2, trials=60)
    ledger = MemoryLedger()
    if fails == "late":  # after the first milestone
        simulate(plan, lambda trial, epoch: (math.nan if epoch > 1 else 0.5, 1.0), ledger)
    elif fails == "most":
        simulate(plan, lambda trial, epoch: (math.nan if trial.seed % 9 != 2 else 0.5, 1.0), ledger)
    elif fails == "only the recipe":
        simulate(plan, lambda trial, epoch: (math.nan if trial.hyperparameters["x"] == 0.5 else 0.5, 1.0), ledger)
    else:
        search = Search(plan, ledger, clock=lambda: 0.0)
        for kind in OF_THE_RECIPE[:2] * (FAILURES - 1):
            search.failed(next_trial(search)[0], Failure(kind, "it failed"))
    assert not ledger.fold.given_up
    assert len(list(ledger.fold.of("method00", "search"))) > FAILURES + 2


@pytest.mark.parametrize("stages", [{"confirm"}, {"published"}, {"confirm", "published"}])
def test_what_fails_with_every_fresh_seed_costs_its_seeds_and_no_more(stages):
    plan, curve = small(methods=2, slots=2, trials=60)

    def fails(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
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


@dataclasses.dataclass(frozen=True)
class Choices:
    """A search space of finitely many configurations; the published recipe is the first of all."""

    method: str
    choices: dict[str, list]
    hash: str = "choices"

    @property
    def defaults(self):
        return {name: values[0] for name, values in self.choices.items()}

    @property
    def recipes(self):
        return [self.defaults]

    def proposes(self, hyperparameters):
        return True

    def distributions(self):
        kinds = {list: optuna.distributions.CategoricalDistribution}
        kinds[range] = lambda values: optuna.distributions.IntDistribution(values[0], values[-1])
        return {name: kinds[type(values)](values) for name, values in self.choices.items()}

    def narrowed(self, choices):
        return dataclasses.replace(self, choices=self.choices | choices)

    def to_params(self, hyperparameters):
        return dict(hyperparameters)

    from_params = to_params


FINITE = {
    "nothing": ({}, 1),
    "one choice": ({"a": ["x"]}, 1),
    "categorical": ({"a": ["x", "y", "z"], "b": [64, 128]}, 6),
    "integers": ({"a": range(1, 4), "b": [False, True]}, 6),
}


@pytest.mark.parametrize("searcher", ["tpe", "random"])
@pytest.mark.parametrize("name", FINITE)
def test_every_configuration_is_searched_once_and_then_confirmed(name, searcher):
    choices, count = FINITE[name]
    plan, _ = small(methods=1, slots=2, trials=60, searcher=searcher)
    experiment = dataclasses.replace(plan.experiment, spaces={"method00": Choices("method00", choices)})
    plan = dataclasses.replace(plan, experiment=experiment)

    def curve(trial, epoch):
        return (0.5 + math.sin(trial.seed) / 10) * epoch / plan.epochs, 1.0

    whole = MemoryLedger(keep=True)
    fold, _ = simulate(plan, curve, whole)
    searched = [str(trial.hyperparameters) for trial in fold.of("method00", "search")]
    assert len(searched) == len(set(searched)) == count
    assert len(fold.confirming("method00")) >= 3
    if count == 1:
        assert fold.trials[fold.winner("method00")].published
    for kept in range(2, len(whole.events), 7):  # a continued run searches the same
        ledger = MemoryLedger()
        for event in whole.events[:kept]:
            ledger.fold.apply(event)
        for trial in list(ledger.fold.open.values()):
            if trial.state == "running":
                ledger.append("cut", uid=trial.uid, held=trial.held, reason="its driver died")
        fold, _ = simulate(plan, curve, ledger)
        assert sorted(str(trial.hyperparameters) for trial in fold.of("method00", "search")) == sorted(searched)


class Insisting(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return distribution.to_external_repr(0.25 if distribution == FloatDistribution(0, 1) else 1)


def test_a_searcher_that_insists_on_one_configuration_is_asked_for_it_once():
    plan, _ = small(methods=1, slots=2, trials=60)
    search = Search(plan, MemoryLedger(), clock=lambda: 0.0)
    search.proposals.studies.sampler = Insisting
    given_out = [search.next() for _ in range(2)]
    assert [assignment.job.hyperparameters for assignment in given_out] == [{"x": 0.5}, {"x": 0.25}]
    search.slots = 4
    assert search.next() is Idle.WAIT
    assert [trial.number for trial in search.proposals.studies.study("method00").get_trials()] == [0, 1]


def test_where_a_searcher_insists_finitely_many_configurations_are_searched_all_the_same():
    plan, _ = small(methods=1, slots=9, trials=60)
    spaces = {"method00": Choices("method00", FINITE["categorical"][0])}
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, spaces=spaces))
    search = Search(plan, MemoryLedger(), clock=lambda: 0.0)
    search.proposals.studies.sampler = Insisting
    given_out = [search.next().job.hyperparameters for _ in range(6)]
    assert given_out[1] == {"a": "y", "b": 128}
    assert len({str(hyperparameters) for hyperparameters in given_out}) == 6
    assert search.next() is Idle.WAIT
    assert [trial.params for trial in search.proposals.studies.study("method00").get_trials()] == given_out


def test_pruning_rungs_are_the_same_after_a_restart_whatever_failed_at_a_milestone(search):
    for spread in (0.9, 0.001, 0.9, 0.001):
        uid, assignment = next_trial(search)
        search.reported(uid, assignment.attempt, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5, "feature_std": spread}))
    rungs = {method: scheduler._rungs for method, scheduler in search.schedulers.items()}
    assert sum(len(rung) for own in rungs.values() for rung in own.values()) == 2
    again = Search(search.plan, search.ledger, clock=lambda: 0.0)
    assert {method: scheduler._rungs for method, scheduler in again.schedulers.items()} == rungs


@pytest.mark.parametrize("recipes", [1, 2])
def test_the_recipes_go_on_even_where_their_share_has_no_room_for_them(recipes):
    plan, _ = small(methods=1, slots=recipes, published=0.2 if recipes > 1 else None)
    ledger, now = MemoryLedger(), [0.0]
    search = Search(plan, ledger, clock=lambda: now[0])
    uids = [next_trial(search)[0] for _ in range(recipes)]
    now[0] = 0.9 * plan.share / recipes
    for uid in uids:
        search.lost(uid, "its worker died")
    for again in (search, Search(plan, ledger, clock=lambda: now[0])):
        assert again.shares.room("method00") < 0
        assert [again.next().job.uid for _ in uids] == uids
        for uid in uids:
            again.cut(uid, "stop")


def test_what_happens_once_does_not_count_as_what_an_epoch_takes():
    now = [0.0]
    plan, _ = small(methods=1, slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0])

    def epoch(number, attempt, seconds):
        now[0] += seconds
        assert search.reported(uid, attempt, told({"epoch": number, "loss": 1.0, "knn_200": 0.5}))
        return search.paces.cost("method00", "search", 4, 8)

    uid, _ = next_trial(search)
    planned = plan.cost("method00", "search", 4, 8)
    assert epoch(1, 1, 90.0) == planned  # it was compiled
    slower = epoch(2, 1, 3 * plan.cost("method00", "search", 1, 2))
    assert slower > planned
    search.lost(uid, "its worker died")
    next_trial(search)
    assert epoch(3, 2, 50.0) == slower  # the lost worker had not saved the second epoch
    assert Search(plan, search.ledger, clock=lambda: 0.0).paces.cost("method00", "search", 4, 8) == slower


def test_a_lost_worker_is_replaced_until_three_are_lost_without_an_epoch_between(search):
    uid, assignment = next_trial(search)
    for attempt in (1, 2):
        assert assignment.attempt == attempt
        search.lost(uid, "killed")
        again, assignment = next_trial(search)
        assert again == uid
    assert search.reported(uid, 3, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
    for _ in range(2):
        search.lost(uid, "killed")
        again, assignment = next_trial(search)
        assert (again, assignment.known) == (uid, 1)
    search.lost(uid, "killed")
    assert search.fold.trials[uid].state == "failed"
    assert "3 workers" in search.fold.trials[uid].reason
    assert search.fold.trials[uid].kind == "lost"


def test_a_worker_with_an_old_attempt_is_not_heard(search):
    uid, _ = next_trial(search)
    search.lost(uid, "cut off")
    _, assignment = next_trial(search)
    assert not search.reported(uid, 1, told({"epoch": 1, "loss": 1.0, "knn_200": 0.99}))
    assert not search.fold.trials[uid].reports
    assert search.reported(uid, assignment.attempt, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
    assert search.fold.trials[uid].reports[1].metrics["knn_200"] == 0.5


def test_time_before_a_worker_has_the_trial_is_charged_to_no_method():
    now = [0.0]
    plan, _ = small(slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0])
    uid = search.next().job.uid
    now[0] = 10.0
    assert search.held(uid) == 0
    assert search.charged == pytest.approx(10)
    assert not search.training
    search.started(uid)
    assert search.training
    now[0] = 12.5
    assert search.held(uid) == pytest.approx(2.5)
    search.cut(uid, "stop")
    now[0] = 99.0
    assert search.charged == search.fold.charged == pytest.approx(12.5)
    assert search.fold.startup == pytest.approx(10)


def test_on_a_busy_cluster_waiting_for_a_device_is_not_charged():
    now = [0.0]
    plan, _ = small(slots=3)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0], shared=True)
    stream = io.StringIO()
    progress = Progress(search, stream)
    first, second, third = (search.next().job.uid for _ in range(3))
    now[0] = 3600.0
    search.heartbeat()
    assert search.charged == search.fold.charged == search.startup == 0.0
    assert search.shares.share == plan.share
    assert not search.exhausted
    assert not search.training
    progress.say(progress._overall(1.0))
    assert " 0 running, 3 waiting for a device," in stream.getvalue()
    search.alive(first)
    search.alive(first)  # a sign seen twice changes nothing
    now[0] += 10.0
    assert search.charged == search.startup == pytest.approx(10.0)
    assert not search.training
    search.started(first)
    search.started(second)  # a kept worker has it at once, and leaves no sign
    now[0] += 5.0
    assert search.charged == pytest.approx(20.0)
    assert search.startup == pytest.approx(10.0)
    assert search.held(first) == search.held(second) == pytest.approx(5.0)
    assert search.held(third) == 0.0
    search.cut(third, "stop")  # it never had a device
    search.cut(first, "stop")
    search.cut(second, "stop")
    now[0] += 99.0
    assert search.charged == search.fold.charged == pytest.approx(20.0)
    assert search.fold.startup == pytest.approx(10.0)
    assert not search.pending
    search.alive(third)  # it came too late
    assert search.charged == pytest.approx(20.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["next", "next", "alive", "started", "epoch", "lost", "cut"]),
            st.integers(0, 9),
            st.integers(0, 9),
        )
    ),
    st.booleans(),
)
def test_the_charge_is_the_time_in_which_slots_were_held_whatever_happens(steps, shared):
    now, expected, charged = [0.0], 0.0, {}  # running trial -> whether it is charged
    plan, _ = small(slots=4, trials=300)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0], shared=shared)
    working = set()
    for step, which, seconds in steps:
        now[0] += seconds
        expected += seconds * sum(charged.values())
        if step == "next":
            if isinstance(assignment := search.next(), Assignment):
                charged[assignment.job.uid] = not shared
            continue
        if not charged:
            continue
        uid = list(charged)[which % len(charged)]
        if step == "alive":
            search.alive(uid)
            charged[uid] = True
        elif step == "started":
            search.started(uid)
            working.add(uid)
            charged[uid] = True
        elif step == "epoch" and uid in working:
            trial = search.fold.trials[uid]
            search.reported(uid, trial.attempts, told({"epoch": trial.epoch + 1, "loss": 1.0, "knn_200": 0.5}))
        elif step in ("lost", "cut"):
            getattr(search, step)(uid, "it ended")
        search.heartbeat()
        working &= search.running.keys()
        charged = {uid: is_charged for uid, is_charged in charged.items() if uid in search.running}
        assert search.charged == pytest.approx(expected)
        assert search.fold.charged == pytest.approx(expected)
        assert len(search.pending) == list(charged.values()).count(False)
    for uid in list(search.running):
        search.cut(uid, "the end")
    assert search.charged == search.fold.charged == pytest.approx(expected)


def test_in_a_local_run_the_start_of_a_worker_is_charged_from_its_assignment():
    now = [0.0]
    plan, _ = small(slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0])
    uid = search.next().job.uid
    now[0] = 3.0
    search.alive(uid)
    now[0] = 5.0
    assert search.charged == search.startup == pytest.approx(5.0)


@pytest.mark.parametrize(
    "end",
    [
        lambda search, uid: search.reported(uid, 2, told({"epoch": 2, "loss": math.nan, "knn_200": None})),
        lambda search, uid: search.reported(uid, 2, told({"epoch": 2, "loss": math.inf, "knn_200": None})),
        lambda search, uid: search.reported(uid, 2, told({"epoch": 2, "loss": 1.0, "feature_std": 0.0})),
        lambda search, uid: search.failed(uid, Failure("error", "ValueError: three is too many")),
        lambda search, uid: search.failed(uid, Failure("error", "out of memory: tried to allocate 1 TiB")),
        lambda search, uid: search.failed(uid, Failure("error", "time limit: an epoch took more than 0:01:00")),
        lambda search, uid: search.lost(uid, "its worker died"),
        lambda search, uid: search.cut(uid, "the run was interrupted"),
    ],
    ids=["nan", "infinity", "collapse", "exception", "memory", "hang", "worker", "signal"],
)
def test_however_a_trial_ends_the_charge_is_the_time_that_its_slot_was_held(end):
    now = [0.0]
    plan, _ = small(methods=1, slots=1)
    ledger = MemoryLedger(keep=True)
    search = Search(plan, ledger, clock=lambda: now[0])
    uid, assignment = next_trial(search)
    now[0] += 3.0
    search.lost(uid, "its worker died")
    now[0] += 50.0  # nothing holds the slot
    again, assignment = next_trial(search)
    assert (again, assignment.attempt) == (uid, 2)
    now[0] += 2.0
    assert search.reported(uid, 2, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
    assert not search.reported(uid, 1, told({"epoch": 2, "loss": 1.0, "knn_200": 0.5}))  # a worker that should be dead
    now[0] += 4.0
    search.heartbeat()
    now[0] += 1.0
    end(search, uid)
    now[0] += 70.0
    assert not search.reported(uid, 2, told({"epoch": 3, "loss": 1.0, "knn_200": 0.5}))
    assert search.charged == search.fold.charged == pytest.approx(10.0)
    assert search.fold.trials[uid].held == search.fold.spent[uid[:8]] == pytest.approx(10.0)
    again = MemoryLedger()
    for event in ledger.events:
        again.fold.apply(event)
    assert Search(plan, again, clock=lambda: 0.0).charged == pytest.approx(10.0)


def test_a_slow_start_shrinks_every_share_and_leaves_the_reserve_for_confirming():
    plan, curve = small(trials=60)
    ledger = MemoryLedger()
    ledger.append("held", held={}, startup=0.3 * plan.budget.seconds)
    fold, _ = simulate(plan, curve, ledger)
    assert fold.charged <= plan.budget.seconds * 1.02
    for method in plan.experiment.spaces:
        assert [t.state for t in fold.confirming(method)][:3] == ["complete"] * 3


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


def test_nothing_is_given_out_beyond_the_slots_and_done_is_said_at_the_end(search):
    given_out = [search.next() for _ in range(6)]
    assert [a is Idle.WAIT for a in given_out] == [False] * 4 + [True] * 2
    assert len({a.job.uid for a in given_out[:4]}) == 4
    search.slots = 5  # a node came
    assert isinstance(search.next(), Assignment)
    search.slots = 2  # and others went
    assert search.next() is Idle.WAIT


def test_done_is_said_when_the_budget_is_spent_and_nothing_runs():
    now = [0.0]
    plan, _ = small(slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0])
    uid, assignment = next_trial(search)
    now[0] = plan.budget.seconds + 1
    assert search.next() is Idle.WAIT
    assert not search.reported(uid, assignment.attempt, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
    assert search.fold.trials[uid].state == "cut"
    assert search.next() is Idle.DONE


class Quarter(optuna.samplers.RandomSampler):
    """A searcher of a user: `x` in the first quarter of its range."""

    def sample_independent(self, study, trial, name, distribution):
        return super().sample_independent(study, trial, name, distribution) / 4


def test_a_scheduler_and_a_searcher_plug_in_by_name(monkeypatch):
    module = types.ModuleType("users")
    module.EveryThird, module.Quarter, module.__file__ = EveryThird, Quarter, __file__
    monkeypatch.setitem(sys.modules, "users", module)
    plan, curve = small()
    experiment = Experiment(
        plan.experiment.spaces, "", NoSettings(), baselines=(), searcher="users:Quarter", scheduler="users:EveryThird"
    )
    plan = dataclasses.replace(plan, experiment=experiment)
    fold, _ = simulate(plan, curve)
    searched = [t for t in fold.trials.values() if t.stage == "search" and t.number > 0]
    assert len(searched) > 5
    assert all(t.hyperparameters["x"] <= 0.25 for t in searched)
    assert {t.epoch for t in searched if t.state == "pruned"} == {plan.epochs // 2}


@pytest.mark.parametrize(
    "name", ["nowhere:f", "users_own:g", "users_own:VALUE", "users_own.more:f", "", ".:f", "users_own"]
)
def test_a_searcher_that_is_not_there_is_called_that(name, tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text("from bench.search.searchers import random as f\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert callable(plugins.searcher("users_own:f"))
    with pytest.raises(UserError, match="there is no searcher") as caught:
        plugins.searcher(name)
    assert "\n" not in str(caught.value)
    sys.modules.pop("users_own", None)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
        ("import users_broken.other", "ModuleNotFoundError: No module named 'users_broken.other'"),
        ("from math import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        ("import math; math.no_such_name", "AttributeError: module 'math' has no attribute"),
        ("int('x')", "ValueError: invalid literal"),
        ("def f(", "SyntaxError"),
        ("raise OSError('one\\ntwo')", "OSError: one)"),
    ],
)
def test_what_is_wrong_inside_a_users_module_is_told_as_that(code, told, tmp_path, monkeypatch):
    (tmp_path / "users_broken.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        plugins.searcher("users_broken:f")
    assert "'users_broken:f' cannot be imported" in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclasses.dataclass(frozen=True)
class Cube(Space):
    """A search space of three parameters."""

    hash: str = "cube"
    defaults: dict = dataclasses.field(default_factory=lambda: dict.fromkeys("abc", 0.2))

    def distributions(self):
        return {name: FloatDistribution(0, 1) for name in "abc"}


def beside_a_cliff(trial, epoch):
    """A training that diverges where `a` is a little larger than is best."""
    at = trial.hyperparameters
    off = (at["a"] - 0.6) ** 2 + 2 * (at["b"] - 0.9) ** 2 + 3 * (at["c"] - at["a"]) ** 2
    return (math.nan if at["a"] > 0.65 else math.exp(-4 * off) * epoch / trial.epochs), 1.0


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("searcher", "def f(seed): raise ValueError('no such seed')", "cannot be used (ValueError: no such seed)"),
        ("searcher", "def f(): pass", "cannot be used (TypeError: f() takes 0 positional arguments"),
        ("searcher", "def f(seed): return seed", "gives int, not an Optuna sampler"),
        (
            "scheduler",
            "class f:\n def __init__(self, epochs): self.milestones = [epochs / 2]",
            "gives f, not something",
        ),
        (
            "scheduler",
            "from bench.search.searchers import random as f",
            "gives RandomSampler, not something with milestones",
        ),
    ],
)
def test_what_cannot_be_a_searcher_or_scheduler_is_refused_before_anything_runs(
    kind, code, told, tmp_path, monkeypatch
):
    (tmp_path / "users_wrong.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        getattr(plugins, kind)("users_wrong:f")
    sys.modules.pop("users_wrong")
    assert "\n" not in str(caught.value)


def test_tpe_finds_more_than_random_search_and_keeps_away_from_where_trainings_diverge():
    missed, failed = {}, {}
    for searcher in ("tpe", "random"):
        best, fails = [], []
        for seed in range(5):
            plan, _ = small(methods=1, slots=2, trials=100, searcher=searcher)
            experiment = dataclasses.replace(plan.experiment, spaces={"method00": Cube("method00")}, seed=seed)
            fold, _ = simulate(dataclasses.replace(plan, experiment=experiment), beside_a_cliff)
            best.append(1 - fold.trials[fold.winner("method00")].accuracy)
            fails += [trial.state == "failed" for trial in fold.of("method00", "search") if trial.number >= FEW]
        missed[searcher], failed[searcher] = statistics.median(best), statistics.mean(fails)
    assert missed["tpe"] < missed["random"] / 2
    assert failed["tpe"] < 0.75 * failed["random"]


def test_each_proposal_has_a_seed_of_its_own():
    plan, _ = small(methods=2, slots=40, trials=400, searcher="tpe")
    spaces = {method: Cube(method) for method in plan.experiment.spaces}
    search = Search(
        dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, spaces=spaces)),
        MemoryLedger(),
        clock=lambda: 0.0,
    )
    while isinstance(search.next(), Assignment):
        pass
    proposed = {m: [t.parameters["a"] for t in search.fold.of(m, "search") if t.number > 0] for m in spaces}
    both = [value for values in proposed.values() for value in values]
    assert len(both) == len(set(both)) == 38  # none as another one, nor as the other method's
    assert max(both) - min(both) > 0.8


def test_tpe_proposes_all_parameters_together():
    study = optuna.create_study(direction="maximize", storage=BestAndLatest())
    space = Cube("method00").distributions()
    for seed in range(FEW + 1):
        study.sampler = tpe(seed)
        trial = study.ask(space)
        study.tell(trial, trial.params["a"])
    assert trial.relative_params.keys() == {"a", "b", "c"}


def best_of(make_sampler, storage, seed, trials=160, parallel=8):
    """The best value that a searcher finds, with pruned and running trials beside the complete ones."""
    study = optuna.create_study(direction="maximize", storage=storage)
    space = {name: FloatDistribution(0, 1) for name in "abc"}
    going, best = [], 0.0
    for number in range(trials):
        study.sampler = make_sampler(seed * trials + number)
        going.append(study.ask(space))
        if len(going) == parallel:
            trial = going.pop(0)
            off = [trial.params[name] - at for name, at in (("a", 0.2), ("b", 0.9), ("c", 0.5))]
            value = math.exp(-4 * (off[0] ** 2 + 2 * off[1] ** 2 + 3 * (off[2] + off[0]) ** 2))
            trial.report(value / 2, 1)
            if value < best / 2:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, value)
            best = max(best, value)
    return best


def test_tpe_finds_more_than_random_search_and_as_much_with_a_part_of_the_trials_as_with_all():
    all_trials, part = optuna.storages.InMemoryStorage, lambda: BestAndLatest(7, 63)
    found = {
        name: statistics.median(1 - best_of(sampler, storage(), seed) for seed in range(3))
        for name, sampler, storage in (("random", random, all_trials), ("all", tpe, all_trials), ("part", tpe, part))
    }
    assert found["part"] < found["random"] / 3
    assert found["part"] < 2 * found["all"]


def test_tpe_sees_the_best_and_the_latest_trials_and_all_that_run():
    study = optuna.create_study(direction="maximize", storage=BestAndLatest(2, 3))
    space = {"x": FloatDistribution(0, 1)}
    for number in range(12):
        trial = study.ask(space)
        trial.report(0.5 if number == 4 else 0.1, 3 if number == 1 else 1)
        if number in (2, 8):
            study.tell(trial, 0.9 - number / 100)
        elif number in (3, 9):
            study.tell(trial, state=TrialState.FAIL)
        elif number not in (0, 11):
            study.tell(trial, state=TrialState.PRUNED)
    # complete, and so the best: 2 and 8; the latest three that tell something: 7, 8 and 10; still running: 0 and 11
    assert [trial.number for trial in study.get_trials()] == [0, 2, 7, 8, 10, 11]
    study.tell(0, state=TrialState.PRUNED)
    assert [trial.number for trial in study.get_trials()] == [2, 7, 8, 10, 11]


def test_what_failed_is_never_among_the_best_that_tpe_sees_while_anything_else_is_there():
    study = optuna.create_study(direction="maximize", storage=BestAndLatest(2, 3))
    for number in range(9):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        if number > 1:
            trial.report(0.1, 1)
        study.tell(trial, state=TrialState.PRUNED)
    assert [trial.number for trial in study.get_trials()] == [2, 3, 6, 7, 8]


@pytest.mark.parametrize("late", [False, True])
def test_what_tpe_sees_does_not_depend_on_the_order_in_which_trials_ended(late):
    study = optuna.create_study(direction="maximize", storage=BestAndLatest(2, 3))
    trials = [study.ask({"x": FloatDistribution(0, 1)}) for _ in range(9)]
    for trial in reversed(trials) if late else trials:
        study.tell(trial, (trial.number * 7 % 5) / 5)
    assert [trial.number for trial in study.get_trials()] == [2, 6, 7, 8]
