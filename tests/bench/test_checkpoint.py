"""Checkpoints: what is written comes back, what is damaged is refused in a line, and how often they are written."""

import contextlib
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import checkpoint
from bench.errors import UserError

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


def test_a_checkpoint_that_cannot_be_written_leaves_the_former_one(path, monkeypatch):
    checkpoint.write(path, CONTENT)

    def full(content, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.Checkpoint(path).write_if_due(lambda: CONTENT)
    monkeypatch.undo()
    assert checkpoint.read(path)["epoch"] == 3
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
