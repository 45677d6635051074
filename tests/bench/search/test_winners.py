"""Methods that are given up."""

import io
import math

import pytest

from bench.execution.progress import Progress
from bench.search.job import Failure
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, simulate
from bench.search.trials import OF_THE_RECIPE
from bench.search.winners import FAILURES
from tests.bench.search.driving import diverging, next_trial, replayed, small, told, with_budget


def test_a_method_whose_trials_all_fail_is_given_up_at_once_and_the_others_have_their_share():
    plan, curve = small(methods=3, slots=3, trials=120)
    first_diverges = diverging(curve, "method00")
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, first_diverges, ledger)
    own = list(fold.of("method00", "search"))
    assert FAILURES <= len(own) < FAILURES + plan.slots
    confirming = [trial for trial in fold.by_method["method00"] if trial.stage != "search"]
    assert [(trial.stage, trial.state) for trial in confirming] == [("published", "failed")] * 3  # its recipe alone
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
    searched = [trial for trial in fold.trials.values() if trial.stage == "search"]
    assert 4 * FAILURES <= len(searched) < 4 * FAILURES + 2 * slots
    assert len(fold.trials) == len(searched) + 4 * plan.experiment.seeds  # the recipes
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
        fold, _ = simulate(plan, first_diverges, replayed(whole.events[:kept]))
        assert fold.given_up == given_up
        assert len(list(fold.of("method00", "search"))) == FAILURES


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
        simulate(plan, lambda trial, epoch: (math.nan if epoch > plan.milestones[0] else 0.5, 1.0), ledger)
    elif fails == "most":
        simulate(plan, lambda trial, epoch: (0.5 if trial.uid == "method00-0002" else math.nan, 1.0), ledger)
    elif fails == "only the recipe":
        simulate(plan, lambda trial, epoch: (math.nan if trial.hyperparameters["x"] == 0.5 else 0.5, 1.0), ledger)
    else:
        search = Search(plan, ledger, clock=lambda: 0.0)
        for kind in OF_THE_RECIPE[:2] * (FAILURES - 1):
            search.failed(next_trial(search)[0], Failure(kind, "it failed"))
    assert not ledger.fold.given_up
    assert len(list(ledger.fold.of("method00", "search"))) > FAILURES + 2
