"""The command as a user calls it: what bad input gets, and one whole run."""

import dataclasses
import getpass
import io
import os
import pwd
import re
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import run_bench
from bench.data import images
from bench.errors import UserError
from bench.execution import tune
from bench.search import planning
from bench.search import space as search_space
from bench.search.events import FORMAT, read_events
from bench.search.fold import read
from bench.search.ledger import Ledger
from bench.search.search import Search

ROOT = Path(__file__).resolve().parent.parent


def class_folders(root: Path, sides: list[int]) -> Path:
    """Two classes of random images of the given sides, 40 of each side and class."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number, side in enumerate(sides * 40):
            Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(
                root / name / f"{number}.png"
            )
    return root


def mixed_sizes(folder: Path) -> list[str]:
    return ["--dataset", str(class_folders(folder / "images", [16, 20]))]


def no_images(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["--dataset", str(folder / "empty")]


def no_image_column(folder: Path) -> list[str]:
    (folder / "table").mkdir()
    pq.write_table(pa.table({"label": [0, 1]}), folder / "table" / "train.parquet")
    return ["--dataset", str(folder / "table")]


def readme_for_other_images(_: Path) -> list[str]:
    return ["--dataset", "shapes", "--limit", "100", "--update-readme"]


def readme_without_the_encoder(folder: Path) -> list[str]:
    images = class_folders(folder / "cifar10", [16])
    return ["--dataset", str(images), "--encoder", "vit_tiny", "--update-readme"]


BAD = {
    "unknown method": (lambda _: ["--methods", "simclrr"], r"no method 'simclrr'.*simclr"),
    "unreadable budget": (lambda _: ["--budget", "8 apples"], r"budget '8 apples'.*8gpu-hours"),
    "empty budget": (lambda _: ["--budget", ""], r"--budget: it is empty"),
    "huge budget": (lambda _: ["--budget", "9" * 17 + "cpu-days"], r"more than 1,000,000 days"),
    "budget of infinity": (lambda _: ["--budget", "infcpu-days"], r"'infcpu-days' is not understood"),
    "epochs beyond all budgets": (lambda _: ["--epochs", "9" * 30], r"--epochs: '9+' is not a whole number from 1 to"),
    "limit beyond all images": (lambda _: ["--limit", "9" * 30], r"--limit: '9+' is not a whole number from 1 to"),
    "number of 5,000 digits": (lambda _: ["--limit", "9" * 5000], r"--limit: '9+' is not a whole number"),
    "batches of one image": (lambda _: ["--batch-size", "1"], r"--batch-size: '1' is not a whole number from 2 to"),
    "negative seed": (lambda _: ["--seed", "-1"], r"--seed: '-1' is not a whole number from 0 to"),
    "profile of two methods": (lambda _: ["--profile", "simclr,byol"], r"--profile takes one method"),
    "training and a plan": (lambda _: ["--train", "simclr", "--dry-run"], r"--train exclude each other"),
    "training of two methods": (lambda _: ["--train", "simclr,byol"], r"--train takes one method"),
    "profile of no method": (lambda _: ["--profile", "simclrr"], r"no method 'simclrr'.*simclr"),
    "budget of nothing": (lambda _: ["--budget", "0cpu-minutes"], r"no time at all"),
    "unknown encoder": (lambda _: ["--encoder", "resnet81"], r"no encoder 'resnet81'.*resnet8"),
    "unknown data set": (lambda _: ["--dataset", "cifar11"], r"cifar11.*cifar10"),
    "missing folder": (lambda _: ["--dataset", "/no/such/folder"], r"/no/such/folder"),
    "no images": (no_images, r"empty"),
    "no image column": (no_image_column, r"image"),
    "mixed sizes": (mixed_sizes, r"--image-size"),
    "unknown option": (lambda _: ["--metods", "all"], r"--metods"),
    "seeds that are no number": (lambda _: ["--seeds", "three"], r"three"),
    "no seeds": (lambda _: ["--seeds", "0"], r"'0' is not a whole number from 1 to 1,000"),
    "too large a share of a GPU": (lambda _: ["--gpus-per-trial", "2"], r"up to 1"),
    "share of a GPU that is no number": (lambda _: ["--gpus-per-trial", "half"], r"'half' is not a share.*up to 1"),
    "share of a GPU that is not a number": (lambda _: ["--gpus-per-trial", "nan"], r"'nan' is not a share.*up to 1"),
    "share of a GPU that is nearly none": (lambda _: ["--gpus-per-trial", "1e-300"], r"is not a share.*from 0.01"),
    "unknown searcher": (lambda _: ["--searcher", "grid"], r"no searcher 'grid'.*tpe"),
    "unknown scheduler": (lambda _: ["--scheduler", "hyper"], r"no scheduler 'hyper'.*asha"),
    "README's table of a plan": (lambda _: ["--dry-run", "--update-readme"], r"--update-readme needs a run"),
    "README's table of other images": (readme_for_other_images, r"README.md are of runs on cifar10.*on shapes"),
    "README's table of another encoder": (readme_without_the_encoder, r"README.md should hold .*table:vit_tiny:begin"),
    "too small a budget": (lambda _: ["--budget", "3cpu-seconds"], r"too small.*--budget \d+cpu-\w+ would do"),
}


VALUED = [action.option_strings[0] for action in run_bench.parser()._actions if action.nargs is None]
"""The options that take a value."""


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("option", VALUED)
def test_an_option_with_an_empty_value_is_refused_in_one_line(option: str, value: str, capsys):
    assert run_bench.main(["--budget", "20cpu-minutes", option, value]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(rf"error: argument {option}: .*\n", told)


@given(st.sampled_from(VALUED), st.text(max_size=20) | st.integers().map(str) | st.floats().map(str))
def test_whatever_the_value_of_an_option_it_is_parsed_or_refused_in_one_line(option: str, value: str):
    told = ""
    try:
        run_bench.arguments(["--budget", "20cpu-minutes", f"{option}={value}"])
    except UserError as error:
        told = str(error)
    assert "\n" not in told


def test_a_budget_is_needed(capsys):
    assert run_bench.main(["--methods", "simclr"]) == 2
    assert "--budget is needed, such as 8gpu-hours" in capsys.readouterr().err


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_status_2_and_leaves_nothing(case: str, tmp_path: Path, capfd):
    make, expected = BAD[case]
    words = ["--methods", "simclr", "--budget", "20cpu-minutes", "--run-dir", str(tmp_path / "run"), *make(tmp_path)]
    assert run_bench.main(words) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert re.search(expected, lines[-1])
    assert "Traceback" not in "".join(lines)
    assert not (tmp_path / "run").exists()
    assert not ray.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpus_are_not_asked_for_where_there_are_none(tmp_path: Path, capfd):
    words = ["--methods", "simclr", "--budget", "8gpu-hours", "--dataset", "shapes", "--run-dir", str(tmp_path / "run")]
    assert run_bench.main(words) == 2
    assert "finds none here" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


SMALL = ["--methods", "simclr", "--dataset", "shapes", "--limit", "100", "--budget", "20cpu-minutes"]


@dataclasses.dataclass
class Begun:
    """What a run that trains nothing was begun with: its calibrations' experiments, its plans."""

    calibrated: list
    plans: list


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """The command with a calibration that measures nothing, and a run that ends once its session is in the ledger."""
    found = Begun([], [])

    def calibrate(experiment):
        found.calibrated.append(experiment)
        names = [*experiment.spaces, *experiment.baselines]
        seconds = {"epoch": 0.1 + 0.01 * len(found.calibrated), "evaluation": 0.1, "start": 0.0}
        return {"calibration": dict.fromkeys(names, seconds), "startup": 1.0, "choices": {}}

    def recorded(plan, *arguments, run=tune.run, **options):
        found.plans.append(plan)
        return run(plan, *arguments, **options)

    monkeypatch.setattr(planning, "calibrate", calibrate)
    monkeypatch.setattr(Search, "work_left", lambda search: False)
    monkeypatch.setattr(tune, "run", recorded)
    return found


