"""Stopping one trial of a run by hand, with both executors."""

import itertools
import json
import socket
import threading
from pathlib import Path

import pytest

from algorithms.training.report import EpochReport
from bench.errors import UserError
from bench.execution import stopping
from bench.execution.attempt_folder import AttemptFolder
from bench.search.events import read_events
from bench.search.fold import Fold, read
from bench.search.job import Failure
from bench.search.ledger import Ledger
from bench.search.schedulers import Full
from bench.search.search import Search
from bench.search.trials import STOPPED
from bench.search.winners import FAILURES
from tests.bench.commands.answering import answer_of, check_refusal
from tests.bench.harness import check, start, wait_for_reports
from tests.bench.search.driving import next_trial, replayed, replayed_decisions, small

METHODS = {"simclr": None, "byol": None}


def begun(folder: Path) -> Ledger:
    """The ledger of a run in which one trial runs and another is complete."""
    ledger = Ledger(folder)
    ledger.append("run", format=6, settings={"searcher": "random"}, plan={})
    about = {"budget": {"device": "cpu", "seconds": 9}, "slots": 2, "share": 1, "rate": 1.0, "facts": {}}
    ledger.append("session", number=0, **about)
    for number, uid in enumerate(("simclr-0000", "simclr-0001")):
        values = {"method": "simclr", "stage": "search", "seed": 0, "number": number, "hyperparameters": {}}
        values |= {"parameters": {}, "published": not number, "of": None, "epochs": 1, "evaluate_at": [1]}
        ledger.append("suggested", uid=uid, **values)
        ledger.append("assigned", uid=uid, attempt=1)
    report = {"epoch": 1, "loss": 1.0, "knn_200": 0.5, "seconds": 1.0}
    ledger.append("reported", uid="simclr-0000", attempt=1, report=report, held=1.0, decision="complete", reason=None)
    return ledger


def test_what_cannot_be_stopped_is_told_in_one_line_and_nothing_is_left(tmp_path):
    ledger = begun(tmp_path)

    def refusal(uid, folder=tmp_path):
        status, out, err = answer_of(["stop", str(folder), uid])
        check_refusal(status, err)
        assert out == ""
        return err

    assert "there is no trial 'simclr-9'; now run: simclr-0001" in refusal("simclr-9")
    assert "there is no trial '../../x'" in refusal("../../x")
    assert "simclr-0000 does not run: it is complete; now run: simclr-0001" in refusal("simclr-0000")
    assert "holds no run" in refusal("simclr-0001", tmp_path / "none")
    ledger.append("closed", reason="budget")
    assert "no trial of" in (told := refusal("simclr-0001"))
    assert "it has ended (budget)" in told
    ledger.append("session", **{k: v for k, v in ledger.fold.sessions[0].items() if k not in ("event", "time")})
    ledger.close()
    assert "its driver is gone; the same command continues it" in refusal("simclr-0001")
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.jsonl", "lock"}
    assert not (tmp_path / "none").exists()


