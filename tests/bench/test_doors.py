"""Doors to what users bring: what is behind them, what they are called, and what is said where there is nothing."""

import hashlib
import sys
from pathlib import Path

import pytest

from bench import doors
from bench.errors import UserError

OWN = "from pathlib import Path\n\nTIMES = []\nTIMES.append(1)\n\n\ndef make(size):\n    return size + 1\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def load(name: str):
    return doors.load("encoder", name, "give another")


def test_a_file_is_imported_once_whatever_its_path_and_hides_no_module(own, monkeypatch):
    before = set(sys.modules)
    monkeypatch.chdir(own.parent)
    make = load(f"{own}:make")
    assert make(1) == 2
    assert load("mine.py:make") is load("./mine.py:make") is make
    assert load("mine.py:TIMES") == [1]
    (name,) = set(sys.modules) - before
    assert name.startswith("door_")


def test_files_of_one_name_in_two_folders_are_two_modules(own, tmp_path):
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text("make = 5")
    assert load(f"{other}:make") == 5
    assert callable(load(f"{own}:make"))


def test_a_module_is_found_where_python_finds_it(own, monkeypatch):
    own.with_name("found_by_python.py").write_text("make = 7")
    monkeypatch.syspath_prepend(own.parent)
    assert load("found_by_python:make") == 7
    assert doors.file("found_by_python:make") == own.with_name("found_by_python.py")


@pytest.mark.parametrize(
    "name",
    [
        "mine.py:none",
        "none.py:make",
        "no.such.module:make",
        "mine:",
        "mine.py:",
        ":make",
        ":",
        ".relative:make",
        " :x",
        "..:x",
        "os.path:none",
        "a\nb.py:x",
        "\udcff:x",
        f"{'x' * 300}.py:x",
    ],
)
def test_where_there_is_nothing_one_line_says_what_would_be_right(name, own, monkeypatch):
    monkeypatch.chdir(own.parent)
    with pytest.raises(UserError) as caught:
        load(name)
    assert str(caught.value).startswith("there is no encoder ") or "cannot be imported" in str(caught.value)
    assert str(caught.value).endswith("; give another")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_module", r"ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 +", r"SyntaxError"),
        ("raise RuntimeError('first\\nsecond')", r"RuntimeError: first\)"),
        ("open('/no/such/file')", r"FileNotFoundError"),
        ("import sys; sys.exit('done')", r"SystemExit: done"),
    ],
)
def test_a_file_that_fails_says_how_and_is_tried_again_once_it_is_mended(text, told, own):
    own.write_text(text)
    with pytest.raises(UserError, match=rf"the encoder '.*mine.py:make' cannot be imported \({told}.*; give another"):
        load(f"{own}:make")
    own.write_text(OWN)
    assert load(f"{own}:make")(1) == 2


def test_a_door_is_known_by_its_colon():
    assert doors.is_door("a.b:c")
    assert doors.is_door("file.py:c")
    assert not doors.is_door("resnet18")


def test_a_file_is_named_for_other_folders_and_for_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doors.absolute("sub/mine.py:make") == f"{tmp_path}/sub/mine.py:make"
    assert doors.short("sub/mine.py:make") == doors.short(doors.absolute("sub/mine.py:make")) == "mine.py:make"
    for name in ("package.module:make", "tpe"):
        assert doors.absolute(name) == doors.short(name) == name


def test_the_source_is_that_of_the_file(own):
    name = f"{own}:make"
    load(name)
    assert doors.source(name) == hashlib.sha256(OWN.encode()).hexdigest()[:12]
    own.write_text(OWN + "# changed\n")
    assert doors.source(name) != hashlib.sha256(OWN.encode()).hexdigest()[:12]


def test_what_is_built_in_has_no_source():
    load("sys:exit")
    with pytest.raises(UserError, match="in no file"):
        doors.source("sys:exit")
