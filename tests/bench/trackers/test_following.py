"""A tracker beside a run."""

import json
import time

import pytest

from bench.trackers import following
from tests.bench.trackers.runs import DIARY, lines, write


@pytest.fixture
def diary(tmp_path, monkeypatch):
    """The file that the tracker of `mine.py` writes."""
    (tmp_path / "mine.py").write_text(DIARY)
    monkeypatch.setenv("DIARY", str(tmp_path / "diary"))
    return tmp_path / "diary"


def entries(diary):
    return [json.loads(line) for line in diary.read_text().splitlines()] if diary.exists() else []


def test_a_tracker_that_follows_gets_what_one_gets_afterwards(diary, tmp_path, capfd):
    run, text = tmp_path / "run", lines()
    run.mkdir()
    (run / "ledger.jsonl").write_bytes(text[:5000])
    with following.followed(run, [f"{tmp_path}/mine.py:Diary"]):
        while not entries(diary):  # it has begun
            time.sleep(0.05)
        (run / "ledger.jsonl").write_bytes(text)
    live = entries(diary)
    assert (live[0][0], live[-1]) == ("begin", ["close"])
    diary.unlink()
    with following.followed(write(tmp_path / "later" / "run"), [f"{tmp_path}/mine.py:Diary"]):
        pass
    assert entries(diary) == live
    assert capfd.readouterr().err == ""


def test_a_tracker_that_fails_ends_no_run_and_is_told_in_one_line(diary, tmp_path, capfd):
    run = write(tmp_path / "run")
    with following.followed(run, [f"{tmp_path}/mine.py:Failing", f"{tmp_path}/mine.py:Diary"]):
        pass
    (told,) = capfd.readouterr().err.splitlines()
    assert told.startswith("warning: mine.py:Failing is told no more of this run (")
    assert "ssl-bench log" in told
    assert entries(diary)[-1] == ["close"]  # the other one has all


def test_a_tracker_that_does_not_end_is_left_behind(diary, tmp_path, capfd, monkeypatch):
    (tmp_path / "mine.py").write_text(DIARY + "\n\nclass Slow(Diary):\n    def close(self):\n"
                                      "        import time\n\n        time.sleep(60)\n")  # fmt: skip
    monkeypatch.setattr(following, "LAST_WORDS", 0.1)
    with following.followed(write(tmp_path / "run"), [f"{tmp_path}/mine.py:Slow"]):
        pass
    assert capfd.readouterr().err.startswith("warning: mine.py:Slow is told no more of this run")
