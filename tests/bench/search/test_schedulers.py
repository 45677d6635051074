"""Which trials go on at a milestone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search.schedulers import Asha
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, simulate
from tests.bench.search.driving import next_trial, replayed_decisions, small, told


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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.sampled_from([1, 2]))
def test_asha_keeps_two_thirds_then_the_best_third_and_always_the_best(accuracies, thirds):
    asha = Asha(27)
    assert asha.milestones == [3, 9]
    kept, best = 0, -1.0
    for number, accuracy in enumerate(accuracies, 1):
        goes_on = asha.arrive(str(number), asha.milestones[thirds - 1], accuracy)
        better = sum(a > accuracy for a in accuracies[:number])
        assert goes_on == (better < max(1, (3 - thirds) * number // 3))
        assert goes_on or accuracy < best
        best = max(best, accuracy)
        kept += goes_on
    assert kept >= 1


@pytest.mark.parametrize(
    ("epochs", "milestones"),
    [(1, []), (2, [1]), (3, [1]), (4, [1, 2]), (9, [1, 3]), (10, [1, 4]), (50, [6, 17]), (200, [22, 67])],
)
def test_milestones_lie_where_at_least_half_of_the_epochs_is_still_to_come(epochs, milestones):
    assert Asha(epochs).milestones == milestones


def test_pruning_rungs_are_the_same_after_a_restart_whatever_failed_at_a_milestone(search):
    for spread in (0.9, 0.001, 0.9, 0.001):
        uid, assignment = next_trial(search)
        milestone = search.plan.milestones[0]
        search.reported(
            uid, assignment.attempt, told({"epoch": milestone, "loss": 1.0, "knn_200": 0.5, "feature_std": spread})
        )
    rungs = {method: scheduler._rungs for method, scheduler in search.schedulers.items()}
    assert sum(len(rung) for own in rungs.values() for rung in own.values()) == 2
    again = Search(search.plan, search.ledger, clock=lambda: 0.0)
    assert {method: scheduler._rungs for method, scheduler in again.schedulers.items()} == rungs