def test_an_existing_folder_is_left_as_it_was_by_what_is_refused_and_by_a_plan_but_for_its_calibration(
    begun, tmp_path, capfd
):
    (tmp_path / "mine").touch()
    words = [*SMALL, "--run-dir", str(tmp_path)]
    assert run_bench.main([*words, "--searcher", "grid"]) == 2
    assert not begun.calibrated
    assert run_bench.main([*words, "--budget", "3cpu-seconds"]) == 2
    assert len(begun.calibrated) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert run_bench.main([*words, "--dry-run"]) == 0
    assert "s/epoch" in capfd.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.json", "mine"]


def test_the_images_are_written_once_into_the_runs_folder_and_before_the_calibration(begun, tmp_path, monkeypatch):
    written = []

    def save(dataset, folder, save=images.save):
        before = set(Path(folder).rglob("*"))
        save(dataset, folder)
        written.append(len(set(Path(folder).rglob("*")) - before))

    def calibrate(experiment, calibrate=planning.calibrate):
        assert images.open_saved(experiment.local["data"]).name == "shapes"
        assert Path(experiment.local["data"]).is_relative_to(tmp_path / "run")
        return calibrate(experiment)

    monkeypatch.setattr(images, "save", save)
    monkeypatch.setattr(planning, "calibrate", calibrate)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    assert run_bench.main([*SMALL, "--run-dir", str(tmp_path / "run")]) == 0
    assert written == [1]
    assert not list((tmp_path / "scratch").iterdir())
    data = list((tmp_path / "run" / "data").rglob("*"))
    assert run_bench.main([*SMALL, "--run-dir", str(tmp_path / "run"), "--budget", "3cpu-seconds"]) == 2
    assert list((tmp_path / "run" / "data").rglob("*")) == data, "what is refused has removed the images of a run"


