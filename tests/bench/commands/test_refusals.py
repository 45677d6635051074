"""What `ssl-bench run` refuses: in one line, with status 2, and nothing is left behind."""

import re
import shutil
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from hypothesis import given
from hypothesis import strategies as st

import run_bench
from bench.commands import run
from bench.errors import UserError
from bench.search import space as search_space
from tests.bench.class_folders import class_folders

ROOT = Path(__file__).resolve().parents[3]


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


def a_run_of_other_methods(folder: Path) -> list[str]:
    (folder / "earlier").mkdir()
    shutil.copy(ROOT / "tests/bench/search/interrupted.jsonl", folder / "earlier" / "ledger.jsonl")
    return ["--methods", "barlow", "--dataset", "shapes", "--limit", "100", "--learn-from", str(folder / "earlier")]


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
    "no run to learn from": (
        lambda folder: ["--dataset", "shapes", "--limit", "100", "--learn-from", str(folder / "earlier")],
        r"there is no run in .*earlier; --learn-from takes the folder of one",
    ),
    "a run of other methods to learn from": (a_run_of_other_methods, r"has none of barlow, but byol, sela, simclr;"),
    "unknown scheduler": (lambda _: ["--scheduler", "hyper"], r"no scheduler 'hyper'.*asha"),
    "README's table of a plan": (lambda _: ["--dry-run", "--update-readme"], r"--update-readme needs a run"),
    "README's table of other images": (readme_for_other_images, r"README.md are of runs on cifar10.*on shapes"),
    "README's table of another encoder": (readme_without_the_encoder, r"README.md should hold .*table:vit_tiny:begin"),
    "too small a budget": (lambda _: ["--budget", "3cpu-seconds"], r"too small.*--budget \d+cpu-\w+ would do"),
}


VALUED = [
    each.opts[0]
    for each in run.command.params
    if isinstance(each, click.Option) and not each.is_flag and not each.hidden
]
"""The options that take a value."""


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("option", VALUED)
def test_an_option_with_an_empty_value_is_refused_in_one_line(option: str, value: str, capsys):
    assert run_bench.main(["--budget", "20cpu-minutes", option, value]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(rf"error: argument {option}: .*\n", told)


@pytest.mark.slow
@given(st.sampled_from(VALUED), st.text(max_size=20) | st.integers().map(str) | st.floats().map(str))
def test_whatever_the_value_of_an_option_it_is_parsed_or_refused_in_one_line(option: str, value: str):
    told = ""
    try:
        run.command.make_context("run", ["--budget", "20cpu-minutes", f"{option}={value}"])
    except click.BadParameter as error:
        told = str(UserError(error.message))
    assert "\n" not in told


@pytest.mark.parametrize("option", run.MOVED)
def test_an_option_that_has_become_a_command_says_what_to_type(option: str, capfd):
    assert run_bench.main([option, "byol", "--dataset", "shapes"]) == 2
    told = capfd.readouterr().err
    assert re.fullmatch(rf"error: {option} has .*type: ssl-bench {option[2:]} byol \.\.\.\n", told)


def test_a_budget_is_needed(capsys):
    assert run_bench.main(["--methods", "simclr"]) == 2
    assert "--budget is needed, such as 8gpu-hours" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_status_2_and_leaves_nothing(case: str, tmp_path: Path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)  # where the README is
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


def test_a_faulty_search_space_stops_the_command(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "simclr.yaml").write_text(
        "method: simclr\npaper: x\nrecipe: {source: x}\nhyperparameters: {temprature: {default: 1, source: x}}\n"
    )
    monkeypatch.setattr(search_space.load, "__defaults__", (tmp_path,))
    assert run_bench.main(["--methods", "simclr", "--budget", "20cpu-minutes"]) == 2
    assert "did you mean temperature" in capfd.readouterr().err
