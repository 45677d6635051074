"""Methods have the same device time, whatever happens."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search.search import Search
from bench.search.simulate import MemoryLedger, fairness, simulate
from tests.bench.search.driving import PUBLISHED, next_trial, slow, small, told, with_budget
from tests.daily import daily


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


SIZES = ((64, 1200, 27), (8, 300, 27), (2, 90, 9))


@pytest.mark.slow
@pytest.mark.parametrize(("searcher", "recipe"), [("tpe", None), ("random", None), ("random", 0.2), ("random", 1.5)])
@pytest.mark.parametrize(
    ("slots", "trials", "epochs"),
    daily([*SIZES, (64, 600, 100)], SIZES),
)
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


def test_a_larger_budget_continues_what_was_cut_and_searches_on():
    plan, curve = small(slots=6, trials=90)
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


@pytest.mark.slow
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
    plan, curve = small(methods=4, slots=1, trials=300)

    def slow(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return accuracy, seconds * (3 if trial.method == "method00" and trial.stage != "search" else 1)

    fold, _ = simulate(plan, slow)
    assert all(spent <= 1.02 * plan.share for spent in fold.spent.values())
    for method in ("method01", "method02", "method03"):
        assert sum(trial.state == "complete" for trial in fold.of(method, "confirm", "published")) == 6


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


def test_a_slow_start_shrinks_every_share_and_leaves_the_reserve_for_confirming():
    plan, curve = small(trials=60)
    ledger = MemoryLedger()
    ledger.append("held", held={}, startup=0.3 * plan.budget.seconds)
    fold, _ = simulate(plan, curve, ledger)
    assert fold.charged <= plan.budget.seconds * 1.02
    for method in plan.experiment.spaces:
        assert [t.state for t in fold.confirming(method)][:3] == ["complete"] * 3
