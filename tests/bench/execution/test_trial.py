"""What a worker does, without Ray: attempts in this process or in a bare one."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.errors import UserError
from bench.execution import checkpoint, tune
from bench.execution.trial import Attempt, Trainers, describe_error, kind_of_error, spoils_the_process
from bench.files import write_atomically
from bench.search.job import Assignment, Job
from bench.search.ledger import Ledger, read_events

ROOT = Path(__file__).resolve().parents[3]
FAKE = "tests.bench.fake_trainer:Fake"
TINY = "tests.bench.fake_trainer:Tiny"


def assignment(uid="a", attempt=1, known=0, epochs=5, limit=60.0, **hyperparameters):
    job = Job(uid, "m", "search", 7, hyperparameters, epochs, tuple(range(1, epochs + 1)))
    return Assignment(job, attempt, known, limit)


def steps(attempt, count):
    return [report for _ in range(count) for report in attempt.step()["reports"]]


def content(reports):
    timing = ("seconds", "evaluation_seconds", "images_per_second")
    return [{k: v for k, v in report.items() if k not in timing} for report in reports]


@pytest.mark.parametrize("factory", [FAKE, TINY])
def test_an_attempt_continues_the_one_before_it_exactly(tmp_path, monkeypatch, factory):
    settings = {"seconds": 0.0}
    whole = steps(Attempt(assignment("whole"), Trainers(factory, settings), tmp_path), 5)
    first = Attempt(assignment("a"), Trainers(factory, settings), tmp_path)
    told = steps(first, 1)
    monkeypatch.setattr(checkpoint, "PART", math.inf)  # a checkpoint each epoch
    untold = steps(first, 2)
    second = Attempt(assignment("a", attempt=2, known=1), Trainers(factory, settings), tmp_path)
    again = second.step()["reports"]
    assert content(again) == content(untold)[: len(again)]
    assert again[0]["epoch"] == 2
    rest = steps(second, 5 - again[-1]["epoch"])
    assert content(told + again + rest) == content(whole)


def test_epochs_that_the_ledger_has_are_trained_again_but_not_told_again(tmp_path):
    settings = {"seconds": 0.0}
    whole = steps(Attempt(assignment("whole"), Trainers(TINY, settings), tmp_path), 5)
    lost = Attempt(assignment("a", attempt=2, known=3), Trainers(TINY, settings), tmp_path)  # no checkpoint is left
    assert [report["epoch"] for report in steps(lost, 4)] == [4]
    assert content(steps(lost, 1)) == content(whole[4:])


def test_a_damaged_checkpoint_costs_the_epochs_since_the_one_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART", math.inf)
    whole = steps(Attempt(assignment("whole"), Trainers(TINY, {}), tmp_path), 5)
    steps(Attempt(assignment("a"), Trainers(TINY, {}), tmp_path), 2)
    told = steps(Attempt(assignment("a", attempt=2), Trainers(TINY, {}), tmp_path), 2)
    path = tmp_path / "checkpoints" / "a" / "attempt-2.pt"
    path.write_bytes(path.read_bytes()[:-100])
    third = Attempt(assignment("a", attempt=3, known=3), Trainers(TINY, {}), tmp_path)
    assert third._newest()["epoch"] == 2
    assert content(told + steps(third, 3)) == content(whole)


def test_a_zombie_with_an_old_attempt_number_spoils_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART", math.inf)
    settings = {"seconds": 0.0}
    whole = steps(Attempt(assignment("whole"), Trainers(FAKE, settings), tmp_path), 5)
    zombie = Attempt(assignment("a"), Trainers(FAKE, settings), tmp_path)
    told = steps(zombie, 2)
    alive = Attempt(assignment("a", attempt=2, known=2), Trainers(FAKE, settings), tmp_path)
    found = []
    for _ in range(4):  # they take turns, and the zombie is ahead
        steps(zombie, 1) if zombie._reports[-1]["epoch"] < 5 else None
        found += alive.step()["reports"] if (found or told)[-1]["epoch"] < 5 else []
    assert content(told + found) == content(whole)
    files = {path.name: torch.load(path, weights_only=True) for path in (tmp_path / "checkpoints" / "a").glob("*.pt")}
    assert sorted(files) == ["attempt-1.pt", "attempt-2.pt"]
    third = Attempt(assignment("a", attempt=3), Trainers(FAKE, settings), tmp_path)
    assert third._newest()["epoch"] == files["attempt-2.pt"]["epoch"]


SEQUENCE = """
import json, sys
from pathlib import Path
from bench.execution import trial
from tests.bench.execution.test_trial import TINY, assignment, content, steps
trainers = trial.Trainers(TINY, {})
trainers.prepare()
told = []
for text in sys.argv[2:]:
    one = json.loads(text)
    told.append(content(steps(trial.Attempt(assignment(**one), trainers, Path(sys.argv[1])), 3)))
