"""`ssl-bench report` and `ssl-bench anchors`: what a run left, again."""

import errno
import os
import re

import pytest

from bench.errors import UserError
from bench.report import anchors, report
from tests.bench import synthetic_run
from tests.bench.commands.answering import answer_of, check_refusal


def test_the_command_remakes_the_report(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    status, told, err = answer_of(["report", str(tmp_path)])
    assert (status, err) == (0, "")
    assert told.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").is_file()


def test_the_command_sets_a_run_beside_published_numbers(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    assert answer_of(["anchors", str(tmp_path)]) == (0, f"{tmp_path / 'anchors.md'}\n", "")
    assert "| byol |" in (tmp_path / "anchors.md").read_text()


@pytest.mark.parametrize(("command", "write"), [("report", report.write), ("anchors", anchors.write)])
def test_the_command_says_in_one_line_what_is_wrong(command, write, tmp_path):
    for arguments in ([], [tmp_path], [tmp_path / "none"], [tmp_path, tmp_path]):
        status, _, err = answer_of([command, *map(str, arguments)])
        check_refusal(status, err)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError):
        write(tmp_path)


@pytest.mark.parametrize(("number", "name"), [(1, "table.md"), (3, "table.csv"), (5, "report.html")])
def test_a_disk_that_fills_up_is_told_in_one_line_and_the_file_is_as_it_was(number, name, tmp_path, monkeypatch):
    """A file is synced, then its folder: so every other sync is a file's."""
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    report.write(tmp_path)
    synthetic_run.write(tmp_path, ("byol",), trials=4)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    syncs = iter(range(1, 100))

    def sync(_):
        if next(syncs) == number:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    status, _, err = answer_of(["report", str(tmp_path)])
    check_refusal(status, err)
    assert re.fullmatch(r"error: .*No space left on device.*\n", err)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after[name] == before[name]
