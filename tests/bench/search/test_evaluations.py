"""Protocols judge what trainings have kept: as work of its own, in virtual time."""

import collections
import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.training.report import EpochReport
from bench.search import evaluations
from bench.search.job import Failure
from bench.search.plan import Costs
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, simulate
from tests.bench.search.driving import PUBLISHED, next_trial, peak, replayed, small, with_baselines, with_budget

slow = settings(max_examples=20)
TRAINED = ("confirm", "published", "ours", "baseline")


def with_protocols(plan, *protocols):
    """The same run, with evaluations that are calibrated as a second each."""
    calibration = {method: dataclasses.replace(costs, evaluation=1.0) for method, costs in plan.calibration.items()}
    experiment = dataclasses.replace(plan.experiment, protocols=protocols)
    return dataclasses.replace(plan, experiment=experiment, calibration=calibration)


def judging(plan, curve, seconds=1.0):
    """The curve, where an evaluation takes these seconds, baselines have no configuration, and all else takes what it
    was calibrated to take."""

    def changed(job, epoch):
        if job.protocol is not None:
            return 0.7, seconds
        costs = plan.calibration[job.method]
        took = costs.epoch + costs.evaluation * (epoch in job.evaluate_at)
        return (curve(job, epoch)[0] if job.hyperparameters else 0.5), took

    return changed


def judged(fold):
    """How often each complete training that has an encoder was judged, by protocol."""
    counts = collections.Counter()
    for trial in fold.trials.values():
        if trial.protocol is not None and trial.state == "complete":
            counts[trial.of, trial.protocol] += 1
    return counts


def to_judge(fold, protocols):
    """What should be: every complete training that confirms, and every baseline with an encoder, by every protocol."""
    return {
        (trial.uid, protocol): 1
        for trial in fold.trials.values()
        for protocol in protocols
        if fold.stage(trial) in TRAINED and trial.state == "complete" and trial.method != "pixels"
    }


@given(
    st.integers(1, 4), st.integers(1, 6), st.sampled_from([("linear",), ("linear", "knn")]), PUBLISHED, st.booleans()
)
@slow
def test_every_complete_training_is_judged_once_by_every_protocol_within_budget_and_shares(
    methods, slots, protocols, published, baselines
):
    plan, curve = small(methods=methods, slots=slots, trials=60 * methods, published=published)
    names = ("pixels", "random", "supervised") if baselines else ()
    plan = with_protocols(with_budget(with_baselines(plan, *names), 1.3), *protocols)
    fold, _ = simulate(plan, judging(plan, curve))
    assert judged(fold) == to_judge(fold, protocols)
    assert not evaluations.left_out(plan, fold)
    assert fold.charged <= 1.02 * plan.budget.seconds + slots * 3.5
    for method in plan.experiment.spaces:
        assert len(fold.confirming(method)) >= 3
        assert fold.spent[method] <= 1.02 * plan.share + (slots + 1) * 3.5
    for trial in fold.trials.values():
        if trial.protocol is None:
            continue
        training = fold.trials[trial.of]
        assert (trial.stage, trial.uid) == ("evaluate", f"{training.uid}-{trial.protocol}")
        assert trial.last.metrics == {trial.protocol: 0.7}
        for name in ("method", "seed", "hyperparameters", "halved", "published", "ours"):
            assert getattr(trial, name) == getattr(training, name)


def test_a_job_that_judges_names_its_training_and_no_other_job_does():
    plan, curve = small(methods=1, trials=80)
    plan = with_protocols(plan, "linear")
    jobs = {}
    usual = judging(plan, curve)

    def seen(job, epoch):
        jobs[job.uid] = job
        return usual(job, epoch)

    fold, _ = simulate(plan, seen)
    assert {job.of for job in jobs.values() if job.protocol is None} == {None}
    judges = [job for job in jobs.values() if job.protocol is not None]
    assert len(judges) == len(to_judge(fold, ["linear"])) >= 6
    for job in judges:
        assert (job.protocol, job.epochs, job.evaluate_at) == ("linear", 1, (1,))
        assert job.uid == f"{job.of}-linear"


