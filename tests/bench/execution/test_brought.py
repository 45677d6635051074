"""Methods and encoders that users bring: found, checked, trained, compared, and part of what identifies a run."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bench import doors
from bench.errors import UserError
from bench.execution import benchmark, brought
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.execution.processes import Processes
from bench.search.budget import Budget
from bench.search.fold import read

OWN = """
import optuna
import torch
from torch import nn

from algorithms.method import Method
from algorithms.parts.heads import mlp
from algorithms.parts.losses import nt_xent
from algorithms.parts.views import simclr_views


def network(image_size):
    layers = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers)


def flat(image_size):
    return nn.Flatten(0)


def fails(image_size):
    raise RuntimeError("no weights here")


def nothing(image_size):
    return image_size


class MyMethod(Method):
    def __init__(self, setting, encoder, *, temperature):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.projector = mlp([encoder.width, 16, 8])
        self.views = simclr_views(setting)

    def loss(self, views, index):
        first, second = (self.projector(self.encoder(view)) for view in views)
        return nt_xent(first, second, self.temperature)


class NoMethod:
    pass


def find(seed):
    return optuna.samplers.RandomSampler(seed)


class Half:
    def __init__(self, epochs):
        self.milestones = [max(1, epochs // 2)]

    def arrive(self, uid, epoch, accuracy):
        return True
"""
SPACE = """
method: mymethod
paper: "2002.05709"
recipe: {source: "a test"}
hyperparameters:
  temperature: {default: 0.5, source: "a test", low: 0.05, high: 1.0, scale: log}
  learning_rate: {default: 0.12, source: "a test", low: 0.01, high: 1.0, scale: log}
  weight_decay: {default: 5.0e-4, source: "a test"}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `mine.py` and its search space, which is the working directory."""
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "mine.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = {"dataset": "shapes", "limit": 64, "image_size": 8}


def test_a_method_is_called_as_its_search_space_says(own):
    spaces = brought.load_spaces(("simclr", "mine.py:MyMethod"), 8)
    assert list(spaces) == ["simclr", "mymethod"]
    assert spaces["mymethod"].defaults == {"temperature": 0.5, "learning_rate": 0.12, "weight_decay": 5e-4}
    assert brought.doors_of(spaces, ("simclr", "mine.py:MyMethod")) == {"mymethod": f"{own}/mine.py:MyMethod"}


def test_with_a_preset_a_method_of_ones_own_searches_the_settings_that_ours_do(own):
    names = ("simclr", "mine.py:MyMethod")
    before, spaces = brought.load_spaces(names, 8), brought.load_spaces(names, 8, "text")
    added = [spaces[name].entries.keys() - before[name].entries.keys() for name in spaces]
    assert added[0] == added[1] >= {"augment", "least_crop", "jitter_strength"}
    assert spaces["mymethod"].published["augment"] == "paper"


def test_a_method_whose_hyperparameter_is_called_as_a_setting_of_augmentation_is_refused(own):
    (own / "mine.py").write_text(OWN.replace("temperature", "least_crop"))
    (own / "mine.yaml").write_text(SPACE.replace("temperature", "least_crop"))
    with pytest.raises(UserError, match="mymethod calls a hyper-parameter least_crop, as --augment does; rename it"):
        brought.load_spaces(["mine.py:MyMethod"], 8)


@pytest.mark.parametrize(
    ("change", "door", "expected"),
    [
        (None, "mine.py:Missing", "there is no method 'mine.py:Missing'"),
        (None, "mine.py:NoMethod", "no subclass of algorithms.method.Method"),
        (None, "mine.py:network", "no subclass of algorithms.method.Method"),
        (None, "os:getcwd", "no subclass of algorithms.method.Method"),
        (("method: mymethod", "method: simclr"), "mine.py:MyMethod", "there is a method 'simclr' already"),
        (("method: mymethod", "method: pixels"), "mine.py:MyMethod", "there is a method 'pixels' already"),
        (("method: mymethod", "method: ../mine"), "mine.py:MyMethod", "small letters, digits and _, not '../mine'"),
        (
            ("temperature", "temprature"),
            "mine.py:MyMethod",
            "no hyper-parameter 'temprature'; did you mean temperature",
        ),
        (("  weight_decay", "  # weight_decay"), "mine.py:MyMethod", "lacks weight_decay"),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(change, door, expected, own):
    if change:
        (own / "mine.yaml").write_text(SPACE.replace(*change))
    with pytest.raises(UserError, match=expected):
        brought.load_spaces([door], 8)


def test_a_method_without_a_search_space_says_where_it_would_stand(own):
    (own / "mine.yaml").unlink()
    with pytest.raises(UserError, match=rf"it would stand in {own}/mine\.yaml"):
        brought.load_spaces(["mine.py:MyMethod"], 8)


def test_two_methods_of_one_name_are_refused(own):
    for name in ("py", "yaml"):
        (own / f"other.{name}").write_text((own / f"mine.{name}").read_text())
    with pytest.raises(UserError, match="there is a method 'mymethod' already"):
        brought.load_spaces(["mine.py:MyMethod", "other.py:MyMethod"], 8)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("mine.py:missing", "there is no encoder '.*mine.py:missing'"),
        ("mine.py:NoMethod", "gives NoMethod, not a torch.nn.Module"),
        ("mine.py:fails", r"cannot be made \(RuntimeError: no weights here\)"),
        ("os:getenv", "cannot be made"),
        ("mine.py:nothing", "gives int, not a torch.nn.Module"),
        ("mine.py:flat", "must give a row of features an image"),
    ],
)
def test_what_is_no_encoder_is_refused_in_one_line_before_anything_is_trained(encoder, expected, own):
    with pytest.raises(UserError, match=expected):
        benchmark.prepare(TrainingConfiguration(methods=("simclr",), encoder=encoder, **SMALL))


def test_a_run_is_of_the_source_of_what_was_brought_from_whichever_folder(own, monkeypatch):
    def prepared(folder: Path):
        monkeypatch.chdir(folder)
        place = os.path.relpath(own / "mine.py")
        asked = {"methods": (f"{place}:MyMethod",), "encoder": f"{place}:network"}
        return benchmark.prepare(TrainingConfiguration(**asked, **SMALL)).settings

    settings = prepared(own)
    assert settings.encoder == "mine.py:network"
    source = doors.source("mine.py:network")
    assert settings.identity()["sources"] == {"mymethod": source, "mine.py:network": source}
    (own / "elsewhere").mkdir()
    assert prepared(own / "elsewhere").identity() == settings.identity()
    (own / "mine.py").write_text(OWN + "# changed\n")
    assert prepared(own).identity()["sources"] != settings.identity()["sources"]
    again = json.loads(json.dumps(settings.to_json()))
    assert type(settings).from_json(again) == settings


def test_a_run_without_anything_brought_is_identified_as_ever(own):
    settings = benchmark.prepare(TrainingConfiguration(methods=("simclr",), **SMALL)).settings
    assert settings.identity().keys() == {"dataset", "dataset_fingerprint", "image_size", "encoder"}


def test_a_method_and_an_encoder_of_ones_own_are_trained_alone_and_kept(own):
    asked = {"methods": ("mine.py:MyMethod",), "encoder": "mine.py:network", "epochs": 2}
    path = benchmark.train(TrainingConfiguration(**asked, **SMALL))
    assert path == own / "reports" / "shapes-mine-py-network" / "trained" / "mymethod"
    assert load_file(path / "model.safetensors")["0.weight"].shape == (8, 3, 3, 3)
    facts = json.loads((path / "training.json").read_text())["facts"]
    assert facts["encoder"] == "mine.py:network"
    assert not facts["own_encoder"]


def comparison(run_dir: Path) -> Configuration:
    methods = ("simclr", "mine.py:MyMethod")
    asked = {"encoder": "mine.py:network", "epochs": 1, "seeds": 2, "run_dir": run_dir, **SMALL}
    return Configuration(methods=methods, budget=Budget.parse("9cpu-hours"), **asked)


@pytest.mark.slow
def test_a_method_and_an_encoder_of_ones_own_are_calibrated_in_a_process_of_its_own(own, capfd):
    made = benchmark.run(dataclasses.replace(comparison(own / "run"), dry_run=True)).plan
    assert made.calibration.keys() >= {"simclr", "mymethod"}
    assert "mymethod" in capfd.readouterr().out


def test_a_searcher_and_a_scheduler_in_a_file_are_of_the_run_by_their_whole_path(own, monkeypatch):
    def calibrate(experiment):
        names = [*experiment.spaces, *experiment.baselines]
        seconds = {"epoch": 0.1, "evaluation": 0.1, "start": 0.0}
        return {"calibration": dict.fromkeys(names, seconds), "startup": 1.0, "choices": {}}

    monkeypatch.setattr(benchmark, "calibrate", calibrate)
    asked = {"searcher": "mine.py:find", "scheduler": "mine.py:Half", "epochs": 6, "dry_run": True}
    made = benchmark.run(dataclasses.replace(comparison(own / "run"), **asked)).plan
    assert made.experiment.searcher == f"{own}/mine.py:find"
    assert made.experiment.scheduler == f"{own}/mine.py:Half"
    assert made.milestones == [3]
    with pytest.raises(UserError, match=r"no searcher 'mine\.py:none'"):
        dataclasses.replace(comparison(own / "run"), searcher="mine.py:none")


@pytest.mark.slow
def test_a_method_and_an_encoder_of_ones_own_are_compared_with_ours(own):
    confirmed: set[str] = set()
    seconds = 15
    while not confirmed >= {"simclr", "mymethod"}:
        seconds *= 2  # as the machine is busy: a larger budget continues the run
        assert seconds < 1000, "the published recipes are not confirmed"
        asked = dataclasses.replace(comparison(own / "run"), budget=Budget("cpu", seconds))
        with contextlib.suppress(UserError):  # a budget that is too small for the plan
            outcome = benchmark.run(asked, executor=Processes())
            assert outcome.status == 0
            trials = outcome.results().trials
            complete = trials[trials.state == "complete"]
            confirmed = set(complete[complete.stage == "published"].method)
    assert set(complete[complete.method == "mymethod"].encoder) == {"mine.py:network"}
    assert read(own / "run" / "ledger.jsonl").settings["encoder"] == "mine.py:network"
    (own / "mine.py").write_text(OWN + "# changed\n")
    with pytest.raises(UserError, match="sources"):
        benchmark.run(asked)
