"""Worker processes: what stays in them from trial to trial, and when they end themselves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SEQUENCE = """
import json, sys
from pathlib import Path
from bench.execution.attempt import Attempt
from bench.execution.factory import Trainers
from tests.bench.execution.test_attempt import TINY, assignment, content, steps
trainers = Trainers(TINY, {})
trainers.prepare()
told = []
for text in sys.argv[2:]:
    one = json.loads(text)
    told.append(content(steps(Attempt(assignment(**one), trainers, Path(sys.argv[1])), 3)))
print(json.dumps(told[-1]))
"""


def run_in_one_process(folder, *trials):
    command = [sys.executable, "-c", SEQUENCE, str(folder), *map(json.dumps, trials)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_trial_in_a_used_worker_gives_bit_identical_results_to_one_in_a_fresh_worker(tmp_path):
    last = {"uid": "last", "learning_rate": 0.3}
    before = [
        {"uid": "one", "learning_rate": 0.1, "leaves": "dtype"},
        {"uid": "two", "learning_rate": 0.9, "leaves": "random"},
        {"uid": "three", "learning_rate": 0.5, "leaves": "backends"},
    ]
    fresh = run_in_one_process(tmp_path / "fresh", last)
    used = run_in_one_process(tmp_path / "used", *before, last)
    assert used == fresh
    assert fresh[0]["loss"] != fresh[-1]["loss"]
    assert run_in_one_process(tmp_path / "other", {"uid": "last", "learning_rate": 0.31}) != fresh


WAIT = """
import json, sys, time
from bench import machine
from bench.execution.worker import Worker
from tests.bench.execution.test_attempt import FAKE, assignment
Worker(FAKE, {}, sys.argv[1], sys.argv[2] or machine.name(), json.dumps(assignment().to_json()))
print("set up", flush=True)
time.sleep(float(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("driver", "seconds", "status"), [("", 60, 1), ("another machine", 1, 0)])
def test_a_lock_that_nobody_holds_ends_workers_on_the_drivers_machine_only(tmp_path, driver, seconds, status):
    """Many shared file systems keep a lock on the node that took it: elsewhere it is free though the driver lives."""
    (tmp_path / "lock").touch()
    command = [sys.executable, "-c", WAIT, str(tmp_path), driver, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert status or done.stdout == "set up\n"
    assert (tmp_path / "checkpoints" / "a" / "attempt-1.alive").exists()