def test_without_a_protocol_nothing_is_judged_and_nothing_is_kept_back():
    plan, curve = small(methods=2, trials=60)
    whole = with_protocols(plan)
    fold, _ = simulate(whole, judging(plan, curve))
    assert not judged(fold)
    assert whole.reserve("method00") == whole.confirming("method00", whole.configurations("method00"))
    assert not evaluations.left_out(whole, fold)


def test_what_judging_takes_is_kept_back_of_every_share_and_of_what_baselines_have():
    plan, _ = small(methods=2, trials=200)
    plan = with_protocols(with_baselines(plan, "pixels", "random"), "linear", "knn")
    without = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, protocols=()))
    seeds = plan.experiment.seeds
    assert plan.allowance == pytest.approx(without.allowance + 2 * seeds * 1.0)  # of random; pixels has no encoder
    assert plan.reserve("method00") == pytest.approx(without.reserve("method00") + 2 * 2 * seeds * 1.0)
    for share, trainings in (("recipe_share", seeds), ("searching_share", 2 * seeds)):
        taken = getattr(plan, share)("method00") - getattr(without, share)("method00")
        assert taken == pytest.approx(2 * trainings * 1.0)
    rooms = [Search(each, MemoryLedger(), clock=lambda: 0.0).shares for each in (plan, without)]
    taken = rooms[1].room("method00", racing=True) - rooms[0].room("method00", racing=True)
    assert taken == pytest.approx(2 * 2 * seeds * 1.0 + rooms[1].share - rooms[0].share)


def test_an_evaluation_that_takes_longer_than_planned_leaves_the_others_their_time():
    plan, curve = small(methods=3, slots=2, trials=300)
    plan = with_protocols(plan, "linear")
    fold, _ = simulate(plan, judging(plan, curve, seconds=8.0))
    measured = Search(plan, replayed([]), clock=lambda: 0.0).paces
    assert measured.evaluation("method00", "linear") == 1.0
    for trial in fold.trials.values():
        if trial.protocol is not None and trial.state == "complete":
            measured.learn(trial, 1)
    assert measured.evaluation("method00", "linear") == pytest.approx(8.0)
    for method in plan.experiment.spaces:
        assert len(fold.confirming(method)) >= 3
        assert fold.spent[method] <= 1.02 * plan.share + 8.0
    missing = to_judge(fold, ["linear"]).keys() - judged(fold).keys()
    said = evaluations.left_out(plan, fold)
    assert len(said) == bool(missing)
    done, count = len(judged(fold)), len(to_judge(fold, ["linear"]))
    assert all(line.startswith(f"linear has judged {done} of {count} trainings") for line in said)


@given(st.data())
@slow
def test_kills_and_failures_cost_no_evaluation_and_repeat_none(data):
    slots = data.draw(st.integers(1, 4), label="slots")
    plan, curve = small(methods=2, slots=slots, trials=120)
    plan = with_protocols(with_budget(with_baselines(plan, "random"), 1.3), "linear", "knn")
    fails = data.draw(st.sampled_from([None, "linear", "knn"]), label="fails")
    how = data.draw(st.sampled_from([math.nan, None]), label="how")
    usual = judging(plan, curve)

    def failing(job, epoch):
        figure, seconds = usual(job, epoch)
        return (how if fails and job.protocol == fails and job.seed % 2 else figure), seconds

    whole = MemoryLedger(keep=True)
    simulate(plan, failing, whole)
    events = whole.events
    for _ in range(data.draw(st.integers(1, 3), label="kills")):
        begun = next(i for i, event in enumerate(events) if event.get("stage") in TRAINED)
        ledger = replayed(events[: data.draw(st.integers(begun, len(events)), label="events before the kill")])
        fold, _ = simulate(plan, failing, ledger)
        events = ledger.events
    wanted = to_judge(fold, ["linear", "knn"])
    failed = {(t.of, t.protocol) for t in fold.trials.values() if t.protocol and t.state == "failed"}
    assert failed == {key for key in wanted if key[1] == fails and fold.trials[key[0]].seed % 2}
    assert judged(fold) == {key: 1 for key in wanted if key not in failed}
    suggested = collections.Counter(event["uid"] for event in events if event["event"] == "suggested")
    assert set(suggested.values()) == {1}
    for method in plan.experiment.spaces:  # a failed evaluation fails alone
        assert all(trial.state == "complete" for trial in fold.confirming(method))
        assert len(fold.confirming(method)) >= 3


