"""What Optuna is asked and told."""

import dataclasses
import math

import pytest
from optuna.trial import TrialState

from bench.search.job import Assignment, Idle
from bench.search.search import Search
from bench.search.searchers import BestAndLatest
from bench.search.simulate import MemoryLedger, simulate
from bench.search.trials import OF_THE_MACHINE, OF_THE_RECIPE
from tests.bench.search.driving import FINITE, Choices, Cube, Insisting, next_trial, replayed, small, told
from tests.daily import daily


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


@pytest.mark.slow
@pytest.mark.parametrize("searcher", daily(["tpe", "random"], ["tpe"]))
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
        fold, _ = simulate(plan, curve, replayed(whole.events[:kept]))
        assert sorted(str(trial.hyperparameters) for trial in fold.of("method00", "search")) == sorted(searched)


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
