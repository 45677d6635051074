"""Checkpoints: what is written comes back, what is damaged is refused in a line, and how often they are written."""

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.execution import checkpoint
from bench.files import write_atomically

ROOT = Path(__file__).resolve().parents[3]
CONTENT = {"epoch": 3, "reports": [{"loss": 0.5, "knn_200": None}], "state": {"weight": torch.arange(2000.0)}}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("checkpoints") / "attempt-1.pt"


def test_what_is_written_comes_back(path):
    checkpoint.write(path, CONTENT)
    found = checkpoint.read(path)
    assert torch.equal(found["state"].pop("weight"), CONTENT["state"]["weight"])
    assert found == CONTENT | {"state": {}}


@settings(max_examples=300)
@given(
    cut=st.just(0) | st.integers(1, 10_000),
    changes=st.lists(st.tuples(st.integers(-1500, 1500), st.integers(0, 255)), max_size=20),
)
def test_no_damage_to_a_file_raises_anything_but_a_users_error(path, cut, changes):
    checkpoint.write(path, CONTENT)
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[place] = byte  # near either end, where the tensors are not
    path.write_bytes(content[: max(0, len(content) - cut)])
    with contextlib.suppress(UserError):
        checkpoint.read(path)


def test_a_file_that_would_run_code_is_refused_and_runs_none(path, tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path.write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(UserError, match=f"{path} is damaged; remove it, or begin anew with --fresh"):
        checkpoint.read(path)
    assert not (tmp_path / "ran").exists()


def test_writing_takes_at_most_its_part_of_the_time(path, monkeypatch):
    clock, written = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])

    def write(path, content):
        written.append(content["epoch"])
        clock[0] += 1.0

    monkeypatch.setattr(checkpoint, "write", write)
    keeper = checkpoint.Checkpoint(path)
    for epoch in range(1, 121):
        clock[0] += 1.0
        keeper.write_if_due(lambda epoch=epoch: {"epoch": epoch})
    assert written == [1, 51, 101]  # a second of writing after each fifty of training


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from bench.execution import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoint.write(Path(sys.argv[1]), {"epoch": 4, "weight": torch.zeros(int(sys.argv[2]))})
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [6_000, 1_000_000])
def test_a_checkpoint_that_cannot_be_written_whole_is_an_error_of_the_disk_and_the_former_one_stands(tmp_path, size):
    path = tmp_path / "attempt-1.pt"
    checkpoint.write(path, CONTENT)
    words = [sys.executable, "-c", LIMITED, str(path), str(size)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("File too large\n", "")
    assert checkpoint.read(path)["epoch"] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_what_went_wrong_first_is_told_though_the_rest_cannot_be_removed(tmp_path, monkeypatch):
    def gone(path):
        raise FileNotFoundError(2, "No such file or directory", path)

    def fill(file):
        raise ValueError("three is too many")

    monkeypatch.setattr(os, "unlink", gone)
    with pytest.raises(ValueError, match="three is too many"):
        write_atomically(tmp_path / "file", fill)
