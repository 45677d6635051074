"""Whole runs of a fake trainer, whose workers are plain processes."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from bench.search.events import read_events
from bench.search.fold import Fold, read
from bench.search.schedulers import Full
from tests.bench.harness import ROOT, check, drive, signs, start

pytestmark = pytest.mark.slow

METHODS = {"simclr": None, "byol": None}


def kinds(events):
    return Counter(event["event"] for event in events)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run, then the same command again, then with a larger budget."""
    for seconds in (24, 54, 108, 216, 432):  # on a busy machine the workers' start alone takes a small budget
        folder = tmp_path_factory.mktemp("run")
        trace, results = folder / "trace", folder / "results.json"
        options = {
            "methods": METHODS,
            "settings": {"seconds": 0.1, "trace": str(trace)},
            "epochs": 4,
            "seeds": 2,
            "baselines": ["pixels", "random"],
            "results": str(results),
        }
        first = drive(folder / "run", f"{seconds}cpu-seconds", timeout=600, **options)
        if "closed: done" in first.stdout:
            break
    events = [read_events(folder / "run" / "ledger.jsonl")[0]]
    again = drive(folder / "run", f"{seconds}cpu-seconds", **options)
    events.append(read_events(folder / "run" / "ledger.jsonl")[0])
    told = signs(trace)
    for more in (seconds * 7 // 5, seconds * 3, seconds * 9):
        larger = drive(folder / "run", f"{more}cpu-seconds", timeout=900, **options)
        if kinds(read_events(folder / "run" / "ledger.jsonl")[0])["suggested"] > kinds(events[-1])["suggested"]:
            break
    return {
        "folder": folder,
        "first": first,
        "again": again,
        "larger": larger,
        "events": events,
        "workers": len({sign["pid"] for sign in told}),
        "niceness": {sign["niceness"] for sign in told},
        "budgets": (seconds, more),
    }


def test_a_run_ends_well_and_its_ledger_is_consistent(run):
    for name in ("first", "again", "larger"):
        assert run[name].returncode == 0, run[name].stdout + run[name].stderr
    check(run["folder"] / "run", run["folder"] / "trace", run["events"])


def test_every_method_is_searched_and_confirmed_and_baselines_are_there(run):
    fold = read(run["folder"] / "run" / "ledger.jsonl")
    for method in METHODS:
        assert fold.winner(method) is not None
        assert len(list(fold.of(method, "search"))) > 3
        complete = [trial.number for trial in fold.confirming(method) if trial.state == "complete"]
        assert {0, 1} <= set(complete)  # and more seeds, where the larger budget has room for them
    assert {t.uid for t in fold.trials.values() if t.stage == "baseline"} == {"pixels-s1", "random-s1", "random-s2"}
    trial = fold.trials["byol-0000"]
    assert trial.facts == {"encoder_parameters": 1000, "own_encoder": False, "device": "cpu"}


def test_the_budget_is_kept(run):
    last = read_events(run["folder"] / "run" / "ledger.jsonl")[0]
    for budget, events in zip(run["budgets"], (run["events"][0], last), strict=True):
        fold = Fold()
        for event in events:
            fold.apply(event)
        assert fold.charged <= budget + max(0.02 * budget, 2 * 0.1 * 3)


def test_workers_are_kept_from_trial_to_trial(run):
    assert run["workers"] == 2


def test_workers_run_with_the_priority_of_the_command(run):
    assert run["niceness"] == {os.nice(0)}


def test_the_same_command_on_a_finished_run_starts_no_worker(run):
    before, after = run["events"]
    assert [event["event"] for event in after[len(before) :]] in (["session", "closed"], ["session"])


def test_a_larger_budget_continues_the_run(run):
    events = read_events(run["folder"] / "run" / "ledger.jsonl")[0]
    assert kinds(events)["suggested"] > kinds(run["events"][1])["suggested"]


def test_progress_and_ends_of_trials_are_told(run):
    out = run["first"].stdout
    assert "byol-0000: complete at epoch 4 of 4" in out
    assert f" of {run['budgets'][0] / 60:.1f} cpu-min (" in out
    assert "best " in out
    assert not run["first"].stderr.strip(), run["first"].stderr


def test_results_are_written_while_it_runs_and_checkpoints_of_ended_trials_are_gone(run):
    assert json.loads((run["folder"] / "results.json").read_text())["byol"] > 0
    fold = read(run["folder"] / "run" / "ledger.jsonl")
    left = {path.name for path in (run["folder"] / "run" / "checkpoints").iterdir()}
    assert left <= set(fold.open)


def test_a_run_in_which_every_trial_fails_ends_by_itself_and_says_why(tmp_path):
    options = {"methods": METHODS, "factory": "tests.bench.fake_trainer:Broken", "baselines": ["random"], "seeds": 1}
    done = drive(tmp_path / "run", "9cpu-hours", epochs=4, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "closed: done" in done.stdout
    fold = check(tmp_path / "run")
    assert fold.given_up.keys() == METHODS.keys()
    assert {(trial.state, trial.kind) for trial in fold.trials.values()} == {("failed", "error")}
    assert fold.charged < 600
    for method in METHODS:
        assert f"{method} is given up: " in done.stdout
    assert re.search(r"The run ends: all 2 methods .*RecursionError: too deep \(fake_trainer.py:\d+\)", done.stdout)


def test_a_method_whose_batch_memory_does_not_hold_goes_on_with_half_of_it_in_the_same_run(tmp_path):
    went_on = "any(trial.attempts == 2 and trial.state == 'complete' for trial in fold.of('large', 'search'))"
    options = {"methods": {"large": "batch"}, "epochs": 2, "seeds": 1, "scheduler": "full", "until": went_on}
    done = drive(tmp_path / "run", "9cpu-hours", **options)
    assert done.returncode == 130, done.stdout + done.stderr
    fold = check(tmp_path / "run", scheduler=Full)
    published, *others = [trial for trial in fold.of("large", "search") if trial.final]
    assert (published.halved, published.state, published.attempts) == (False, "complete", 1)  # it has no fault
    assert {(trial.halved, trial.state) for trial in others} == {(True, "complete")}
    assert 2 in {trial.attempts for trial in others}
    told = re.findall(r"(large-\d+): cut at epoch 0 of 2, search, .*\(out of memory: CUDA out of memory", done.stdout)
    assert {trial.uid for trial in others if trial.attempts == 2} <= set(told)
    warning = "warning: memory does not hold a whole batch of large; its trials go on with half of it"
    assert done.stdout.count(warning) == 1


def test_the_parts_that_need_no_worker_import_neither_ray_nor_torch():
    modules = "bench.search.search, bench.search.plan, bench.search.simulate, bench.execution.driver"
    modules += ", bench.execution.processes, bench.execution.calibration"
    code = f"import sys, {modules}; print([m for m in ('ray', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_workers_and_calibration_import_nothing_of_the_folder_in_which_the_command_was_given(tmp_path):
    here = tmp_path / "here"
    for name in ("bench", "algorithms"):
        (here / name).mkdir(parents=True)
    for name in ("bench/__init__.py", "algorithms/__init__.py", "queue.py", "profile.py", "json.py"):
        (here / name).write_text('raise SystemExit("a file of the user was imported")')
    environment = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    options = {"methods": METHODS, "epochs": 2, "seeds": 1, "settings": {"seconds": 0.05}}
    options["until"] = "sum(trial.final for trial in fold.trials.values()) > 2"
    process = start(tmp_path / "run", "9cpu-hours", cwd=here, environment=environment, **options)
    out, error = process.communicate(timeout=240)
    assert process.returncode == 130, out + error
    assert error == ""
    assert check(tmp_path / "run").closed == "interrupted"