def test_an_evaluation_whose_workers_die_is_tried_again_and_fails_alone_at_last():
    plan, curve = small(methods=1, slots=1, trials=60)
    plan = with_protocols(with_budget(plan, 1.3), "linear")
    whole = MemoryLedger(keep=True)
    simulate(plan, judging(plan, curve), whole)
    first = next(i for i, event in enumerate(whole.events) if event.get("stage") == "evaluate")
    search = Search(plan, replayed(whole.events[: first + 1]), clock=lambda: 0.0)
    for attempt in (1, 2, 3):
        uid, assignment = next_trial(search)
        assert (uid, assignment.attempt) == (whole.events[first]["uid"], attempt)
        assert assignment.time_limit > plan.time_limit("method00")
        search.lost(uid, "killed")
    assert (search.fold.trials[uid].state, search.fold.trials[uid].kind) == ("failed", "lost")
    assert next_trial(search)[1].job.protocol == "linear"  # the next one
    assert not search.tallies["method00"].unconfirmed


def before_an_evaluation() -> Search:
    """A search of which all that is left is to be judged."""
    plan, curve = small(methods=1, slots=1, trials=60)
    plan = with_protocols(plan, "linear")
    whole = MemoryLedger(keep=True)
    simulate(plan, judging(plan, curve), whole)
    first = next(i for i, event in enumerate(whole.events) if event.get("stage") == "evaluate")
    return Search(plan, replayed(whole.events[: first + 1]), clock=lambda: 0.0)


@pytest.mark.parametrize(
    ("metrics", "state", "reason"),
    [
        ({"linear": 0.5}, "complete", None),
        ({"linear": math.nan, "few": 0.5}, "failed", "linear is nan"),
        ({}, "failed", "nothing was measured"),
    ],
)
def test_an_evaluation_is_complete_where_what_it_measured_is_finite(metrics, state, reason):
    search = before_an_evaluation()
    uid, assignment = next_trial(search)
    assert not search.reported(uid, assignment.attempt, EpochReport(1, math.nan, metrics))  # it has no loss
    assert (search.fold.trials[uid].state, search.fold.trials[uid].reason) == (state, reason)


@given(st.integers(1, 4), PUBLISHED, st.booleans())
@slow
def test_a_finished_run_gets_a_second_protocol_without_any_training(slots, published, baselines):
    plan, curve = small(methods=2, slots=slots, trials=90, published=published)
    plan = with_protocols(with_baselines(plan, *(["random", "supervised"] if baselines else [])), "linear")
    ledger = MemoryLedger(keep=True)
    first, _ = simulate(plan, judging(plan, curve, 0.01), ledger)
    done, before = len(ledger.events), set(to_judge(first, ["linear"]))
    assert judged(first).keys() == before
    both = dataclasses.replace(
        plan,
        experiment=dataclasses.replace(plan.experiment, protocols=("linear", "knn")),
        calibration={m: dataclasses.replace(costs, evaluation=0.01) for m, costs in plan.calibration.items()},
    )
    assert both.experiment.identity() == plan.experiment.identity()
    fold, _ = simulate(both, judging(plan, curve, 0.01), ledger)
    new = [event for event in ledger.events[done:] if event["event"] == "suggested"]
    assert {event["protocol"] for event in new} == {"knn"}
    assert {event["uid"] for event in ledger.events[done:] if event["event"] == "assigned"} == {e["uid"] for e in new}
    assert judged(fold) == to_judge(fold, ["linear", "knn"])
    assert not evaluations.left_out(both, fold)


def test_where_a_finished_run_has_no_room_for_a_protocol_that_is_said_and_a_larger_budget_judges_without_training():
    plan, curve = small(methods=2, slots=2, trials=90)
    ledger = MemoryLedger(keep=True)
    simulate(with_protocols(plan), judging(plan, curve), ledger)
    done = len(ledger.events)
    added = with_protocols(plan, "linear")
    fold, _ = simulate(added, judging(plan, curve, seconds=0.2 * plan.share), ledger)
    assert not any(event.get("stage") not in (None, "evaluate") for event in ledger.events[done:])
    (line,) = evaluations.left_out(added, fold)
    assert "linear has judged" in line
    assert "a larger --budget continues" in line


