"""A disk that is full, or fills: trials go on, and ledger and results stay whole."""

import contextlib
import math
import os
import shutil
import subprocess

import pytest

from bench.errors import UserError
from bench.execution import checkpoint
from bench.execution.attempt import Attempt
from bench.execution.factory import Trainers
from bench.files import write_atomically
from bench.search.events import read_events
from bench.search.ledger import Ledger
from tests.bench.execution.test_attempt import FAKE, TINY, assignment


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
    assert [report.epoch for answer in answers for report in answer.reports] == [1, 2, 3, 4, 5]
    assert "No space left" in answers[0].warning
    assert len({answer.warning for answer in answers}) == 1  # the driver tells it once
    assert not (full_disk / "checkpoints").exists()
    for path in full_disk.iterdir():
        path.unlink()
    again = Attempt(assignment(attempt=2, known=5), Trainers(TINY, {"ballast": 300_000}), full_disk)
    assert again.step().warning is None


@pytest.mark.parametrize("leave", [0, 4096, 200_000])
def test_a_disk_that_fills_while_a_trial_runs_costs_its_checkpoints_only(full_disk, monkeypatch, leave):
    monkeypatch.setattr(checkpoint, "PART", math.inf)
    attempt = Attempt(assignment(), Trainers(TINY, {"ballast": 300_000}), full_disk)
    answers = [attempt.step()]
    assert answers[0].warning is None
    fill(full_disk, leave)
    answers += [attempt.step() for _ in range(4)]
    assert [report.epoch for answer in answers for report in answer.reports] == [1, 2, 3, 4, 5]
    assert all("No space left" in answer.warning for answer in answers[1:])
    assert {path.name for path in attempt.folder.path.iterdir()} == {"attempt-1.note", "attempt-1.pt"}  # nothing torn
    assert checkpoint.read(attempt.folder.checkpoint)["epoch"] == 1


def test_where_nothing_can_be_written_a_trial_goes_on_and_the_warning_names_the_folder(tmp_path):
    (tmp_path / "checkpoints").touch()
    attempt = Attempt(assignment(), Trainers(FAKE, {"seconds": 0.0}), tmp_path)
    answers = [attempt.step() for _ in range(5)]
    assert [report.epoch for answer in answers for report in answer.reports] == [1, 2, 3, 4, 5]
    assert answers[0].warning == f"no checkpoint can be written to {tmp_path / 'checkpoints'}: Not a directory"


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
