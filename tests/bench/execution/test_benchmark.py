"""A benchmark as a call, and its parts: runs that train nothing, with a calibration that measures nothing."""

import io
import os
import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.data import known, named, saved
from bench.data.dataset import SMALLEST
from bench.errors import UserError
from bench.execution import benchmark, driver, prepared
from bench.execution.configuration import WHOLE, Configuration, TrainingConfiguration
from bench.search.budget import Budget
from bench.search.events import FORMAT
from bench.search.fold import read
from bench.search.ledger import Ledger
from bench.search.search import Search
from tests.bench import synthetic_run
from tests.bench.class_folders import class_folders

MINUTES, SECONDS = Budget.parse("20cpu-minutes"), Budget.parse("3cpu-seconds")


def small(run_dir: Path, **asked: Any) -> Configuration:
    """A run of one method on a few small images."""
    usual = {"methods": ("simclr",), "dataset": "shapes", "limit": 100, "budget": MINUTES, "run_dir": run_dir}
    return Configuration(**usual | asked)


@dataclass
class Begun:
    """What runs that train nothing were begun with: their calibrations' experiments, their plans."""

    calibrated: list = field(default_factory=list)
    plans: list = field(default_factory=list)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Calibrations measure nothing, and a run ends once its session is in the ledger."""
    found = Begun()

    def calibrate(experiment):
        found.calibrated.append(experiment)
        names = [*experiment.spaces, *experiment.baselines]
        seconds = {"epoch": 0.1 + 0.01 * len(found.calibrated), "evaluation": 0.1, "start": 0.0}
        seconds |= {"protocols": dict.fromkeys(experiment.protocols, 0.1)}
        return {"calibration": dict.fromkeys(names, seconds), "startup": 1.0, "choices": {}}

    def recorded(plan, *arguments, run=driver.run, **options):
        found.plans.append(plan)
        return run(plan, *arguments, **options)

    monkeypatch.setattr(benchmark, "calibrate", calibrate)
    monkeypatch.setattr(Search, "work_left", lambda search: False)
    monkeypatch.setattr(driver, "run", recorded)
    return found


# ------------------------------------------------------------------------------------------------ what is asked for


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"methods": ("simclrr",)}, "no method 'simclrr'; did you mean simclr"),
        ({"dataset": "cifar11"}, "no data set and no path 'cifar11'; did you mean cifar10"),
        ({"encoder": "resnet81"}, "no encoder 'resnet81'; did you mean resnet8"),
        ({"searcher": "grid"}, "no searcher 'grid'"),
        ({"scheduler": "grid"}, "no scheduler 'grid'"),
        ({"gpus_per_trial": 1.5}, "1.5 is not a share of a GPU"),
        ({"seeds": 0}, "seeds 0 is not a whole number from 1 to 1,000"),
        ({"batch_size": 1}, "batch_size 1 is not a whole number from 2 to"),
        ({"dry_run": True, "readme": Path("README.md")}, "needs a run"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_asked_for(asked, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        small(tmp_path, **asked)


def test_names_that_are_known_without_pytorch_are_those_that_there_are(tmp_path):
    assert ("shapes", *named.NAMED) == known.NAMES
    assert WHOLE["image_size"][0] == SMALLEST
    for name in known.NAMES:
        known.check(name)
    known.check(tmp_path)


def test_a_run_with_augmentations_is_another_one_and_the_refusal_names_them(begun, tmp_path):
    benchmark.run(small(tmp_path / "own"))
    with pytest.raises(UserError, match="holds a run with augment None, not texture; use --fresh"):
        benchmark.run(small(tmp_path / "own", augment="texture"))
    benchmark.run(small(tmp_path / "texture", augment="texture"))
    benchmark.run(small(tmp_path / "texture", augment="texture"))
    with pytest.raises(UserError, match="holds a run with augment texture, not text; use --fresh"):
        benchmark.run(small(tmp_path / "texture", augment="text"))
    settings = [plan.experiment.settings.identity() for plan in begun.plans]
    assert settings[1] == settings[0] | {"augment": "texture"}
    recipes = begun.plans[1].experiment.spaces["simclr"].recipes
    assert [recipe["augment"] for recipe in recipes] == ["paper", "texture"]


def test_nothing_is_learnt_from_a_run_without_the_augmentations_that_are_searched(begun, tmp_path):
    benchmark.run(small(tmp_path / "own"))
    with pytest.raises(UserError, match="leave it out of --learn-from"):
        benchmark.run(small(tmp_path / "more", augment="texture", learn_from=(tmp_path / "own",)))


def test_a_method_that_is_asked_for_twice_is_there_once(begun, tmp_path):
    benchmark.run(small(tmp_path, methods=("simclr", "byol", "simclr")))
    assert list(begun.plans[0].experiment.spaces) == ["simclr", "byol"]


def test_without_a_folder_a_run_lies_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared = benchmark.prepare(TrainingConfiguration(dataset="shapes", encoder="vit_tiny", limit=100))
    assert prepared.run_dir == tmp_path / "reports" / "shapes-vit_tiny"


# --------------------------------------------------------------------------------------------------------- the parts


def test_a_notebook_prepares_plans_and_runs_part_by_part(begun, tmp_path, capfd):
    configuration = small(tmp_path / "run")
    prepared = benchmark.prepare(configuration)
    assert len(prepared.dataset.train.labels) == 100
    made = benchmark.make_plan(configuration, prepared, slots=2)
    assert made.slots == 2
    prepared.save()
    assert prepared.dataset is None
    assert benchmark.train_all(configuration, prepared, made) == 0
    found = benchmark.write_report(prepared.run_dir)
    assert found.run["settings"]["dataset"] == "shapes"
    assert (tmp_path / "run" / "report.html").is_file()
    assert "Plan: 1 methods" in capfd.readouterr().out


def test_the_terminal_tells_at_the_end_what_went_wrong_with_trials(tmp_path, capfd):
    benchmark.write_report(synthetic_run.write(tmp_path / "run"))
    (line,) = (line for line in capfd.readouterr().out.splitlines() if line.startswith("Trials that went wrong: "))
    assert re.search(r": \d+ \w+", line)
    benchmark.write_report(synthetic_run.write(tmp_path / "well", ("byol",), trials=2))
    assert "went wrong" not in capfd.readouterr().out


def test_a_run_gives_its_plan_its_folder_and_its_tables(begun, tmp_path):
    outcome = benchmark.run(small(tmp_path / "run"), "run_bench.py --limit 100")
    assert outcome.status == 0
    assert outcome.plan == begun.plans[0]
    found = outcome.results()
    assert list(found.trials.columns)
    assert found.run["facts"]["command"] == "run_bench.py --limit 100"
    planned = benchmark.run(small(tmp_path / "planned", dry_run=True))
    assert planned.status == 0
    with pytest.raises(UserError, match=r"trials\.parquet is missing"):
        planned.results()


def test_an_existing_folder_is_left_as_it_was_by_what_is_refused_and_by_a_plan_but_for_its_calibration(
    begun, tmp_path, capfd
):
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="too small"):
        benchmark.run(small(tmp_path, budget=SECONDS))
    assert len(begun.calibrated) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    benchmark.run(small(tmp_path, dry_run=True))
    assert "s/epoch" in capfd.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "mine"]


def test_the_images_are_written_once_into_the_runs_folder_and_before_the_calibration(begun, tmp_path, monkeypatch):
    written = []

    def save(dataset, folder, save=saved.save):
        before = set(Path(folder).rglob("*"))
        save(dataset, folder)
        written.append(len(set(Path(folder).rglob("*")) - before))

    def calibrate(experiment, calibrate=benchmark.calibrate):
        assert saved.open_saved(experiment.settings.data).name == "shapes"
        assert Path(experiment.settings.data).is_relative_to(tmp_path / "run")
        return calibrate(experiment)

    monkeypatch.setattr(saved, "save", save)
    monkeypatch.setattr(benchmark, "calibrate", calibrate)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    asked = small(tmp_path / "run")
    assert benchmark.run(asked).status == 0
    assert written == [2], "the images and what describes them"
    assert not list((tmp_path / "scratch").iterdir())
    data = list((tmp_path / "run" / "data").rglob("*"))
    with pytest.raises(UserError, match="too small"):
        benchmark.run(replace(asked, budget=SECONDS))
    assert list((tmp_path / "run" / "data").rglob("*")) == data, "what is refused has removed the images of a run"


def test_a_run_of_which_all_methods_were_given_up_fails(begun, tmp_path, capfd):
    asked = small(tmp_path)
    assert benchmark.run(asked).status == 0
    ledger = Ledger(tmp_path)
    ledger.append("chosen", method="simclr", winner=None, share=1.0, reason="5 trials failed: no memory")
    ledger.close()
    assert benchmark.run(asked).status == 1
    assert "simclr was given up: 5 trials failed: no memory" in capfd.readouterr().out


def test_a_run_begins_with_the_plan_of_the_dry_run_before_it(begun, tmp_path, capfd):
    asked = small(tmp_path / "run")
    benchmark.run(replace(asked, dry_run=True))
    planned = capfd.readouterr().out
    benchmark.run(asked)
    table = [line for line in planned.splitlines() if line.startswith(("  simclr", "Plan:"))]
    assert len(table) == 2
    assert set(table) <= set(capfd.readouterr().out.splitlines())
    assert len(begun.calibrated) == 1
    assert read(tmp_path / "run" / "ledger.jsonl").plan["epochs"] == begun.plans[0].epochs


def test_raw_pixels_that_would_fill_the_memory_as_features_are_left_out_and_that_is_said(
    begun, tmp_path, monkeypatch, capfd
):
    for most, there in ((10**8, True), (10**5, False)):
        monkeypatch.setattr(benchmark, "MOST_PIXELS", most)
        benchmark.run(small(tmp_path / str(most)))
        assert ("pixels" in begun.plans.pop().experiment.baselines) == there
        assert ("raw pixels are left out of the baselines" in capfd.readouterr().out) != there


def test_by_default_encoders_are_judged_by_what_the_budget_has_room_for_and_by_name_as_asked(begun, tmp_path, capfd):
    for asked, expected in (
        ({}, ("linear", "few", "scratch", "finetune", "inspect")),
        ({"protocols": ("knn",)}, ()),
        ({"protocols": ("linear",)}, ("linear",)),
        ({"protocols": ("knn", "few")}, ("few", "scratch")),
    ):
        benchmark.run(small(tmp_path / "-".join(expected), **asked))
        assert begun.plans.pop().experiment.protocols == expected
        told = capfd.readouterr().out
        assert all(f"{name} (" in told for name in expected)


def test_the_seed_is_the_experiments_and_the_default_is_0(begun, tmp_path):
    for asked, seed in (({}, 0), ({"seed": 7}, 7)):
        benchmark.run(small(tmp_path / str(seed), **asked))
        assert begun.plans.pop().experiment.seed == seed
        assert read(tmp_path / str(seed) / "ledger.jsonl").settings["seed"] == seed


def test_a_run_that_goes_on_as_if_on_another_machine_warns_in_one_line_and_calibrates_anew(
    begun, tmp_path, monkeypatch, capfd
):
    asked = small(tmp_path)
    benchmark.run(asked)
    benchmark.run(asked)
    assert "warning" not in capfd.readouterr().err
    assert len(begun.calibrated) == 1
    here = prepared.machine_facts(False)
    there = here | {"device": "CPU in 2 digits", "versions": here["versions"] | {"torch": "9.9"}}
    monkeypatch.setattr(prepared, "machine_facts", lambda on_gpu: there)
    benchmark.run(asked)
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert f"device {here['device']}, PyTorch {here['versions']['torch']}, and goes on with" in warnings[0]
    assert "goes on with device CPU in 2 digits, PyTorch 9.9" in warnings[0]
    assert len(begun.calibrated) == 2
    fold = read(tmp_path / "ledger.jsonl")
    assert [session["facts"]["device"] for session in fold.sessions] == [here["device"]] * 2 + ["CPU in 2 digits"]
    assert ["plan" in session for session in fold.sessions] == [False, False, True]
    assert fold.plan["calibration_seconds"] == begun.plans[-1].calibration_seconds


@pytest.mark.parametrize(
    ("asked", "begun_with", "on_gpu", "seconds", "expected"),
    [
        (None, {}, True, 599.0, False),
        (None, {}, True, 600.0, True),
        (None, {}, False, 1e9, False),
        (None, {"compile": "off"}, True, 1e9, False),
        (None, {"compile": "on"}, True, 1.0, True),
        (True, {"compile": "off"}, True, 1.0, True),
        (False, {}, True, 1e9, False),
    ],
)
def test_compiling_is_decided_when_a_run_begins_and_no_larger_budget_switches_it(
    asked, begun_with, on_gpu, seconds, expected
):
    assert benchmark.compiling(asked, begun_with, on_gpu, seconds) is expected


def test_a_run_continues_with_the_compile_setting_it_began_with_and_with_no_other(begun, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(benchmark, "compiling", lambda *_: True)
        benchmark.run(small(tmp_path))
    asked = small(tmp_path, dry_run=True)
    benchmark.run(replace(asked, budget=Budget.parse("40cpu-minutes")))
    benchmark.run(replace(asked, compile=True))
    with pytest.raises(UserError, match="compile on, not off; use --fresh"):
        benchmark.run(replace(asked, compile=False))
    assert len(begun.plans) == 1


@pytest.mark.parametrize(("encoder", "notes"), [("vit_tiny", 1), ("resnet8", 0)])
def test_which_recipes_are_for_no_vit_is_said_once_before_the_run(begun, tmp_path, capfd, encoder, notes):
    benchmark.run(small(tmp_path, encoder=encoder, dry_run=True))
    told = capfd.readouterr().out
    assert told.count("note: vit_tiny is a ViT; the recipes of simclr") == notes
    assert not notes or told.index("note: vit_tiny") < told.index("Plan:")


def test_a_run_of_an_earlier_version_is_refused_in_one_line_and_left_as_it_was(begun, tmp_path):
    asked = small(tmp_path)
    benchmark.run(asked)
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace(f'"format":{FORMAT}', '"format":1'))
    before = {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*")}
    with pytest.raises(UserError, match=r"holds a run that an earlier version began.*version, or use --fresh.*"):
        benchmark.run(asked)
    assert {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*")} == before
    assert benchmark.run(replace(asked, fresh=True)).status == 0


def test_paths_that_are_not_utf_8_go_through_the_ledger_and_into_the_report(begun, tmp_path):
    where = Path(os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es"))
    run_dir = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9sultats"))
    asked = small(run_dir, dataset=str(class_folders(where, [16])), limit=None)
    benchmark.run(asked)
    ledger = Ledger(run_dir)
    trial = {"uid": "a", "method": "simclr", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}}
    ledger.append("suggested", **trial, parameters={}, published=True, of=None, epochs=1, evaluate_at=[1])
    ledger.close()
    benchmark.run(asked)
    assert list(pd.read_parquet(io.BytesIO((run_dir / "trials.parquet").read_bytes())).run) == [r"r\udce9sultats"]
    assert re.search(r"r\\udce9sultats", (run_dir / "report.html").read_text())
