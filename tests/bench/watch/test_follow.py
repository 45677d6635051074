"""A ledger that is followed is known as one that is read whole."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search.fold import read
from bench.watch import follow
from bench.watch.follow import Follower

LEDGER = Path(__file__).resolve().parents[1] / "search" / "interrupted.jsonl"
CONTENT = LEDGER.read_bytes()
EVENTS = CONTENT.count(b"\n")


def same(one, other):
    return vars(one) == vars(other)


@given(st.lists(st.integers(0, len(CONTENT)), max_size=12))
def test_however_it_grows_the_state_is_that_of_its_whole_lines(cuts):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        follower = Follower(path)
        assert not follower.look()
        for cut in [*sorted(cuts), len(CONTENT)]:
            path.write_bytes(CONTENT[:cut])
            follower.look()
            assert same(follower.fold, read(path))
            assert follower.error is None
        assert not follower.look()
        assert follower.format == 5


def test_a_line_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    lines = CONTENT.splitlines(keepends=True)
    follower, begins = Follower(path), []
    plain = follow.read_events
    monkeypatch.setattr(follow, "read_events", lambda path, begin=0: begins.append(begin) or plain(path, begin))
    for number in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:number]))
        assert follower.look()
    assert begins == [len(b"".join(lines[:number])) for number in range(len(lines))]


@pytest.mark.parametrize("torn", [b'{"event":"hel', b"\0\0\0", b'{"event":\n', b"\n\0\n"])
def test_what_a_power_cut_left_is_passed_over_and_the_run_goes_on(torn, tmp_path):
    path = tmp_path / "ledger.jsonl"
    follower, half = Follower(path), CONTENT.index(b"\n", len(CONTENT) // 2) + 1
    path.write_bytes(CONTENT[:half] + torn)
    assert follower.look()
    assert follower.error is None
    path.write_bytes(CONTENT)  # as the next driver does: it cuts what is torn
    follower.look()
    assert same(follower.fold, read(path))
    assert follower.error is None


def test_a_file_that_another_has_replaced_is_read_anew(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(CONTENT)
    follower = Follower(path)
    assert follower.look()
    os.replace(path, tmp_path / "ledger.previous-1.jsonl")
    first = CONTENT[: CONTENT.index(b"\n") + 1]
    path.write_bytes(first)
    assert follower.look()
    assert follower.fold.trials == {}
    path.unlink()
    assert follower.look()
    assert follower.fold.settings == {}
    assert not follower.look()


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (CONTENT.replace(b'{"event":"session"', b'{"evnt', 1), "line 2 is damaged"),
        (CONTENT.replace(b'"uid"', b'"uod"', 1), "is no event of a run"),
        (CONTENT.replace(b'"format":5', b'"format":99', 1), "has format 99"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line_and_mended_files_are_read(spoilt, said, tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(spoilt)
    follower = Follower(path)
    assert follower.look()
    assert said in follower.error
    assert "\n" not in follower.error
    assert not follower.look()
    path.write_bytes(CONTENT)
    assert follower.look()
    assert follower.error is None
    assert same(follower.fold, read(path))