def test_a_run_of_which_all_methods_were_given_up_fails(begun, tmp_path, capfd):
    run_dir = tmp_path / "run"
    words = [*SMALL, "--run-dir", str(run_dir)]
    assert run_bench.main(words) == 0
    ledger = Ledger(run_dir)
    ledger.append("chosen", method="simclr", winner=None, share=1.0, reason="5 trials failed: no memory")
    ledger.close()
    assert run_bench.main(words) == 1
    assert "simclr was given up: 5 trials failed: no memory" in capfd.readouterr().out


def test_a_run_begins_with_the_plan_of_the_dry_run_before_it(begun, tmp_path, capfd):
    words = [*SMALL, "--run-dir", str(tmp_path / "run")]
    assert run_bench.main([*words, "--dry-run"]) == 0
    planned = capfd.readouterr().out
    assert run_bench.main(words) == 0
    table = [line for line in planned.splitlines() if line.startswith(("  simclr", "Plan:"))]
    assert len(table) == 2
    assert set(table) <= set(capfd.readouterr().out.splitlines())
    assert len(begun.calibrated) == 1
    assert read(tmp_path / "run" / "ledger.jsonl").plan["epochs"] == begun.plans[0].epochs


def test_the_seed_is_the_experiments_and_the_default_is_0(begun, tmp_path):
    for words, seed in (([], 0), (["--seed", "7"], 7)):
        assert run_bench.main([*SMALL, "--run-dir", str(tmp_path / str(seed)), *words]) == 0
        assert begun.plans.pop().experiment.seed == seed
        assert read(tmp_path / str(seed) / "ledger.jsonl").settings["seed"] == seed


