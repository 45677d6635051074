"""What the README shows can be done: its commands are understood by the programs that they name, and its code runs.

Everything is read from README.md, and every block of it must be known here, by what it holds.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pandas
import pytest
import torch
from safetensors.torch import load_file

import run_bench
from algorithms import method_class
from algorithms.encoders import build_encoder
from algorithms.images.augment import unaugmented
from algorithms.images.statistics import Statistics
from algorithms.images.store import pack
from bench.commands.main import COMMANDS, ssl_bench
from bench.execution import ray_cluster
from bench.execution.embedding import embed
from tests.bench import synthetic_run
from tests.bench.data.builders import class_folders

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall(README)
"""(language, text) of each."""
LOADING, LOOP, METHOD, SPACE, PLUGINS, NETWORK, ALIKE, DOUBTFUL, JUDGING, QUERIES = RUN = (
    'torch.export.load("encoder.pt2")',
    "for report in trainer",
    "class MyMethod(Method)",
    "method: mymethod",
    "def process(seed)",
    "def pretrained(channels)",
    "alike = duckdb.sql",
    "doubtful = pairs.filter",
    "found = evaluate(",
    "arg_max(hyperparameters",
)
"""What tells the blocks that are run here from each other."""


def block(mark: str) -> str:
    (text,) = [text for _, text in BLOCKS if mark in text]
    return text


def commands() -> list[str]:
    """Those of the shell blocks, and those between backquotes in the text."""
    lines = "\n".join(text for language, text in BLOCKS if language == "bash").splitlines()
    spans = (" ".join(span.split()) for span in re.findall(r"(?<!\\)`([^`]+)`", FENCE.sub("", README)))
    lines += [span for span in spans if re.match(r"python3? |run_bench\.py |ssl-bench ", span)]
    return [part for line in lines for part in line.split("&&") if shlex.split(part, comments=True)]


def options(command: click.Command) -> set[str]:
    """Of a command, those that its help tells."""
    shown = (each for each in command.params if isinstance(each, click.Option) and not each.hidden)
    return {"--help", *(name for each in shown for name in each.opts)}


def check_command(command: click.Command, words: list[str]) -> None:
    """Whether a command of ours understands the words: whole, since an abbreviation is none to it."""
    named = {word.split("=")[0] for word in words if word.startswith("--")}
    assert named <= options(command)
    if "--help" not in named:
        command.make_context(command.name, ["simclr" if word == "METHOD" else word for word in words])


def check_ssl_bench(words: list[str]) -> None:
    assert words[0] in COMMANDS
    check_command(subcommand(words[0]), words[1:])


def subcommand(name: str) -> click.Command:
    return ssl_bench.get_command(click.Context(ssl_bench), name)


def check_python(words: list[str]) -> None:
    """`python` with these words: a module or a script that is there, and has the options."""
    if words[0] == "-m":
        if words[1] in ("venv", "pytest"):
            return
        found = importlib.util.find_spec(words[1])
        assert found, f"there is no module {words[1]}"
        script, words = Path(found.origin), words[2:]
    else:
        script, words = ROOT / words[0], words[1:]
    if script.name == "run_bench.py":
        check_command(run_bench.command, words)
    else:
        named = {word.split("=")[0] for word in words if word.startswith("--")}
        source = script.read_text()
        assert [option for option in named if f'"{option}"' not in source] == []


def check_pip(words: list[str]) -> None:
    assert words[:2] == ["install", "-c"]
    assert (ROOT / words[2]).is_file()
    if extra := re.fullmatch(r"\.\[(\w+)\]", words[-1]):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert extra[1] in project["optional-dependencies"]


def check_ray(words: list[str]) -> None:
    from ray.scripts.scripts import cli

    words = words[: words.index(">")] if ">" in words else words
    cli.commands[words[0]].make_context(words[0], words[1:])


def check_export(words: list[str]) -> None:
    """Variables that the product sets itself, where it starts Ray."""
    for name, value in (word.split("=") for word in words):
        assert (ray_cluster.ENVIRONMENT | {"RAY_AUTH_MODE": "token"})[name] == value


def check_chmod(words: list[str]) -> None:
    """The file in which Ray keeps its token, for its user alone."""
    from ray._private.authentication import authentication_token_setup as setup

    assert words[0] == "600"
    assert Path(words[1]).expanduser() == setup._get_default_token_path()


PROGRAMS = {
    "pip": check_pip,
    "ssl-bench": check_ssl_bench,
    "ray": check_ray,
    "export": check_export,
    "chmod": check_chmod,
}


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood_by_the_program_that_it_names(command: str):
    program, *words = shlex.split(command, comments=True)
    name = Path(program).name
    if name == "run_bench.py":
        name, words = "python", [name, *words]
    PROGRAMS.get(name.rstrip("3"), check_python if name.startswith("python") else None)(words)


def test_options_that_the_text_names_are_those_of_the_command():
    named = set(re.findall(r"`(--[a-z][a-z-]*)", FENCE.sub("", README)))
    assert len(named) > 5
    assert named <= set().union(*(options(subcommand(name)) for name in COMMANDS))


def test_every_block_is_a_command_or_run_here():
    unknown = [text for language, text in BLOCKS if language != "bash" and sum(mark in text for mark in RUN) != 1]
    assert unknown == []
    assert len([language for language, _ in BLOCKS if language != "bash"]) == len(RUN)


# ------------------------------------------------------------------------------------------------ the code, run


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The product's files, in a folder where files can be added."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("algorithms", "bench", "search_spaces"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_bench.py", folder)
    return folder


def python(checkout: Path, *words: str, folder: Path | None = None) -> str:
    """What a program prints that is called in the checkout, or in another `folder` with the checkout's modules."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder or checkout,
        env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},  # on a busy machine the quickest
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SSL_BENCH = "import sys; from bench.commands.main import main; sys.exit(main())"


