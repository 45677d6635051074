"""What is measured before a run, in a process of its own."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.execution import calibration as calibrating
from bench.execution import interpreter
from bench.search.budget import Budget
from bench.search.description import describe
from bench.search.fold import read
from bench.search.search import Search
from bench.search.simulate import Space
from tests.bench.search.planned import FAKE, H100, SPACES, Choices, experiment, make, session, start, with_batches


def test_nothing_in_the_working_directory_is_taken_for_a_module_of_the_calibration(tmp_path, monkeypatch):
    for name in ("bench/__init__.py", "algorithms/__init__.py", "queue.py", "profile.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('raise SystemExit("a file of the user was imported")')
    (tmp_path / "mine.py").write_text(
        "from bench.execution.factory import Calibration\nfrom tests.bench.fake_trainer import Fake\n"
        "class Mine(Fake):\n    calibrate = lambda self, job: Calibration(1.0, 0.0)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` and a PYTHONPATH with an empty entry do
    monkeypatch.syspath_prepend("")
    assert calibrating.calibrate(experiment())["calibration"]["byol"]["epoch"] == 0.5
    assert calibrating.calibrate(experiment(factory="mine:Mine"))["calibration"]["byol"]["epoch"] == 1.0


def test_modules_are_found_where_the_project_lies_when_it_is_called_there(monkeypatch):
    project = str(Path(interpreter.__file__).resolve().parents[2])
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", ["/elsewhere", project, "/usr/lib"])
    assert interpreter.import_path() == f"/elsewhere:{project}:/usr/lib"


def test_a_calibration_that_hangs_is_ended(monkeypatch):
    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("calibration", timeout)

    monkeypatch.setattr(calibrating.subprocess, "run", hang)
    with pytest.raises(UserError, match=r"calibration took more than \d.*; the device may hang"):
        calibrating.calibrate(experiment())


def test_choices_that_train_the_same_are_one_before_the_search_and_the_default_stands_for_them(monkeypatch, tmp_path):
    spaces = {
        "simclr": Choices("simclr", defaults={"x": 0.5, "heads": 3, "queue": 8}),
        "byol": Choices("byol", defaults={"x": 0.5, "heads": 1, "queue": 32}),
        "moco": Space("moco"),
    }
    asked = experiment(spaces=spaces, factory="tests.bench.search.planned:Heads", settings={"queue": 0}, baselines=())
    found = {"simclr": {"heads": [1, 3]}, "byol": {"heads": [1, 2]}}
    plan = make(asked, Budget.parse("10cpu-minutes"), slots=1)
    assert plan.choices == found
    assert {m: space.hash for m, space in plan.spaces.items()} == {
        "simclr": "simulated of {'heads': [1, 3]}",
        "byol": "simulated of {'heads': [1, 2]}",
        "moco": "simulated",
    }
    assert plan.calibration["byol"].to_json().keys() == {"epoch", "evaluation", "start"}
    monkeypatch.setattr(calibrating, "calibrate", None)  # a run that continues asks no more
    start(tmp_path, plan)
    assert make(asked, Budget.parse("20cpu-minutes"), slots=1, run_dir=tmp_path).choices == found


def test_a_published_recipe_that_takes_longer_than_ours_is_planned_with_its_own_time(monkeypatch, tmp_path):
    both = Space("simclr", defaults={"x": 0.5}, published={"x": 0.5, "slowness": 4})
    asked = experiment(spaces={"simclr": both, "moco": Space("moco")}, factory=FAKE, baselines=(), epochs=4)
    budget = Budget.parse("10cpu-minutes")
    plan = make(asked, budget, slots=1, run_dir=tmp_path, keep=True)
    assert plan.calibration["simclr"].published == pytest.approx(4 * plan.calibration["simclr"].epoch)
    assert plan.calibration["moco"].published is None
    assert (plan.pace("simclr"), plan.pace("moco")) == (pytest.approx(4), 1)
    one = plan.cost("simclr", "confirm", 0, 4)
    assert plan.confirming("simclr") == pytest.approx(3 * (1 + 4) * one)
    assert plan.trying("simclr") == pytest.approx((1 + 4) * plan.training("simclr"))
    monkeypatch.setattr(calibrating, "calibrate", None)  # what was kept has it too
    assert make(asked, budget, slots=1, run_dir=tmp_path).calibration == plan.calibration


def test_a_choice_of_which_no_value_makes_a_difference_is_left_with_the_default():
    space = Choices("byol", defaults={"x": 0.5, "heads": 1, "queue": 16})
    local = {"queue": 4}
    asked = experiment(spaces={"byol": space}, factory="tests.bench.search.planned:Heads", settings=local, baselines=())
    assert calibrating.calibrate(asked)["choices"] == {"byol": {"heads": [1, 2], "queue": [16]}}


def test_the_choices_of_a_method_with_half_the_batch_are_those_that_differ_with_it():
    space = Choices("byol", defaults={"x": 0.5, "heads": 1, "queue": 8})
    own = {"queue": 0, "holds half": True}
    asked = experiment(spaces={"byol": space}, factory="tests.bench.search.planned:Heads", settings=own, baselines=())
    found = calibrating.calibrate(asked)
    assert found["halved"] == ["byol"]
    assert found["choices"] == {"byol": {"heads": [1, 2, 3]}}


@pytest.mark.slow
def test_a_method_whose_batch_memory_does_not_hold_is_planned_with_half_of_it_and_keeps_it(tmp_path, monkeypatch):
    asked, budget = with_batches(byol=128, moco=64), Budget.parse("1gpu-hours")
    options = {"run_dir": tmp_path, "facts": H100}
    planned = make(asked, budget, 1, **options, keep=True)
    assert planned.halved == ["byol"]
    assert planned.calibration["byol"].epoch == 0.5
    assert "With half the batch, as memory does not hold the whole: byol." in describe(planned).splitlines()
    monkeypatch.setattr(calibrating, "calibrate", None)
    assert make(asked, budget, 1, **options) == planned  # by calibration.json
    start(tmp_path, planned)
    session(tmp_path, H100)
    assert make(asked, budget, 1, **options).halved == ["byol"]
    search = Search(planned, types.SimpleNamespace(fold=read(tmp_path / "ledger.jsonl"), append=None))
    assert search.fold.halved == {"byol"}


@pytest.mark.slow
def test_a_method_of_which_memory_does_not_hold_half_a_batch_ends_the_calibration_in_a_line():
    with pytest.raises(UserError, match=r"^calibration failed: .*out of memory") as error:
        calibrating.calibrate(with_batches(byol=130))
    assert "\n" not in str(error.value)


def test_calibration_runs_in_a_process_of_its_own_and_tells_what_went_wrong():
    found = calibrating.calibrate(experiment(settings={"seconds": 0.5, "start": 0.1, "memory": 2**30}))
    calibration = found["calibration"]
    assert calibration["byol"] == {"epoch": 0.5, "evaluation": 0.0, "start": pytest.approx(0.1, abs=10)}
    assert calibration["byol"]["start"] >= 0.1
    assert set(calibration) == {*SPACES, "pixels", "random", "supervised"}
    assert found["startup"] >= 0
    assert not found["choices"]
    assert not found["halved"]
    assert found["memory"] == dict.fromkeys(calibration, 2**30)
    assert found["device_memory"] == 2**33
    with pytest.raises(UserError, match=r"calibration failed: .*no_such_module"):
        calibrating.calibrate(experiment(factory="no_such_module:Factory"))