def test_a_run_that_goes_on_as_if_on_another_machine_warns_in_one_line_and_calibrates_anew(
    begun, tmp_path, monkeypatch, capfd
):
    words = [*SMALL, "--run-dir", str(tmp_path / "run")]
    assert run_bench.main(words) == 0
    assert run_bench.main(words) == 0
    assert "warning" not in capfd.readouterr().err
    assert len(begun.calibrated) == 1
    here = run_bench.machine_facts(False)
    there = here | {"device": "CPU in 2 digits", "versions": here["versions"] | {"torch": "9.9"}}
    monkeypatch.setattr(run_bench, "machine_facts", lambda on_gpu: there)
    assert run_bench.main(words) == 0
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert f"device {here['device']}, PyTorch {here['versions']['torch']}, and goes on with" in warnings[0]
    assert "goes on with device CPU in 2 digits, PyTorch 9.9" in warnings[0]
    assert len(begun.calibrated) == 2
    fold = read(tmp_path / "run" / "ledger.jsonl")
    assert [session["facts"]["device"] for session in fold.sessions] == [here["device"]] * 2 + ["CPU in 2 digits"]
    assert ["plan" in session for session in fold.sessions] == [False, False, True]
    assert fold.plan["calibration_seconds"] == begun.plans[-1].calibration_seconds


@pytest.mark.parametrize(
    ("asked", "begun_with", "on_gpu", "seconds", "expected"),
    [
        (None, {}, True, 599.0, "off"),
        (None, {}, True, 600.0, "on"),
        (None, {}, False, 1e9, "off"),
        (None, {"compile": "off"}, True, 1e9, "off"),
        (None, {"compile": "on"}, True, 1.0, "on"),
        ("on", {"compile": "off"}, True, 1.0, "on"),
        ("off", {}, True, 1e9, "off"),
    ],
)
def test_compiling_is_decided_when_a_run_begins_and_no_larger_budget_switches_it(
    asked, begun_with, on_gpu, seconds, expected
):
    assert run_bench.compiling(asked, begun_with, on_gpu, seconds) == expected


def test_a_run_continues_with_the_compile_setting_it_began_with_and_with_no_other(begun, tmp_path, monkeypatch, capfd):
    words = [*SMALL, "--run-dir", str(tmp_path / "run")]
    monkeypatch.setattr(run_bench, "compiling", lambda *_: "on")
    assert run_bench.main(words) == 0
    monkeypatch.undo()
    planning_calls = len(begun.plans)
    assert run_bench.main([*words, "--budget", "40cpu-minutes", "--dry-run"]) == 0
    assert run_bench.main([*words, "--compile", "on", "--dry-run"]) == 0
    assert run_bench.main([*words, "--compile", "off", "--dry-run"]) == 2
    assert "compile on, not off; use --fresh" in capfd.readouterr().err
    assert len(begun.plans) == planning_calls


