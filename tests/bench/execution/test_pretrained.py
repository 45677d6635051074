"""Frozen rows, warm starts and teachers: found, kept, refused, trained, and part of what identifies a run."""

import contextlib
import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.images.statistics import IMAGENET, Statistics
from bench.data import images
from bench.errors import UserError
from bench.execution import benchmark, brought, networks, sources
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.execution.pretrained import Pretrained
from bench.execution.processes import Processes
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training
from bench.search.budget import Budget
from bench.search.entries import check_entry
from bench.search.job import Job
from bench.search.space import load

OWN = """
import torch
from torch import nn


def network(channels):
    return nn.Sequential(nn.Conv2d(channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3))


def pretrained(image_size, channels):
    torch.manual_seed(5)
    made = network(channels)
    made.image_size, made.mean, made.std, made.trained_on = 12, (0.4,) * channels, (0.3,) * channels, "other images"
    return made


def another(channels):
    return nn.Sequential(nn.Conv2d(channels, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 3))


def fails():
    raise RuntimeError("no weights here")


def scores():
    return nn.Sequential(nn.Flatten(0))


def picky(image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 4))


def fixed(image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 4))


def silent(channels):
    return network(channels)


def wrong(channels):
    made = network(channels)
    made.mean, made.std = (0.5,), (0.2, 0.2, 0.2)
    return made
"""
SMALL = {"dataset": "shapes", "limit": 64, "image_size": 8}
GIVEN = Statistics((0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `mine.py`, which is the working directory, and the weights of a `resnet8` in a file."""
    (tmp_path / "mine.py").write_text(OWN)
    torch.manual_seed(3)
    torch.save(build_encoder("resnet8", 8).state_dict(), tmp_path / "resnet8.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(source: str, own_size: bool = True, given: Statistics = GIVEN) -> tuple[Pretrained, dict[str, torch.Tensor]]:
    of, state = sources.find(source, Path("data"), given, image_size=8, own_size=own_size)
    networks.save(state, of.file)
    return of, dict(state)


def configured(**asked) -> Configuration:
    asked = {"methods": ("simclr",), "budget": Budget.parse("9cpu-hours"), **SMALL, **asked}
    return Configuration(**asked)


def test_a_source_is_named_in_parts_and_the_same_from_every_folder(own):
    for source, expected in {
        "timm:resnet18.a1_in1k": ("timm:resnet18.a1_in1k", None),
        "torchvision:resnet18=a/b.pth": ("torchvision:resnet18", "a/b.pth"),
        "resnet8=c.safetensors": ("resnet8", "c.safetensors"),
        "x=1/mine.py:made": ("x=1/mine.py:made", None),
        "mine.py:made=a=b.pt": ("mine.py:made", "a=b.pt"),
    }.items():
        assert sources.parts(source) == expected
    assert sources.short(f"{own}/mine.py:made={own}/w.pt") == "mine.py:made=w.pt"


def test_a_network_of_ones_own_says_its_size_its_normalisation_and_on_what_it_was_trained(own):
    of, state = found("mine.py:pretrained")
    assert (of.name, of.image_size, of.trained_on) == ("mine.py:pretrained", 12, "other images")
    assert (of.mean, of.std) == ((0.4,) * 3, (0.3,) * 3)
    assert of.key == f"mine-py-pretrained-12px-{of.hash[:8]}"
    assert found("mine.py:pretrained")[0] == of
    at_the_runs, _ = found("mine.py:pretrained", own_size=False)
    assert (at_the_runs.image_size, at_the_runs.hash) == (8, of.hash)
    frozen = networks.frozen(of, GIVEN)
    assert torch.equal(frozen.network.state_dict()["0.weight"], state["0.weight"])
    assert frozen(torch.zeros(2, 3, 8, 8)).shape == (2, 12)


def test_a_network_that_says_nothing_is_taken_to_want_imagenets_normalisation_and_the_runs_size(own):
    of, _ = found("mine.py:silent")
    assert (of.image_size, of.mean, of.std, of.trained_on) == (8, *IMAGENET, None)


def test_grey_images_are_shown_to_a_frozen_network_in_three_channels(own):
    grey = Statistics((0.5,), (0.2,))
    of, _ = found("mine.py:pretrained", given=grey)
    assert len(of.mean) == 3
    assert networks.frozen(of, grey)(torch.zeros(2, 1, 8, 8)).shape == (2, 12)


def test_an_encoder_that_was_trained_here_has_the_normalisation_that_lies_beside_it(own):
    facts = {"asked": {"dataset": "leaves"}, "facts": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    assert found("resnet8=resnet8.pt")[0].mean == GIVEN.mean
    (own / "training.json").write_text(json.dumps(facts))
    of, _ = found("resnet8=resnet8.pt")
    assert (of.mean, of.std, of.trained_on) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "leaves")


def test_a_source_that_changes_later_does_not_change_what_is_kept(own):
    of, state = found("resnet8=resnet8.pt")
    (own / "resnet8.pt").unlink()
    made = networks.network(of, 3)
    assert torch.equal(made.state_dict()["0.0.weight"], state["0.0.weight"])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"reference": ("resnet8",)}, r"'resnet8' has no weights of its own; write resnet8=FILE"),
        ({"reference": ("resnet8=none.pt",)}, r"there is no file 'none\.pt' of weights for resnet8"),
        ({"reference": ("resnet18=resnet8.pt",)}, r"resnet18=resnet8\.pt: .*\d+ of the network's \d+ tensors fit"),
        ({"reference": ("resnet81=resnet8.pt",)}, r"did you mean .*resnet8"),
        ({"reference": ("nowhere:network",)}, r"there is no encoder 'nowhere:network'"),
        ({"reference": ("mine.py:none",)}, r"there is no encoder"),
        ({"reference": ("mine.py:fails",)}, r"cannot be made \(RuntimeError: no weights here\)"),
        ({"reference": ("mine.py:scores",)}, r"gives \[384\] for two images; it must give a row of features"),
        ({"reference": ("mine.py:picky",)}, r"does not take images of 3 channels and 8 px"),
        ({"reference": ("mine.py:wrong",)}, r"mean and std must be as many numbers"),
        ({"reference": ("mine.py:pretrained=resnet8.pt",)}, r"\d+ of the network's \d+ tensors fit"),
        (
            {"encoder": "mine.py:fixed", "methods": ("simclr", "swav", "dino")},
            r"mine\.py:fixed takes images of 8 px alone, and swav and dino crop smaller ones",
        ),
        ({"init": "mine.py:pretrained"}, r"name by --encoder what makes it without"),
        ({"init": "resnet8.pt"}, r"name by --encoder the network that they are of"),
        ({"init": "resnet8.pt", "encoder": "resnet18"}, r"\d+ of the network's \d+ tensors fit"),
        ({"init": "mine.py:another", "encoder": "mine.py:network"}, r"--init mine\.py:another: 1 of the network's 8 "),
        ({"scratch": True}, r"--scratch stands beside --init"),
        ({"methods": ("distill",)}, r"distill follows a teacher; name one"),
        ({"teacher": "mine.py:pretrained"}, r"--teacher is for distill, which is not among the methods"),
        ({"methods": ("distill",), "teacher": "resnet8"}, r"'resnet8' has no weights of its own"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line_and_leaves_nothing(asked, says, own):
    before = sorted(own.rglob("*"))
    with pytest.raises(UserError, match=says) as refused:
        benchmark.prepare(configured(**asked))
    assert "\n" not in str(refused.value)
    assert sorted(path for path in own.rglob("*") if "__pycache__" not in path.parts) == before


def test_weights_that_would_run_code_are_refused_and_do_not(own):
    class Evil:
        def __reduce__(self):
            return Path.touch, (own / "ran",)

    torch.save({"weight": Evil()}, own / "evil.pt")
    with pytest.raises(UserError, match="evil"):
        benchmark.prepare(configured(init="evil.pt", encoder="resnet8"))
    assert not (own / "ran").exists()


def test_all_methods_begin_with_the_weights_but_those_that_bring_an_encoder(own, capfd):
    prepared = benchmark.prepare(configured(methods=("simclr", "amdim"), init="resnet8.pt", encoder="resnet8"))
    assert list(prepared.spaces) == ["simclr-warm", "amdim"]
    told = capfd.readouterr().out
    assert re.search(r"init: resnet8=resnet8\.pt: all \d+ tensors fit\n", told)
    assert "resnet8 gives pooled features, and amdim cannot do with these" in told
    settings = prepared.settings
    assert settings.init is not None
    assert settings.identity()["init"] == f"resnet8=resnet8.pt, {settings.init.hash}"
    assert prepared.run_dir.name == "shapes-resnet8-warm"
    assert brought.frozen_baselines(settings) == [f"frozen-{settings.init.key}"]
    assert TrainingSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_beside_a_warm_start_methods_train_from_scratch_where_that_is_asked(own):
    prepared = benchmark.prepare(configured(init="resnet8.pt", encoder="resnet8", scratch=True))
    assert list(prepared.spaces) == ["simclr", "simclr-warm"]


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_warm_start_has_the_recipes_learning_rate_and_searches_smaller_ones(method):
    space = load(method, 8)
    (warm,) = brought.warm_spaces({method: space}, {method: brought.method_class(method)}, scratch=False).values()
    assert warm.method == f"{method}-warm"
    assert warm.published["learning_rate"] == space.published["learning_rate"]
    assert warm.defaults["learning_rate"] == pytest.approx(space.defaults["learning_rate"] / 10)
    assert warm.recipes == [space.published, warm.defaults] == [warm.published, warm.defaults]
    assert warm.entries["learning_rate"]["low"] <= space.defaults["learning_rate"] / 99
    assert warm.hash != space.hash


@pytest.mark.parametrize("form", [{}, {"choices": [0.12, 0.5]}, {"low": 0.1, "high": 1.0, "scale": "linear"}])
def test_whatever_the_form_of_the_learning_rate_a_warm_start_has_a_tenth_beside_it(form):
    space = load("simclr", 8)
    entry = {"default": 0.12, "source": "a test", **form}
    space = dataclasses.replace(space, entries=space.entries | {"learning_rate": entry})
    (warm,) = brought.warm_spaces({"mine": space}, {"mine": brought.method_class("simclr")}, scratch=False).values()
    check_entry("learning_rate", warm.entries["learning_rate"])
    assert [recipe["learning_rate"] for recipe in warm.recipes] == [0.12, 0.012]


def built(prepared: benchmark.Prepared, method: str, stage: str = "search"):
    prepared.save()
    space = prepared.spaces.get(method)
    hyperparameters = {} if space is None else space.defaults
    job = Job("uid", method, stage, 0, hyperparameters, 1, (1,))
    return Training(prepared.settings).build(job)


def test_a_warm_method_begins_with_the_weights_and_their_normalisation_and_a_baseline_does_not(own):
    asked = {"init": "mine.py:pretrained", "encoder": "mine.py:network", "scratch": True}
    prepared = benchmark.prepare(configured(**asked))
    of = prepared.settings.init
    assert of is not None
    state = next(iter(prepared.weights.values()))
    warm = built(prepared, "simclr-warm")
    assert torch.equal(warm.method.encoder[0].weight, state["0.weight"])
    assert (warm.facts["weights"], warm.facts["trained_on"]) == ("mine.py:pretrained", "other images")
    assert warm.facts["mean"] == of.mean == warm.images.statistics.mean == warm.evaluation.images.statistics.mean
    assert (warm.facts["encoder"], warm.facts["own_encoder"]) == ("mine.py:network", False)
    start = built(prepared, f"frozen-{of.key}", "baseline")
    assert torch.equal(start.method.encoder[0].weight, state["0.weight"])
    assert start.facts["image_size"] == 8
    given = images.load("shapes", image_size=8, limit=64).statistics
    for method, stage in (("simclr", "search"), ("supervised", "baseline"), ("random", "baseline")):
        scratch = built(prepared, method, stage)
        assert not torch.equal(scratch.method.encoder[0].weight, state["0.weight"])
        assert scratch.images.statistics == given
        assert "weights" not in scratch.facts


def test_what_does_not_fit_is_drawn_anew_by_each_seed(own):
    state = torch.load(own / "resnet8.pt", weights_only=True)
    first = next(iter(state))
    torch.save({name: tensor for name, tensor in state.items() if name != first}, own / "part.pt")
    prepared = benchmark.prepare(configured(init="part.pt", encoder="resnet8"))
    prepared.save()
    drawn = []
    for seed in range(2):
        job = Job("uid", "simclr-warm", "search", seed, prepared.spaces["simclr-warm"].defaults, 1, (1,))
        encoder = Training(prepared.settings).build(job).method.encoder.state_dict()
        drawn.append(encoder[first])
        assert all(torch.equal(encoder[name], state[name]) for name in state if name != first)
    assert not torch.equal(*drawn)


def test_a_reference_is_judged_as_it_is_and_never_trained(own):
    prepared = benchmark.prepare(configured(reference=("mine.py:pretrained",)))
    (name,) = brought.frozen_baselines(prepared.settings)
    trainer = built(prepared, name, "baseline")
    before = {key: value.clone() for key, value in trainer.method.encoder.state_dict().items()}
    (report,) = trainer
    assert {"knn_200", "knn_20"} <= report.metrics.keys()
    assert all(torch.equal(value, before[key]) for key, value in trainer.method.encoder.state_dict().items())
    assert trainer.facts["image_size"] == 12


def test_a_student_follows_a_teacher_that_stands_beside_it_as_a_frozen_row(own):
    prepared = benchmark.prepare(configured(methods=("distill",), teacher="mine.py:pretrained", encoder="resnet8"))
    settings = prepared.settings
    assert settings.teacher is not None
    assert brought.frozen_baselines(settings) == [f"frozen-{settings.teacher.key}"]
    assert settings.identity()["teacher"] == f"mine.py:pretrained, {settings.teacher.hash}"
    trainer = built(prepared, "distill")
    (report,) = trainer
    assert report.loss > 0
    assert {"teacher": "mine.py:pretrained", "teacher_trained_on": "other images"}.items() <= trainer.facts.items()
    assert trainer.facts["encoder"] == "resnet8"
    expected = networks.frozen(settings.teacher, trainer.images.statistics)
    rows = torch.nn.functional.normalize(expected(next(iter(trainer.batches()))[1]), dim=1)
    torch.testing.assert_close(trainer.method.bank.float(), rows, atol=2e-2, rtol=0)
    assert not any(name.startswith("teacher.") for name in trainer.state_dict()["method"])


def test_what_a_reference_was_trained_on_is_told_before_the_run(own, capfd):
    benchmark.prepare(configured(reference=("mine.py:pretrained", "mine.py:silent")))
    told = capfd.readouterr().out
    assert "reference: mine.py:pretrained, 12 px, trained on other images" in told
    assert "reference: mine.py:silent, 8 px, trained on what is not said" in told


def test_real_weights_come_through_the_door_of_ones_own(own):
    lite0 = pytest.importorskip("tests.lite0")
    of, _ = found(f"{lite0.__file__}:pretrained")
    assert (of.image_size, of.trained_on) == (128, "ImageNet-1k")
    assert of.hash == found(f"{lite0.__file__}:pretrained")[0].hash
    generator = torch.Generator().manual_seed(1)
    images_ = torch.rand(4, 3, 128, 128, generator=generator)
    mean, std = (torch.tensor(each)[:, None, None] for each in (of.mean, of.std))
    given_mean, given_std = (torch.tensor(each)[:, None, None] for each in GIVEN)
    expected = lite0.pretrained().eval()((images_ - mean) / std)
    features = networks.frozen(of, GIVEN)((images_ - given_mean) / given_std)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_reference_is_added_to_a_run_that_there_is_and_all_kinds_are_in_its_table(own):
    asked = {"encoder": "mine.py:network", "init": "mine.py:pretrained", "scratch": True, "run_dir": own / "run"}
    asked |= {"epochs": 1, "seeds": 2}
    seconds, done = 15, False
    while not done:
        seconds *= 2  # as the machine is busy
        assert seconds < 1000, "nothing is confirmed"
        with contextlib.suppress(UserError):  # a budget that is too small for the plan
            outcome = benchmark.run(configured(**asked, budget=Budget("cpu", seconds)), executor=Processes())
            trials = outcome.results().trials
            complete = trials[trials.state == "complete"]
            done = {"simclr", "simclr-warm"} <= set(complete[complete.stage == "published"].method)
    frozen = [method for method in complete.method.unique() if method.startswith("frozen-")]
    assert len(frozen) == 1
    more = configured(**asked, budget=Budget("cpu", 2 * seconds), reference=("resnet8=resnet8.pt",))
    trials = benchmark.run(more, executor=Processes()).results().trainings
    complete = trials[(trials.state == "complete") & trials.method.str.startswith("frozen-")]
    assert len(complete) == 2
    assert complete.test_knn_200.notna().all()
    assert complete.seed.nunique() == 1
    (own / "resnet8.pt").unlink()  # what is kept is enough for those that train, not for a new command
    with pytest.raises(UserError, match="there is no file"):
        benchmark.run(more, executor=Processes())
    other = dataclasses.replace(more, init="mine.py:silent", reference=())
    with pytest.raises(UserError, match="init"):
        benchmark.run(other, executor=Processes())


def test_the_encoder_of_a_warm_start_alone_is_kept_with_its_own_names(own):
    asked = {"methods": ("simclr",), "init": "mine.py:pretrained", "encoder": "mine.py:network", "epochs": 1, **SMALL}
    path = benchmark.train(TrainingConfiguration(**asked))
    assert path.name == "simclr-warm"
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3))
    network.load_state_dict(load_file(path / "model.safetensors"))
    facts = json.loads((path / "training.json").read_text())["facts"]
    assert facts["mean"] == [0.4] * 3
    assert facts["weights"] == "mine.py:pretrained"


def test_a_network_that_leaves_one_place_of_an_image_is_told(own, capfd):
    (own / "deep.py").write_text(
        "from torch import nn\n\ndef network():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 2, stride=2))\n"
    )
    benchmark.prepare(TrainingConfiguration(methods=("simclr",), encoder="deep.py:network", **SMALL))
    assert "deep.py:network leaves a single place of an image of 8 px" in capfd.readouterr().out