@pytest.mark.slow
def test_the_loop_of_ones_own_trains_and_keeps_an_encoder(checkout: Path, tmp_path: Path):
    told = python(checkout, "-c", block(LOOP), folder=tmp_path)
    assert [line.split()[0] for line in told.splitlines()] == ["1", "2"]
    assert (tmp_path / "encoder.pt").stat().st_size > 100_000


@pytest.mark.slow
def test_the_encoder_that_train_keeps_is_loaded_and_gives_the_features_that_were_judged(checkout: Path):
    words = ["train", "byol", "--image-size", "64", "--encoder", "resnet18", "--run-dir", str(checkout / "run")]
    python(checkout, "-c", SSL_BENCH, *words, "--dataset", "shapes", "--limit", "16", "--epochs", "1")
    kept = checkout / "run" / "trained" / "byol"
    torch.save(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8), kept / "images.pt")
    lines = ["import torch", 'images = torch.load("images.pt")', block(LOADING), 'torch.save(features, "features.pt")']
    python(checkout, "-c", "\n".join(lines), folder=kept)

    encoder = method_class("byol").build_encoder("resnet18", 64)
    encoder.load_state_dict(load_file(kept / "model.safetensors"))
    pixels = pack(torch.load(kept / "images.pt"))
    seen = json.loads((kept / "card.json").read_text())["preprocessing"]
    statistics = Statistics(tuple(seen["mean"]), tuple(seen["std"]))
    expected = encoder.eval()(unaugmented(pixels, statistics.on("cpu")))
    assert torch.allclose(torch.load(kept / "features.pt"), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_network_of_ones_own_with_its_weights_begins_a_training(checkout: Path, tmp_path: Path):
    (tmp_path / "mine.py").write_text(block(NETWORK))
    python(
        checkout, "-c", 'import mine, torch; torch.save(mine.network(3).state_dict(), "weights.pth")', folder=tmp_path
    )
    words = ["train", "byol", "--encoder", "mine.py:network", "--init", "mine.py:pretrained", "--run-dir", "run"]
    words += ["--dataset", "shapes", "--image-size", "32", "--limit", "16", "--epochs", "1"]
    told = python(checkout, "-c", SSL_BENCH, *words, folder=tmp_path)
    assert "init: mine.py:pretrained: all 4 tensors fit" in told
    facts = json.loads((tmp_path / "run" / "trained" / "byol-warm" / "training.json").read_text())["facts"]
    assert (facts["mean"], facts["trained_on"]) == ([0.5] * 3, "leaves")


@pytest.mark.slow
def test_a_method_of_ones_own_is_trained_by_its_name(checkout: Path):
    imports = [line for line in (ROOT / "algorithms" / "simclr.py").read_text().splitlines() if " import " in line]
    (checkout / "algorithms" / "mymethod.py").write_text("\n".join([*imports, "", block(METHOD)]))
    (checkout / "search_spaces" / "mymethod.yaml").write_text(block(SPACE))
    table = checkout / "algorithms" / "__init__.py"
    table.write_text(table.read_text().replace("_MODERN = {", '_MODERN = {\n    "mymethod": "MyMethod",', 1))
    words = ["--dataset", "shapes", "--limit", "64", "--image-size", "8", "--epochs", "1"]
    told = python(checkout, "-c", SSL_BENCH, "train", "mymethod", *words, "--run-dir", str(checkout / "mine"))
    assert "epoch 1 of 1" in told
    assert (checkout / "mine" / "trained" / "mymethod" / "card.json").is_file()


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the working one, with the features of images: `dog/0002.png` is the same picture as `cat/0001.png`."""
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "photos", {"cat": 4, "dog": 4})
    shutil.copy("photos/cat/0001.png", "photos/dog/0002.png")
    Path("net.py").write_text("from torch import nn\n\n\ndef made():\n    return nn.Conv2d(3, 512, 16)\n")
    embed("net.py:made", "photos", "features.parquet", image_size=16)
    return tmp_path


def test_features_are_searched_by_duckdb(embedded: Path):
    pytest.importorskip("duckdb")
    found: dict[str, list[tuple[str, float]]] = {}
    exec(block(ALIKE), found)
    (first, _), (second, similarity), *others = found["alike"]
    assert {first, second} == {"cat/0001.png", "dog/0002.png"}
    assert (similarity, len(others)) == (pytest.approx(1), 3)


def test_features_are_searched_by_faiss_and_polars(embedded: Path):
    pytest.importorskip("faiss")
    pytest.importorskip("polars")
    found: dict[str, Any] = {}
    exec(block(DOUBTFUL), found)
    best = found["doubtful"].row(0, named=True)
    assert {best["path"], best["other_path"]} == {"cat/0001.png", "dog/0002.png"}
    assert best["similarity"] == pytest.approx(1)


def test_the_queries_answer_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    duckdb = pytest.importorskip("duckdb")
    synthetic_run.write(tmp_path, failing={("moco", "search"): 3})
    monkeypatch.chdir(tmp_path)
    asked = block(QUERIES).split(";")[:-1]
    answers = [duckdb.sql(query).df() for query in asked]
    best, cost, ranks, top, failed = answers
    trials = pandas.read_parquet("trials.parquet")
    search = trials[(trials.stage == "search") & (trials.state == "complete")]
    assert dict(zip(best.method, best.accuracy, strict=True)) == search.groupby("method").train_knn_200.max().to_dict()
    of_best = search.set_index(["method", "hyperparameters"]).train_knn_200
    assert [of_best[method, asked_for] for method, asked_for in zip(best.method, best.best, strict=True)] == [
        *best.accuracy
    ]
    assert cost.hours.sum() == pytest.approx(trials.device_seconds.sum() / 3600)
    of_failed = trials[trials.state == "failed"]
    assert cost.failed_hours.sum() == pytest.approx(of_failed.device_seconds.sum() / 3600)
    assert list(ranks.epoch) == list(range(1, 21))
    assert (ranks.method.nunique(), ranks.place.iloc[-1]) == (1, 1)
    assert list(top.accuracy) == sorted(search.train_knn_200, reverse=True)[:10]
    assert top.learning_rate.astype(float).between(0.005, 0.5).all()
    assert failed.trials.sum() == len(of_failed) >= 3


def test_any_encoder_is_judged_in_three_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    encoder = tmp_path / "encoder.pt"
    torch.save(build_encoder("resnet8", 8).state_dict(), encoder)
    text = block(JUDGING).replace("torchvision:resnet18", f"resnet8={encoder}").replace("path/to/images", "shapes")
    exec(text.replace('"shapes"', '"shapes", image_size=8, limit=64'), {})
    assert "linear probe" in capsys.readouterr().out


IN_VIRTUAL_TIME = """
import collections, dataclasses, sys
from bench.search.simulate import plan_for, simulate, synthetic

calibration, curve = synthetic(1)
plan = plan_for(calibration, slots=2, trials=30, epochs=8)
experiment = dataclasses.replace(plan.experiment, searcher=sys.argv[1], scheduler=sys.argv[2])
fold, _ = simulate(dataclasses.replace(plan, experiment=experiment), curve)
search = [trial for trial in fold.trials.values() if trial.stage == "search"]
print(*(trial.state for trial in search))
print(len({trial.hyperparameters["x"] for trial in search}))
"""


def test_a_searcher_and_a_scheduler_of_ones_own_decide_a_search(checkout: Path):
    (checkout / "mine.py").write_text("import statistics\n\nimport optuna\n\n\n" + block(PLUGINS))
    names = re.findall(r"--(searcher|scheduler) ([\w:]+)", block(PLUGINS))
    assert [kind for kind, _ in names] == ["searcher", "scheduler"]
    states, different = python(checkout, "-c", IN_VIRTUAL_TIME, *(name for _, name in names)).splitlines()
    assert {"complete", "pruned"} <= set(states.split())
    assert int(different) > 5