@pytest.mark.parametrize(("encoder", "notes"), [("vit_tiny", 1), ("resnet8", 0)])
def test_that_no_recipe_is_published_here_for_a_vit_is_said_once_before_the_run(begun, tmp_path, capfd, encoder, notes):
    assert run_bench.main([*SMALL, "--encoder", encoder, "--run-dir", str(tmp_path), "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert told.count("note: vit_tiny is a ViT, and the recipes") == notes
    assert not notes or told.index("note: vit_tiny") < told.index("Plan:")


def test_a_run_of_an_earlier_version_is_refused_in_one_line_and_left_as_it_was(begun, tmp_path, capfd):
    run_dir = tmp_path / "run"
    assert run_bench.main([*SMALL, "--run-dir", str(run_dir)]) == 0
    path = run_dir / "ledger.jsonl"
    path.write_text(path.read_text().replace(f'"format":{FORMAT}', '"format":1'))
    before = {entry: entry.stat().st_mtime_ns for entry in run_dir.rglob("*")}
    assert run_bench.main([*SMALL, "--run-dir", str(run_dir)]) == 2
    told = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"error: .* holds a run that an earlier version began.*version, or use --fresh.*", told[-1])
    assert {entry: entry.stat().st_mtime_ns for entry in run_dir.rglob("*")} == before
    assert run_bench.main([*SMALL, "--run-dir", str(run_dir), "--fresh"]) == 0


def test_paths_that_are_not_utf_8_go_through_the_ledger_and_into_the_report(begun, tmp_path, capfd):
    where = Path(os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es"))
    words = ["--methods", "simclr", "--budget", "20cpu-minutes", "--dataset", str(class_folders(where, [16]))]
    run_dir = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9sultats"))
    assert run_bench.main([*words, "--run-dir", str(run_dir)]) == 0, capfd.readouterr().err
    ledger = Ledger(run_dir)
    trial = {"uid": "a", "method": "simclr", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}}
    ledger.append("suggested", **trial, parameters={}, published=True, of=None, epochs=1, evaluate_at=[1])
    ledger.close()
    assert run_bench.main([*words, "--run-dir", str(run_dir)]) == 0, capfd.readouterr().err
    assert list(pd.read_parquet(io.BytesIO((run_dir / "trials.parquet").read_bytes())).run) == [r"r\udce9sultats"]
    assert r"r\udce9sultats" in (run_dir / "report.html").read_text()


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])

    def run(options):
        print("90.1 ± 0.2 on donn\udce9es")
        raise UserError("no folder données")

    monkeypatch.setattr(run_bench, "run", run)
    assert run_bench.main(["--budget", "20cpu-minutes"]) == 2
    told = [stream.detach().getvalue() for stream in streams]
    assert told == [b"90.1 \\xb1 0.2 on donn\\udce9es\n", b"error: no folder donn\\xe9es\n"]


def test_a_user_without_a_home_gets_one_for_as_long_as_the_command_runs(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def run(options):
        seen.append(Path.home())
        assert seen[0].is_dir()
        assert getpass.getuser()
        return 0

    def nobody(_):
        raise KeyError("uid not found")

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(run_bench, "run", run)
    assert run_bench.main(["--budget", "20cpu-minutes"]) == 0
    assert not seen[0].exists()
    assert "HOME" not in os.environ


def test_the_home_of_a_user_who_has_one_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(run_bench, "run", lambda options: int(Path.home() != tmp_path))
    assert run_bench.main(["--budget", "20cpu-minutes"]) == 0


def test_a_disk_that_fails_at_the_end_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capfd):
    def fail(options):
        raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(run_bench, "run", fail)
    assert run_bench.main(["--budget", "20cpu-minutes"]) == 2
    told = capfd.readouterr().err
    assert "No space left on device: 'report.html'" in told
    assert len(told.splitlines()) == 1


def test_a_faulty_search_space_stops_the_command(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "simclr.yaml").write_text(
        "method: simclr\npaper: x\nrecipe: {source: x}\nhyperparameters: {temprature: {default: 1, source: x}}\n"
    )
    monkeypatch.setattr(search_space.load, "__defaults__", (tmp_path,))
    assert run_bench.main(["--methods", "simclr", "--budget", "20cpu-minutes"]) == 2
    assert "did you mean temperature" in capfd.readouterr().err


def command(run_dir: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_bench.py"), "--run-dir", str(run_dir), *words],
        capture_output=True,
        text=True,
        cwd=run_dir.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=400,
        check=False,
    )


