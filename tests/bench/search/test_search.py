"""The search, driven in virtual time: the same code as in a run, without workers."""

import collections
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search.job import Assignment, Failure, Idle
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, fairness, simulate
from bench.search.winners import FAILURES
from tests.bench.search.driving import (
    PUBLISHED,
    assert_halved_alike,
    holding_half,
    next_trial,
    replayed,
    replayed_decisions,
    slow,
    small,
    told,
    with_baselines,
)


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
    for seed in range(12):
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
    own = list(fold.of("method00", "search"))
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
        ledger = replayed(kept)
        before = {uid: dict(t.reports) for uid, t in ledger.fold.trials.items()}
        ended = {uid: t.state for uid, t in ledger.fold.trials.items() if t.final}
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


def test_the_same_budget_again_does_nothing():
    plan, curve = small()
    ledger = MemoryLedger(keep=True)
    simulate(plan, curve, ledger)
    before = len(ledger.events)
    simulate(plan, curve, ledger)
    assert [e["event"] for e in ledger.events[before:]] == ["session"]
    assert not Search(plan, ledger, clock=lambda: 0.0).work_left()


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