print(json.dumps(told[-1]))
"""


def run_in_one_process(folder, *trials):
    command = [sys.executable, "-c", SEQUENCE, str(folder), *map(json.dumps, trials)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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


def test_an_error_of_the_trainer_is_told_in_a_line_with_its_place(tmp_path):
    attempt = Attempt(assignment(fault="exception"), Trainers(FAKE, {"seconds": 0.0}), tmp_path)
    steps(attempt, 2)
    answer = attempt.step()
    reason = answer["failed"]["text"]
    assert answer["failed"]["kind"] == "error"
    assert reason.startswith("ValueError: three is too many (fake_trainer.py:")
    assert "\n" not in reason


def test_a_factory_that_cannot_be_imported_fails_the_trial(tmp_path):
    answer = Attempt(assignment(), Trainers("no_such_module:factory", {}), tmp_path).step()
    assert answer["failed"]["text"].startswith("ModuleNotFoundError")


def test_a_trainer_that_ends_early_fails_the_trial(tmp_path):
    attempt = Attempt(assignment(epochs=2), Trainers(FAKE, {"seconds": 0.0}), tmp_path)
    steps(attempt, 2)
    assert attempt.step()["failed"]["text"] == "the trainer ended before epoch 2"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (MemoryError("out of memory"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), "error"),
        (ValueError("three is too many"), "error"),
    ],
)
def test_only_memory_and_device_errors_cost_the_worker(error, kind):
    assert kind_of_error(error) == kind
    assert spoils_the_process(error) == (kind != "error")


def test_running_out_of_memory_is_called_that_whatever_the_error():
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")):
        with pytest.raises(type(error)) as caught:
            raise error
        assert describe_error(caught.value).startswith("out of memory")


@pytest.fixture
def full_disk(tmp_path):
    """A file system of one megabyte and sixteen files."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=16", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("test of a full disk: this user may not mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place, leave=0):
    with open(place / "filler", "wb") as file:
        try:
            while True:
                os.write(file.fileno(), b"0" * 4096)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))


def test_a_trial_goes_on_without_checkpoints_on_a_full_disk_and_warns(full_disk):
    fill(full_disk)
    with contextlib.suppress(OSError):
        for number in range(16):  # neither a file nor a folder can be made
            (full_disk / f"filler-{number}").touch()
    attempt = Attempt(assignment(), Trainers(TINY, {"ballast": 300_000}), full_disk)
    answers = [attempt.step() for _ in range(5)]
    assert [report["epoch"] for answer in answers for report in answer["reports"]] == [1, 2, 3, 4, 5]
    assert "No space left" in answers[0]["warning"]
    assert len({answer["warning"] for answer in answers}) == 1  # the driver tells it once
    assert not (full_disk / "checkpoints").exists()
    for path in full_disk.iterdir():
        path.unlink()
    again = Attempt(assignment(attempt=2, known=5), Trainers(TINY, {"ballast": 300_000}), full_disk)
    assert "warning" not in again.step()


@pytest.mark.parametrize("leave", [0, 4096, 200_000])
def test_a_disk_that_fills_while_a_trial_runs_costs_its_checkpoints_only(full_disk, monkeypatch, leave):
    monkeypatch.setattr(checkpoint, "PART", math.inf)
    attempt = Attempt(assignment(), Trainers(TINY, {"ballast": 300_000}), full_disk)
    answers = [attempt.step()]
    assert "warning" not in answers[0]
    fill(full_disk, leave)
    answers += [attempt.step() for _ in range(4)]
    assert [report["epoch"] for answer in answers for report in answer["reports"]] == [1, 2, 3, 4, 5]
    assert all("No space left" in answer["warning"] for answer in answers[1:])
    assert {path.name for path in attempt.folder.iterdir()} == {"attempt-1.note", "attempt-1.pt"}  # nothing torn
    assert checkpoint.read(attempt.folder / "attempt-1.pt")["epoch"] == 1