def test_of_trainings_whose_encoder_was_not_kept_none_is_judged_and_no_time_is_kept_back_for_them():
    plan, curve = small(methods=2, slots=1, trials=90)
    plan = with_protocols(with_budget(plan, 1.1))
    whole = MemoryLedger(keep=True)
    simulate(with_protocols(plan), judging(plan, curve), whole)
    for event in whole.events:
        event.pop("facts", None) if event["event"] == "reported" else None
    added = with_protocols(plan, "linear")
    ledger = replayed(whole.events)
    fold, _ = simulate(added, judging(plan, curve), ledger)
    assert not judged(fold)
    (line,) = evaluations.left_out(added, fold)
    trainings = len(to_judge(fold, ["linear"]))
    assert line.startswith(f"no protocol judges {trainings} trainings (")
    search = Search(added, ledger, clock=lambda: 0.0)
    only_the_winners = added.experiment.seeds * 1.0  # a larger budget may have another one
    assert search.evaluations.reserve("method00", 1) == pytest.approx(only_the_winners)


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_seeds_beyond_those_asked_for_leave_time_for_what_is_to_be_judged(seconds):
    plan, _ = small(methods=1, slots=1, trials=60)
    plan = with_protocols(plan, "linear")
    plan = dataclasses.replace(
        plan, calibration={"method00": dataclasses.replace(plan.calibration["method00"], evaluation=seconds)}
    )
    ledger = MemoryLedger()
    curve = judging(plan, peak(0.5), seconds)
    first, _ = simulate(plan, curve, ledger)
    count = len(first.confirming("method00"))
    fold, _ = simulate(with_budget(plan, 1.7), curve, ledger)
    assert len(fold.confirming("method00")) > count >= 6
    assert judged(fold) == to_judge(fold, ["linear"])


def test_an_evaluation_that_memory_does_not_hold_fails_at_once():
    search = before_an_evaluation()
    uid, _ = next_trial(search)
    search.failed(uid, Failure("memory", "out of memory"))
    assert search.fold.trials[uid].state == "failed"
    assert not search.fold.halved


def test_evaluations_cost_what_calibration_says_until_one_is_measured():
    plan, _ = small(methods=1)
    costs = Costs(1.0, 0.25, 0.5, protocols={"few": 2.0})
    plan = dataclasses.replace(plan, calibration={"method00": costs}, rate=0.5)
    assert plan.evaluation("method00", "linear") == pytest.approx(0.5 * (0.25 + 0.5))
    assert plan.evaluation("method00", "few") == pytest.approx(0.5 * (2.0 + 0.5))
    paces = Search(plan, replayed([]), clock=lambda: 0.0).paces
    assert paces.evaluation("method00", "few") == pytest.approx(0.5 * (2.0 + 0.5))


def test_of_a_baseline_with_labels_few_judges_one_seed_and_no_untrained_network_is_fine_tuned():
    plan, curve = small(methods=1, slots=2, trials=120)
    plan = with_protocols(
        with_baselines(plan, "pixels", "random", "supervised"), "linear", "few", "scratch", "finetune"
    )
    fold, _ = simulate(plan, judging(plan, curve))
    counts = collections.Counter((trial.method, trial.protocol) for trial in fold.trials.values() if trial.protocol)
    seeds = plan.experiment.seeds
    assert {pair[1]: count for pair, count in counts.items() if pair[0] == "supervised"} == {
        "linear": seeds,
        "scratch": 1,
        "finetune": seeds,
    }
    assert {pair[1]: count for pair, count in counts.items() if pair[0] == "random"} == {"linear": seeds, "few": seeds}
    assert not any(method == "pixels" for method, _ in counts)
    assert not evaluations.left_out(plan, fold)


def test_no_time_is_kept_back_of_a_methods_share_for_what_judges_the_baseline_with_labels_alone():
    plan, _ = small(methods=1, trials=80)
    plan = with_baselines(plan, "supervised")
    alone, both = (
        Search(with_protocols(plan, *protocols), MemoryLedger(), clock=lambda: 0.0).evaluations
        for protocols in (("linear",), ("linear", "scratch"))
    )
    assert both.reserve("method00", 1) == alone.reserve("method00", 1) > 0
    assert both.kept_for_more("method00", ()) == alone.kept_for_more("method00", ()) > 0
