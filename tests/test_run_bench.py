"""The command as a user calls it: what bad input gets, and one whole run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image

import run_bench
from bench import search_space
from bench.ledger import read

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
    "no budget": (lambda _: ["--budget", ""], r"--budget is needed, such as 8gpu-hours"),
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
    "no seeds": (lambda _: ["--seeds", "0"], r"positive"),
    "too large a share of a GPU": (lambda _: ["--gpus-per-trial", "2"], r"up to 1"),
    "unknown searcher": (lambda _: ["--searcher", "grid"], r"no searcher 'grid'.*tpe"),
    "unknown scheduler": (lambda _: ["--scheduler", "hyper"], r"no scheduler 'hyper'.*asha"),
    "README's table of a plan": (lambda _: ["--dry-run", "--update-readme"], r"--update-readme needs a run"),
    "README's table of other images": (readme_for_other_images, r"README.md are of runs on cifar10.*on shapes"),
    "README's table of another encoder": (readme_without_the_encoder, r"README.md should hold .*table:vit_tiny:begin"),
    "too small a budget": (lambda _: ["--budget", "3cpu-seconds"], r"too small.*--budget \d+cpu-\w+ would do"),
}


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


def test_an_existing_folder_is_left_as_it_was_by_what_is_refused_and_by_a_plan(tmp_path: Path, capfd):
    (tmp_path / "mine").touch()
    words = ["--methods", "simclr", "--run-dir", str(tmp_path), "--dataset", "shapes", "--limit", "100"]
    assert run_bench.main([*words, "--budget", "20cpu-minutes", "--searcher", "grid"]) == 2
    assert run_bench.main([*words, "--budget", "20cpu-minutes", "--dry-run"]) == 0
    assert "s/epoch" in capfd.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


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
        "method: simclr\npaper: x\nhyperparameters: {temprature: {default: 1, source: x}}\n"
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


def test_a_run_leaves_parquet_table_and_report_and_is_not_repeated(tmp_path: Path):
    """Two methods on the user's own images, from another folder; then the same command again."""
    images = class_folders(tmp_path / "images", [16])
    run_dir = tmp_path / "run"
    words = ["--methods", "simclr,moco", "--budget", "2cpu-minutes", "--epochs", "2", "--dataset", str(images)]
    words += ["--seeds", "2"]
    readme = (ROOT / "README.md").read_bytes()

    planned = command(run_dir, *words, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "s/epoch" in planned.stdout
    assert not run_dir.exists()

    first = command(run_dir, *words)
    assert first.returncode == 0, first.stderr
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

    fold = read(run_dir / "ledger.jsonl")
    assert fold.charged <= 120 * 1.02 + 2 * 30
    again = command(run_dir, *words)
    assert again.returncode == 0, again.stderr
    after = read(run_dir / "ledger.jsonl")
    assert after.trials.keys() >= fold.trials.keys()
    for uid, trial in fold.trials.items():
        if trial.state == "complete":
            assert after.trials[uid].reports == trial.reports

    other = command(run_dir, *words, "--encoder", "vit_tiny")
    assert other.returncode == 2
    assert "--fresh" in other.stderr
