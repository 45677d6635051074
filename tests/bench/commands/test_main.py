"""How every command answers: what it says, on which streams, how soon; what a shell completes."""

import getpass
import io
import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import run_bench
from bench.commands import main as commands
from bench.errors import UserError
from bench.execution import benchmark
from tests.bench.commands.answering import answer_of, check_refusal

ROOT = Path(commands.__file__).resolve().parents[2]
BUDGET = ["--budget", "20cpu-minutes"]


def test_every_file_of_the_folder_is_a_command_or_serves_them():
    files = {path.stem for path in (ROOT / "bench" / "commands").glob("*.py")}
    assert files == {*(name.replace("-", "_") for name in commands.COMMANDS), "main", "options", "__init__"}


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_its_name_a_line_that_is_not_cut_and_examples(name: str):
    status, told, _ = answer_of([name, "--help"])
    assert status == 0
    assert f"\n  ssl-bench {name}" in told
    assert "--help" in told
    (line,) = [line for line in answer_of(["--help"])[1].splitlines() if line.split()[:1] == [name]]
    assert line.endswith(".")
    assert not line.endswith("...")


def test_without_a_command_or_with_an_unknown_one_it_is_told_what_there_is(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["ssl-bench"])
    assert commands.main() == 0
    assert all(f"  {name} " in capfd.readouterr().out for name in commands.COMMANDS[:1])
    status, _, err = answer_of(["trian"])
    check_refusal(status, err)
    assert "no such command 'trian'" in err


HEAVY = {"torch", "ray", "pandas", "optuna", "plotly", "numpy", "pyarrow", "yaml"}
IMPORTED = """
import sys
from bench.commands.main import answer, ssl_bench
status = answer(ssl_bench, sys.argv[1:], "ssl-bench")
print(status, *(name for name in sys.modules if "." not in name), file=sys.stderr)
"""
LIGHT = [
    *([name, "--help"] for name in commands.COMMANDS),
    ["run", "--methods", "simclrr", *BUDGET],
    ["run", "--encoder", "resnet81", *BUDGET],
    ["run", "--dataset", "cifar11", *BUDGET],
    ["run", "--dataset", "/no/such/folder", *BUDGET],
    ["run", "--epochs", "0", *BUDGET],
    ["run", "--image-size", "7", *BUDGET],
    ["run", "--budget", "8 apples"],
    ["train", "simclrr"],
    ["profile", "simclr", "--encoder", "resnet81"],
]


@pytest.mark.slow
@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_help_and_what_is_refused_by_its_name_alone_import_nothing_heavy(words: list[str]):
    told = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    status, *imported = told.stderr.splitlines()[-1].split()
    assert status == ("0" if "--help" in words else "2")
    assert "bench" in imported
    assert HEAVY.isdisjoint(imported)


@pytest.mark.parametrize("option", ["--searcher", "--scheduler"])
def test_an_unknown_searcher_or_scheduler_is_refused_without_pytorch_and_ray(option: str):
    words = [sys.executable, "-c", IMPORTED, "run", option, "grid", *BUDGET]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stderr.splitlines()
    assert told[0].startswith(f"error: there is no {option[2:]} 'grid'")
    assert {"torch", "ray", "pandas", "plotly"}.isdisjoint(told[-1].split())


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["tr"], ["train"]),
        (["train", "simclr"], ["simclr", "simclrv2"]),
        (["run", "--encoder", "resnet1"], ["resnet18"]),
        (["run", "--methods", "byol,sims"], ["byol,simsiam"]),
        (["run", "--see"], ["--seed", "--seeds"]),
    ],
)
def test_a_shell_completes_commands_options_and_names(words, completed, monkeypatch, capfd):
    monkeypatch.setenv(commands.COMPLETING, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["ssl-bench", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert commands.main() == 0
    assert [line.partition(",")[2] for line in capfd.readouterr().out.splitlines()] == completed


def test_the_working_directory_is_looked_into_last_and_after_this_project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/first"])
    commands.see_working_directory()
    commands.see_working_directory()
    assert sys.path == ["/first", str(ROOT), str(tmp_path)]


# ------------------------------------------------------------------------------------------------- what may happen


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch):
    """Puts a function without arguments in the place of a run; its status is 0, or what it returns."""

    def put(run):
        monkeypatch.setattr(benchmark, "run", lambda configuration, command, **_: SimpleNamespace(status=run() or 0))

    return put


def test_what_the_terminal_cannot_show_is_escaped(running, monkeypatch: pytest.MonkeyPatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])

    def run():
        print("90.1 ± 0.2 on donn\udce9es")
        raise UserError("no folder données")

    running(run)
    assert run_bench.main(BUDGET) == 2
    told = [stream.detach().getvalue() for stream in streams]
    assert told == [b"90.1 \\xb1 0.2 on donn\\udce9es\n", b"error: no folder donn\\xe9es\n"]


def test_a_user_without_a_home_gets_one_for_as_long_as_the_command_runs(running, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def run():
        seen.append(Path.home())
        assert seen[0].is_dir()
        assert getpass.getuser()

    def nobody(_):
        raise KeyError("uid not found")

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    running(run)
    assert run_bench.main(BUDGET) == 0
    assert not seen[0].exists()
    assert "HOME" not in os.environ


def test_the_home_of_a_user_who_has_one_is_left_alone(running, monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    running(lambda: int(Path.home() != tmp_path))
    assert run_bench.main(BUDGET) == 0


def test_a_disk_that_fails_at_the_end_is_told_in_one_line(running, capfd):
    def fail():
        raise OSError(28, "No space left on device", "report.html")

    running(fail)
    assert run_bench.main(BUDGET) == 2
    told = capfd.readouterr().err
    assert "No space left on device: 'report.html'" in told
    assert len(told.splitlines()) == 1


def test_an_interruption_before_anything_runs_is_told_in_one_line(running, capfd):
    def interrupted():
        raise KeyboardInterrupt

    running(interrupted)
    assert run_bench.main(BUDGET) == 130
    assert capfd.readouterr().err == "interrupted; nothing that was measured is lost\n"


@pytest.mark.parametrize(
    ("call", "words"),
    [(run_bench.main, ["run_bench.py", *BUDGET]), (commands.main, ["ssl-bench", "run", *BUDGET])],
    ids=["run_bench.py", "ssl-bench"],
)
def test_the_command_goes_on_record_as_it_was_given(call, words, monkeypatch):
    given = []
    monkeypatch.setattr(
        benchmark, "run", lambda configuration, command, **_: given.append(command) or SimpleNamespace(status=0)
    )
    monkeypatch.setattr(sys, "argv", [f"/some/where/{words[0]}", *words[1:]])
    assert call() == 0
    assert given == [" ".join(words)]


def test_the_status_of_a_run_is_that_of_the_command(running):
    running(lambda: 143)
    assert run_bench.main(BUDGET) == 143
