"""Trackers by their names."""

import importlib.util

import pytest

from bench.errors import UserError
from bench.trackers import known
from tests.bench.trackers.runs import DIARY


@pytest.mark.parametrize("name", known.TRACKERS)
def test_one_that_is_not_installed_is_refused_with_what_installs_it(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"pip install 'ssl-bench\[{name}\]'"):
        known.check(name)


@pytest.mark.parametrize("name", ["", "wandbb", "no.such:thing", "mine.py:Nothing", "mine.py:function", "mine.py:Half"])
def test_what_is_no_tracker_is_refused_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(DIARY + "\n\ndef function():\n    pass\n")
    with pytest.raises(UserError, match="tracker"):
        known.check(name)
    known.check("mine.py:Diary")
    assert hasattr(known.make("mine.py:Diary"), "report")
