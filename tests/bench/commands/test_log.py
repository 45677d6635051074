"""`ssl-bench log`, and `run --log-to`."""

import json

import pytest

from tests.bench.commands.answering import answer_of, check_refusal
from tests.bench.trackers.runs import DIARY, lines, write


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIARY", "diary")
    (tmp_path / "mine.py").write_text(DIARY)
    return write(tmp_path / "run")


def test_a_run_is_told_once(run, tmp_path):
    status, out, err = answer_of(["log", "run", "--to", "mine.py:Diary"])
    assert (status, err) == (0, "")
    assert "trials that ended" in out
    told = [json.loads(line)[0] for line in (tmp_path / "diary").read_text().splitlines()]
    assert (told[0], told[-1]) == ("begin", "close")
    assert told.count("report") > 50
    (tmp_path / "diary").unlink()
    status, out, _ = answer_of(["log", "run", "--to", "mine.py:Diary"])
    assert (status, out) == (0, "mine.py:Diary knew all that has ended\n")
    assert "report" not in (tmp_path / "diary").read_text()


def test_what_is_wrong_is_told_in_one_line(run, tmp_path):
    for words in (
        ["run"],
        ["run", "--to", "wandbb"],
        ["run", "--to", "mine.py:Half"],
        ["run", "--to", "mine.py:Failing"],
        ["none", "--to", "mine.py:Diary"],
    ):
        status, _, err = answer_of(["log", *words])
        check_refusal(status, err)
    (run / "ledger.jsonl").write_bytes(b"x\n" + lines())
    check_refusal(*answer_of(["log", "run", "--to", "mine.py:Diary"])[::2])


def test_a_run_refuses_a_tracker_that_is_not_there_before_anything_is_done(run, tmp_path):
    words = ["run", "--methods", "simclr", "--budget", "1cpu-minutes", "--dataset", "shapes", "--run-dir", "new"]
    for name in ("wandbb", "mine.py:Half"):
        status, _, err = answer_of([*words, "--log-to", name])
        check_refusal(status, err)
    assert not (tmp_path / "new").exists()