def test_a_searcher_in_the_working_directory_is_found_and_nothing_else_there_is_taken_for_a_module(tmp_path: Path):
    for name in ("bench/__init__.py", "queue.py", "profile.py", "mine.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'raise RuntimeError("{name} was imported")')
    done = command(tmp_path / "run", *SMALL, "--searcher", "mine:process")
    assert done.returncode == 2
    assert re.search(r"mine:process.*RuntimeError: mine.py was imported", done.stderr)


def held_by_the_clock(events: list[dict]) -> float:
    """Device-seconds in which trials had slots, by the times of the ledger's events: one slot is one core."""
    since, total = {}, 0.0
    for event in events:
        if event["event"] == "assigned":
            since[event["uid"]] = event["time"]
        elif event["event"] in ("lost", "cut", "failed") or event.get("decision", "continue") != "continue":
            total += event["time"] - since.pop(event["uid"])
    assert not since, "a trial that was given out has never ended"
    return total


def test_a_run_leaves_parquet_table_and_report_and_is_not_repeated(tmp_path: Path, capfd):
    """Two methods on the user's own images, from another folder; then the same command again."""
    own = class_folders(tmp_path / "images", [16])
    run_dir = tmp_path / "run"
    words = ["--methods", "simclr,moco", "--epochs", "2", "--dataset", str(own), "--seeds", "2"]
    readme = (ROOT / "README.md").read_bytes()

    planned = command(run_dir, *words, "--budget", "9cpu-hours", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "s/epoch" in planned.stdout
    assert [path.name for path in run_dir.iterdir()] == ["calibration.json"]

    for seconds in (45, 90, 180, 360):  # where the machine is busy, the same run goes on with a larger budget
        budget = ["--budget", f"{seconds}cpu-seconds"]
        first = command(run_dir, *words, *budget)
        if first.returncode == 2 and "would do" in first.stderr:
            continue
        assert first.returncode == 0, first.stderr
        fold = read(run_dir / "ledger.jsonl")
        published = {method: list(fold.of(method, "published")) for method in ("simclr", "moco")}
        if all(any(trial.state == "complete" for trial in found) for found in published.values()):
            break
    assert "Plan: 2 methods" in first.stdout
    assert str(run_dir / "report.html") in first.stdout
    trials, epochs = pd.read_parquet(run_dir / "trials.parquet"), pd.read_parquet(run_dir / "epochs.parquet")
    complete = trials[trials.state == "complete"]
    assert set(complete.stage) >= {"search", "published", "baseline"}
    assert set(complete[complete.stage == "baseline"].method) == {"pixels", "random", "supervised"}
    for method in ("simclr", "moco"):
        confirmed = complete[(complete.method == method) & complete.stage.isin(["confirm", "published"])]
        # A machine that slows down in the middle confirms with fewer seeds: time must not decide a test.
        assert confirmed.groupby("stage").size().ge(1).all()
        assert "published" in set(confirmed.stage)
        assert confirmed.test_knn_200.between(0, 1).all()
        recipe = complete[(complete.method == method) & (complete.stage == "search") & complete.published_recipe]
        assert len(recipe) == 1
    assert complete[complete.stage == "search"].test_knn_200.isna().all(), "search has met the test images"
    assert set(epochs.uid) <= set(trials.uid)
    for name in ("table.md", "table.csv", "report.html", "plotly.min.js"):
        assert (run_dir / name).stat().st_size > 100
    assert (ROOT / "README.md").read_bytes() == readme, "a run on other images than CIFAR-10 changed the README"

    # All that trials held is charged, and nothing else; the budget holds to what passes between two looks at the clock.
    events, _ = read_events(run_dir / "ledger.jsonl")
    held = held_by_the_clock(events)
    assert fold.plan["calibration_seconds"] > 0
    assert fold.charged - fold.plan["calibration_seconds"] == pytest.approx(held, rel=0.05)
    for trial in fold.trials.values():
        trained = sum(report["seconds"] + report["evaluation_seconds"] for report in trial.reports.values())
        assert trained <= trial.held * 1.001
    began = max(place for place, event in enumerate(events) if event["event"] == "session")
    longest = max(after["time"] - before["time"] for before, after in pairwise(events[began:]))
    assert fold.charged <= seconds + longest * fold.sessions[-1]["slots"]

    again = command(run_dir, *words, *budget)
    assert again.returncode == 0, again.stderr
    after = read(run_dir / "ledger.jsonl")
    assert after.trials.keys() >= fold.trials.keys()
    for uid, trial in fold.trials.items():
        if trial.state == "complete":
            assert after.trials[uid].reports == trial.reports

    assert run_bench.main(["--run-dir", str(run_dir), *words, *budget, "--encoder", "vit_tiny"]) == 2
    assert "--fresh" in capfd.readouterr().err
