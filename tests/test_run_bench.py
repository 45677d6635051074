"""The command as a user calls it, in processes of its own: one whole run, which all tests here look at."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from bench.search.events import read_events
from bench.search.fold import Fold, read
from tests.bench.class_folders import class_folders
from tests.hostile import hostile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("simclr", "moco")
BUDGET = ["--budget", "20cpu-minutes"]


def command(run_dir: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_bench.py"), "--run-dir", str(run_dir), *words],
        capture_output=True,
        text=True,
        cwd=run_dir.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=400,
        check=False,
    )


def test_a_searcher_in_the_working_directory_is_found_and_nothing_else_there_is_taken_for_a_module(tmp_path: Path):
    for name in ("bench/__init__.py", "queue.py", "profile.py", "mine.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'raise RuntimeError("{name} was imported")')
    done = command(tmp_path / "run", *BUDGET, "--searcher", "mine:process")
    assert done.returncode == 2
    assert re.search(r"mine:process.*RuntimeError: mine.py was imported", done.stderr)


def held_by_the_clock(events: list[dict]) -> float:
    """Device-seconds in which trials had slots, by the times of the ledger's events: one slot is one core."""
    since, total = {}, 0.0
    for event in events:
        if event["event"] == "assigned":
            since[event["uid"]] = event["time"]
        elif event["event"] in ("lost", "cut", "failed") or event.get("decision", "continue") != "continue":
            total += event["time"] - since.pop(event["uid"])
    assert not since, "a trial that was given out has never ended"
    return total


@dataclass
class Ran:
    """Two methods on a user's own images with a user's own searcher, from another folder: a dry run, then a run, then
    the same command again."""

    folder: Path
    words: list[str]
    seconds: int
    """The budget."""
    planned: subprocess.CompletedProcess[str]
    left_by_the_plan: list[str]
    first: subprocess.CompletedProcess[str]
    fold: Fold
    """After the run."""
    events: list[dict]
    again: subprocess.CompletedProcess[str]
    after: Fold
    """After the same command."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    folder = tmp_path_factory.mktemp("ran")
    hostile(folder)  # neither the calibration's process nor a worker is to import what lies there
    own, run_dir = class_folders(folder / "images", [16]), folder / "run"
    words = [
        "--methods",
        ",".join(METHODS),
        "--epochs",
        "2",
        "--dataset",
        str(own),
        "--seeds",
        "2",
        "--searcher",
        "mine:find",
    ]
    planned = command(run_dir, *words, "--budget", "9cpu-hours", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    left = [path.name for path in run_dir.iterdir()]
    for seconds in (45, 90, 180, 360):  # where the machine is busy, the same run goes on with a larger budget
        budget = ["--budget", f"{seconds}cpu-seconds"]
        first = command(run_dir, *words, *budget)
        if first.returncode == 2 and "would do" in first.stderr:
            continue
        assert first.returncode == 0, first.stderr
        fold = read(run_dir / "ledger.jsonl")
        published = {method: list(fold.of(method, "published")) for method in METHODS}
        if all(any(trial.state == "complete" for trial in found) for found in published.values()):
            break
    events, _ = read_events(run_dir / "ledger.jsonl")
    again = command(run_dir, *words, *budget)
    after = read(run_dir / "ledger.jsonl")
    return Ran(run_dir, [*words, *budget], seconds, planned, left, first, fold, events, again, after)


def test_a_dry_run_prints_the_plan_and_leaves_its_calibration(ran: Ran):
    assert "s/epoch" in ran.planned.stdout
    assert ran.left_by_the_plan == ["calibration.json"]


def test_a_run_leaves_parquet_table_and_report(ran: Ran):
    assert "Plan: 2 methods" in ran.first.stdout
    assert str(ran.folder / "report.html") in ran.first.stdout
    trials, epochs = pd.read_parquet(ran.folder / "trials.parquet"), pd.read_parquet(ran.folder / "epochs.parquet")
    complete = trials[trials.state == "complete"]
    assert set(complete.stage) >= {"search", "published", "baseline"}
    assert set(complete[complete.stage == "baseline"].method) == {"pixels", "random", "supervised"}
    for method in METHODS:
        confirmed = complete[(complete.method == method) & complete.stage.isin(["confirm", "published"])]
        # A machine that slows down in the middle confirms with fewer seeds: time must not decide a test.
        assert confirmed.groupby("stage").size().ge(1).all()
        assert "published" in set(confirmed.stage)
        assert confirmed.test_knn_200.between(0, 1).all()
        recipe = complete[(complete.method == method) & (complete.stage == "search") & complete.published_recipe]
        assert len(recipe) == 1
    assert complete[complete.stage == "search"].test_knn_200.isna().all(), "search has met the test images"
    assert set(epochs.uid) <= set(trials.uid)
    for name in ("table.md", "table.csv", "report.html", "plotly.min.js"):
        assert (ran.folder / name).stat().st_size > 100


def test_a_run_leaves_no_readme_behind_and_says_with_which_command_it_was_made(ran: Ran):
    assert not list(ran.folder.parent.rglob("README*"))
    told = ran.after.sessions[-1]["facts"]["command"]
    assert told.startswith("run_bench.py --run-dir ")
    assert told.endswith(f"--budget {ran.seconds}cpu-seconds")


def test_all_that_trials_held_is_charged_and_nothing_else(ran: Ran):
    """The budget holds to what passes between two looks at the clock."""
    fold, events = ran.fold, ran.events
    held = held_by_the_clock(events)
    assert fold.plan["calibration_seconds"] > 0
    assert fold.charged - fold.plan["calibration_seconds"] == pytest.approx(held, rel=0.05)
    for trial in fold.trials.values():
        trained = sum(report.seconds + report.evaluation_seconds for report in trial.reports.values())
        assert trained <= trial.held * 1.001
    began = max(place for place, event in enumerate(events) if event["event"] == "session")
    longest = max(after["time"] - before["time"] for before, after in pairwise(events[began:]))
    assert fold.charged <= ran.seconds + longest * fold.sessions[-1]["slots"]


def test_the_same_command_again_repeats_nothing(ran: Ran):
    assert ran.again.returncode == 0, ran.again.stderr
    assert ran.after.trials.keys() >= ran.fold.trials.keys()
    for uid, trial in ran.fold.trials.items():
        if trial.state == "complete":
            assert ran.after.trials[uid].reports == trial.reports


def test_another_encoder_is_another_run(ran: Ran):
    done = command(ran.folder, *ran.words, "--encoder", "vit_tiny")
    assert done.returncode == 2
    assert "--fresh" in done.stderr