def test_where_nothing_can_be_written_a_trial_goes_on_and_the_warning_names_the_folder(tmp_path):
    (tmp_path / "checkpoints").touch()
    attempt = Attempt(assignment(), Trainers(FAKE, {"seconds": 0.0}), tmp_path)
    answers = [attempt.step() for _ in range(5)]
    assert [report["epoch"] for answer in answers for report in answer["reports"]] == [1, 2, 3, 4, 5]
    assert answers[0]["warning"] == f"no checkpoint can be written to {tmp_path / 'checkpoints'}: Not a directory"


def append_until_full(ledger):
    for _ in range(200):
        ledger.append("held", held={}, padding="x" * 100)


def test_a_full_disk_leaves_ledger_and_results_whole(full_disk):
    write_atomically(full_disk / "trials.parquet", b"old" * 1000)
    ledger = Ledger(full_disk)
    ledger.append("run", format=1, settings={}, plan={})
    fill(full_disk, leave=4096)
    with pytest.raises(UserError, match=r"No space left.*it continues") as error:
        append_until_full(ledger)
    assert "\n" not in str(error.value)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(full_disk / "trials.parquet", b"new" * 100_000)
    assert (full_disk / "trials.parquet").read_bytes() == b"old" * 1000
    events, size = read_events(ledger.path)
    assert size == ledger.path.stat().st_size
    os.unlink(full_disk / "filler")
    ledger.append("closed", reason="done")
    assert read_events(ledger.path)[0][:-1] == events
    ledger.close()
    left = {path.name for path in full_disk.iterdir()}
    assert left == {"trials.parquet", "ledger.jsonl", "lock"}


def test_the_time_of_a_killed_drivers_attempt_is_read_and_its_absence_is_nothing(tmp_path):
    folder = tmp_path / "checkpoints" / "a"
    folder.mkdir(parents=True)
    assert tune._elapsed(tmp_path, "a", 1) == 0.0
    (folder / "attempt-1.elapsed").write_text("12.5")
    assert tune._elapsed(tmp_path, "a", 1) == 12.5
    (folder / "attempt-1.elapsed").write_text("")
    assert tune._elapsed(tmp_path, "a", 1) == 0.0


def test_an_attempt_whose_driver_died_is_charged_at_the_rate_of_its_own_session(tmp_path):
    ledger = Ledger(tmp_path)
    trial = {"method": "byol", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}}
    session = {"budget": {"device": "gpu", "seconds": 9}, "slots": 2, "share": 1, "facts": {}}
    ledger.append("run", format=1, settings={}, plan={})
    ledger.append("session", number=0, rate=0.5, **session)
    ledger.append("suggested", uid="a", published=True, of=None, epochs=1, evaluate_at=[1], **trial)
    ledger.append("assigned", uid="a", attempt=1)
    ledger.append("started", uid="a", held=0.0, startup=0.0)
    (tmp_path / "checkpoints" / "a").mkdir(parents=True)
    (tmp_path / "checkpoints" / "a" / "attempt-1.elapsed").write_text("100")
    tune._settle(ledger, tmp_path)
    ledger.append("session", number=1, rate=1.0, **session)
    assert ledger.fold.trials["a"].held == 50.0
    assert ledger.fold.trials["a"].state == "cut"
    ledger.close()


WAIT = """
import sys, time
from pathlib import Path
from bench.execution import tune
from tests.bench.execution.test_trial import FAKE, assignment, json
worker = tune._Worker.__new__(tune._Worker)
worker.setup({"assignment": json.dumps(assignment().to_json())}, FAKE, {}, sys.argv[1], sys.argv[2] or tune._machine())
print("set up", flush=True)
time.sleep(float(sys.argv[3]))
"""


@pytest.mark.parametrize(("driver", "seconds", "status"), [("", 60, 1), ("another machine", 1, 0)])
def test_a_lock_that_nobody_holds_ends_workers_on_the_drivers_machine_only(tmp_path, driver, seconds, status):
    """Many shared file systems keep a lock on the node that took it: elsewhere it is free though the driver lives."""
    (tmp_path / "lock").touch()
    command = [sys.executable, "-c", WAIT, str(tmp_path), driver, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert status or done.stdout == "set up\n"
    assert (tmp_path / "checkpoints" / "a" / "attempt-1.alive").exists()