def test_a_uid_that_leads_out_of_the_run_is_refused_though_a_ledger_has_it(tmp_path):
    ledger = begun(tmp_path / "run")
    values = {"method": "x", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}}
    values |= {"published": False, "of": None, "epochs": 1, "evaluate_at": [1]}
    ledger.append("suggested", uid="../../out", **values)
    ledger.append("assigned", uid="../../out", attempt=1)
    with pytest.raises(UserError, match="does not run"):
        stopping.stop(tmp_path / "run", "../../out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    ledger.close()


def test_a_driver_on_another_machine_is_not_taken_for_gone(tmp_path):
    begun(tmp_path).close()
    (tmp_path / "lock").write_text(f"process 1 on {socket.gethostname()}-not\n")
    assert "is to be stopped; its worker has not ended yet" in stopping.stop(tmp_path, "simclr-0001", patience=0.1)
    assert (tmp_path / "checkpoints" / "simclr-0001" / "attempt-1.stop").exists()


def test_a_request_ends_the_attempt_that_it_was_left_for_and_no_later_one(tmp_path):
    first, second = (AttemptFolder(tmp_path, "a", attempt) for attempt in (1, 2))
    first.path.mkdir(parents=True)
    first.note.write_text("memory\nout of memory")
    first.stop.touch()
    assert first.failure() == Failure(STOPPED, "stopped by hand; what it held stays charged to its method")
    assert second.failure() is None


def test_a_stopped_trial_is_charged_and_final_and_gives_no_method_up():
    plan, _ = small(methods=1)
    ledger = replayed([])
    search = Search(plan, ledger, clock := iter(range(10**6)).__next__)
    for _ in range(FAILURES + 3):
        uid, _ = next_trial(search)
        search.failed(uid, Failure(STOPPED, "stopped by hand"))
        trial = ledger.fold.trials[uid]
        assert (trial.state, trial.kind, trial.final) == ("failed", STOPPED, True)
        assert trial.held > 0
    assert not search.winners.only_fails(trial.method)
    assert ledger.fold.spent[trial.method] == pytest.approx(sum(each.held for each in ledger.fold.trials.values()))
    assert len(ledger.fold.trials) == FAILURES + 3
    again = Search(plan, replayed(ledger.events), clock)
    assert not again.winners.only_fails(trial.method)
    assert next_trial(again)[0] not in ledger.fold.trials
    for _ in range(FAILURES):
        search.failed(next_trial(search)[0], Failure("error", "it raised"))
    assert search.winners.only_fails(trial.method)


def test_pruning_follows_from_the_ledger_also_when_trials_were_stopped_before_and_after_milestones():
    plan, curve = small(methods=1, slots=3)
    ledger = replayed([])
    search = Search(plan, ledger, itertools.count(step=0.01).__next__)
    for number in range(12):
        uid, assignment = next_trial(search)
        trial = ledger.fold.trials[uid]
        for epoch in range(1, plan.epochs + 1):
            if number % 3 == 1 and epoch == 2 + number // 3:
                search.failed(uid, Failure(STOPPED, "stopped by hand"))
                break
            accuracy, seconds = curve(trial, epoch)
            metrics = {"knn_200": accuracy, "feature_std": 1.0}
            if not search.reported(uid, assignment.attempt, EpochReport(epoch, 1.0, metrics, seconds)):
                break
        if number == 5:  # another driver goes on
            ledger = replayed(ledger.events)
            search = Search(plan, ledger, itertools.count(10**6, step=0.01).__next__)
    kinds = [trial.kind for trial in ledger.fold.trials.values()]
    assert kinds.count(STOPPED) > 1
    decisions = replayed_decisions(ledger.events, plan)
    assert {pruned for *_, pruned, _ in decisions} == {False, True}
    assert all(pruned == should for *_, pruned, should in decisions)
    fold = Fold()
    for event in ledger.events:
        fold.apply(event)
    assert fold.spent == ledger.fold.spent


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_a_trial_is_stopped_in_the_middle_of_an_epoch_while_the_run_goes_on(executor, tmp_path):
    stopped = "any(trial.kind == 'stopped' for trial in fold.trials.values())"
    others = "sum(trial.state == 'complete' for trial in fold.trials.values()) > 2"
    trace = tmp_path / "trace"
    options = {"methods": METHODS, "epochs": 3, "seeds": 1, "executor": executor, "scheduler": "full"}
    options |= {"settings": {"seconds": 3.0, "trace": str(trace)}, "until": f"{stopped} and {others}"}
    process = start(tmp_path / "run", "9cpu-hours", **options)
    drain = threading.Thread(target=lambda: told.extend(process.communicate(timeout=240)))
    told: list[str] = []
    drain.start()
    wait_for_reports(process, tmp_path / "run", 1)
    fold = read(tmp_path / "run" / "ledger.jsonl")
    uid = next(trial.uid for trial in fold.open.values() if trial.state == "running" and trial.attempts)
    status, out, err = answer_of(["stop", str(tmp_path / "run"), uid])
    assert (status, err) == (0, "")
    assert f"{uid} is stopped at epoch" in out
    drain.join()
    assert process.returncode == 130, told
    fold = check(tmp_path / "run", trace, scheduler=Full)
    trial = fold.trials[uid]
    assert (trial.state, trial.kind, trial.attempts) == ("failed", "stopped", 1)
    assert trial.held > 0
    assert f"{uid}: failed at epoch" in told[0]
    assert "stopped by hand" in told[0]
    events = read_events(tmp_path / "run" / "ledger.jsonl")[0]
    assert [json.dumps(event) for event in events if event.get("kind") == "stopped" and event["uid"] == uid]
    assert not (tmp_path / "run" / "checkpoints" / uid).exists()
