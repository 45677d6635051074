"""Kept encoders: what a card says, what reads it, and what is no card."""

import copy
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from algorithms.encoders import build_encoder, weights
from algorithms.images.statistics import Statistics
from bench.errors import UserError
from bench.execution import benchmark, card, networks, sources
from bench.execution.card import Card
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.search.budget import Budget
from bench.search.space import load
from tests.bench.commands.answering import answer_of, check_refusal

SMALL = {"dataset": "shapes", "limit": 64, "image_size": 16, "epochs": 1}
GIVEN = Statistics((0.5,) * 3, (0.25,) * 3)
NETWORK = """
from torch import nn


def network(channels):
    return nn.Sequential(nn.Conv2d(channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3))


def counting():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.layer(images).mean((2, 3)) * (1 if float(images.mean()) < 99 else 2)

    return Counting()
"""
APART = """
import sys


class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("algorithms", "bench", "search_spaces", "run_bench"):
            raise ImportError(f"{name} is of the project")


sys.meta_path.insert(0, Refused())
import torch
from safetensors.torch import load_file
"""
"""How a program begins that must do without this project."""


def trained(run_dir: Path, method: str = "simclr", **asked) -> Path:
    return benchmark.train(TrainingConfiguration(methods=(method,), run_dir=run_dir, **SMALL | asked))


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The folder of an encoder that a training has left."""
    return trained(tmp_path_factory.mktemp("run"), encoder="resnet8")


@pytest.fixture
def copied(kept, tmp_path) -> Path:
    """The same folder at another place."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for file in kept.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def apart(script: str, folder: Path, images: torch.Tensor) -> torch.Tensor:
    """The features of `images` that a program without this project computes in an empty folder."""
    folder.mkdir()
    torch.save(images, folder / "images.pt")
    lines = [APART, 'images = torch.load("images.pt")', script, 'torch.save(features.detach(), "features.pt")']
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", "\n".join(lines)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "features.pt")


def features(source: str, images: torch.Tensor) -> torch.Tensor:
    """Of images float32 [B, C, S, S] of values 0 .. 1, as the project has them by a source."""
    of, state = sources.find(source, Path("unused"), None, image_size=images.shape[-1], own_size=True)
    statistics = Statistics(of.mean, of.std)
    with torch.no_grad():
        normalised = (images - torch.tensor(of.mean)[:, None, None]) / torch.tensor(of.std)[:, None, None]
        return networks.frozen(of, statistics, state)(normalised)


def test_a_card_says_what_the_encoder_is_whence_and_what_it_is_worth(kept):
    found, report = card.read(kept), json.loads((kept / "training.json").read_text())
    state, space = load_file(kept / "model.safetensors"), load("simclr", 16)
    assert (found.method, found.epochs, found.seed, found.license) == ("simclr", 1, 0, None)
    assert (found.images.name, found.images.train, found.images.labelled) == ("shapes", 64, 64)
    assert len(found.images.classes) == 8
    assert (found.encoder.network, found.encoder.name, found.encoder.width, found.encoder.method) == (
        *("resnet8", "resnet8", 64),
        None,
    )
    assert found.weights == weights.fingerprint(state)
    assert found.preprocessing.mean == tuple(report["facts"]["mean"])
    assert (found.preprocessing.image_size, found.preprocessing.channels, found.preprocessing.fit) == (16, 3, "crop")
    worth = found.accuracies["knn_200"]
    assert (worth.mean, worth.half_width, worth.seeds) == (report["report"]["knn_200"], None, 1)
    temperature = found.hyperparameters["temperature"]
    assert (temperature.value, temperature.origin) == (space.defaults["temperature"], "published")
    assert temperature.source == space.entries["temperature"]["source"]
    assert found.hyperparameters["batch_size"].origin == "fitted to the encoder and the images"
    assert found.versions["torch"]
    assert (found.began_with, found.teacher, found.picked) == (None, None, None)


def test_a_card_that_is_written_is_read_as_it_was(kept):
    found = card.read(kept)
    assert Card.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert Card.from_json({**found.to_json(), "license": "CC-BY", "note": "mine"} | listed(found)).license == "CC-BY"


def listed(found: Card) -> dict:
    """Its parts that have tuples, as JSON has them."""
    values = json.loads(json.dumps(found.to_json()))
    return {name: values[name] for name in ("images", "preprocessing")}


@given(data=st.data())
def test_a_damaged_card_is_refused_in_one_line_and_never_half_believed(kept, data):
    values = json.loads((kept / "card.json").read_text())
    place, name = values, data.draw(st.sampled_from(sorted(values)))
    if isinstance(values[name], dict) and values[name] and data.draw(st.booleans()):
        place, name = values[name], data.draw(st.sampled_from(sorted(values[name])))
    whole = copy.deepcopy(place[name])
    place[name] = data.draw(st.sampled_from([None, [], {}, "text", -1, 2.5, True, [1, "a"], float("nan")]))
    try:
        found, refused = Card.from_json(values), ""
    except ValueError as error:
        found, refused = None, str(error)
    assert "\n" not in refused
    if found is not None:
        open_to_all = name in ("value", "mean", "half_width") or None in (whole, place[name])
        assert type(place[name]) is type(whole) or open_to_all
        assert found.preprocessing.image_size > 0


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "card.json").unlink(), r"has no card\.json; give a folder that ssl-bench train"),
        (lambda folder: (folder / "card.json").write_text("{"), r"card\.json is no card of an encoder"),
        (lambda folder: (folder / "card.json").write_text("[]"), r"no card of an encoder \(it has no number as format"),
        (lambda folder: changed(folder, format=2), r"it has format 2, this version reads 1; update ssl-bench"),
        (lambda folder: changed(folder, epochs="many"), r"its epochs is 'many'"),
        (lambda folder: changed(folder, weights=None), r"its weights is None"),
        (lambda folder: changed(folder, weights="0" * 12), r"holds other weights than the card tells"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has a card and no model\.safetensors"),
        (lambda folder: cut(folder / "model.safetensors"), r"is no whole safetensors file"),
        (lambda folder: of_another(folder, "resnet18"), r"tensors fit"),
        (lambda folder: of_another(folder, "resnet81"), r"no encoder 'resnet81'; did you mean"),
        (lambda folder: of_another(folder, "os:system"), r"a card runs no code: give os:system=.*encoder\.pt2"),
        (lambda folder: of_another(folder, "resnet8", "os:system"), r"that os:system brings, and a card runs no code"),
        (lambda folder: of_another(folder, "resnet8", "none"), r"that none brings"),
        (lambda folder: of_another(folder, "resnet8", "amdim"), r"tensors fit"),
    ],
)
def test_what_is_no_kept_encoder_is_refused_in_one_line(copied, damage, says, capsys):
    damage(copied)
    asked = {"methods": ("simclr",), "budget": Budget.parse("9cpu-hours"), **SMALL}
    with pytest.raises(UserError, match=says) as refused:
        benchmark.prepare(Configuration(reference=(str(copied),), run_dir=copied / "run", **asked))
    assert "\n" not in str(refused.value)
    assert not (copied / "run").exists()


def test_weights_of_more_than_the_network_are_not_taken_for_a_part_of_them(copied):
    """As where SimCLR v2 is judged by a layer of its projector."""
    state = {f"0.{name}": tensor for name, tensor in load_file(copied / "model.safetensors").items()}
    state["1.weight"] = torch.zeros(64, 64)
    save_file(state, copied / "model.safetensors")
    changed(copied, weights=weights.fingerprint(state))
    with pytest.raises(UserError, match=r"weights are of another network than resnet8; encoder\.pt2 beside them"):
        sources.find(str(copied), Path("data"), GIVEN, image_size=16, own_size=True)


def test_an_encoder_of_grey_images_takes_no_others(copied):
    seen = json.loads((copied / "card.json").read_text())["preprocessing"]
    changed(copied, preprocessing=seen | {"channels": 1, "mean": [0.5], "std": [0.2]})
    with pytest.raises(UserError, match=r"takes images of 1 channels; these have 3"):
        sources.find(str(copied), Path("data"), GIVEN, image_size=16, own_size=True)


def test_what_earlier_versions_left_is_told_how_it_is_named(tmp_path):
    (tmp_path / "encoder.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"has no card\.json; give NAME=.*encoder\.pt, as an earlier version"):
        sources.check(str(tmp_path))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from", "nowhere"], r"nowhere has no card\.json"),
        (["--from", "."], r"has no card\.json"),
        (["--from", ".", "--init", "torchvision:resnet18"], r"--from and --init both name the weights"),
    ],
)
def test_nothing_is_trained_from_what_is_no_kept_encoder(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, line = answer_of(["train", "simclr", "--dataset", "shapes", *words])
    check_refusal(status, line)
    assert re.search(says, line)
    assert not list(tmp_path.iterdir())


def test_the_command_goes_on_from_a_card_at_its_image_size(kept, tmp_path):
    words = ["--dataset", "shapes", "--limit", "64", "--epochs", "1", "--run-dir", str(tmp_path)]
    status, told, _ = answer_of(["train", "byol", "--from", str(kept), *words])
    assert status == 0
    assert f"Encoder: {tmp_path / 'trained' / 'byol-warm'}\n" in told
    assert card.read(tmp_path / "trained" / "byol-warm").preprocessing.image_size == 16


def changed(folder: Path, **values) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another(folder: Path, network: str, method: str | None = None) -> None:
    encoder = json.loads((folder / "card.json").read_text())["encoder"]
    changed(folder, encoder=encoder | {"network": network, "method": method})


@pytest.mark.parametrize("name", [".", "card.json"])
def test_a_card_is_a_source_at_its_own_size_by_its_own_normalisation(copied, name):
    of, state = sources.find(str(copied / name), Path("data"), GIVEN, image_size=32, own_size=True)
    found = card.read(copied)
    assert (of.name, of.network, of.image_size, of.width) == ("resnet8 (simclr)", "resnet8", 16, 64)
    assert (of.mean, of.std, of.trained_on) == (found.preprocessing.mean, found.preprocessing.std, "shapes")
    assert of.hash == found.weights
    assert networks.frozen(of, GIVEN, state)(torch.zeros(2, 3, 32, 32)).shape == (2, 64)


def test_weights_behind_a_name_of_ours_have_what_the_card_beside_them_says(copied):
    expected, _ = sources.find(str(copied), Path("data"), GIVEN, image_size=32, own_size=True)
    for source in (f"resnet8={copied}", f"resnet8={copied / 'model.safetensors'}"):
        of, _ = sources.find(source, Path("data"), GIVEN, image_size=32, own_size=True)
        assert dataclasses.replace(of, name=expected.name) == expected


def test_an_encoder_that_earlier_versions_left_has_its_size_and_normalisation_from_beside_it(tmp_path):
    torch.save(build_encoder("resnet8", 16).state_dict(), tmp_path / "encoder.pt")
    told = {"asked": {"dataset": "leaves", "image_size": 16}, "facts": {"mean": [0.1] * 3, "std": [0.4] * 3}}
    (tmp_path / "training.json").write_text(json.dumps(told))
    source = f"resnet8={tmp_path / 'encoder.pt'}"
    of, _ = sources.find(source, Path("data"), GIVEN, image_size=32, own_size=True)
    assert (of.image_size, of.mean, of.trained_on) == (16, (0.1,) * 3, "leaves")
    assert sources.own_image_size(source) == 16


def test_training_goes_on_from_a_card(kept, tmp_path, capsys):
    folder = trained(tmp_path / "on", "moco", init=str(kept))
    assert folder == tmp_path / "on" / "trained" / "moco-warm"
    assert re.search(r"init: resnet8 \(simclr\): all \d+ tensors fit", capsys.readouterr().out)
    found, before = card.read(folder), card.read(kept)
    assert (found.began_with, found.began_with_trained_on) == ("resnet8 (simclr)", "shapes")
    assert found.preprocessing == before.preprocessing
    assert found.weights != before.weights
    with pytest.raises(UserError, match="amdim brings an encoder of its own"):
        trained(tmp_path / "not", "amdim", init=str(kept))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["amdim", "cpc", "seer", "dino"])
def test_the_encoder_that_a_method_brings_is_a_source_too(method, tmp_path):
    folder = trained(tmp_path, method, encoder="resnet8")
    images = torch.rand(3, 3, 16, 16)
    program = torch.export.load(folder / "encoder.pt2").module()
    torch.testing.assert_close(program(images), features(str(folder), images), rtol=1e-4, atol=1e-5)


def test_a_network_of_ones_own_is_a_source_where_its_door_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    folder = trained(tmp_path / "run", encoder="mine.py:network")
    found = card.read(folder)
    assert (found.encoder.network, found.encoder.width) == ("mine.py:network", 12)
    assert re.fullmatch(r"[0-9a-f]{12}", found.encoder.source or "")
    with pytest.raises(UserError, match=r"give mine\.py:network="):
        sources.check(str(folder))
    assert sources.own_image_size(f"mine.py:network={folder}") == 16
    assert sources.own_image_size("mine.py:network") is None
    images = torch.rand(3, 3, 16, 16)
    program = torch.export.load(folder / "encoder.pt2").module()
    torch.testing.assert_close(program(images), features(f"mine.py:network={folder}", images))
    assert trained(tmp_path / "on", encoder="mine.py:network", init=str(folder)).name == "simclr-warm"


def test_where_there_is_no_graph_of_a_network_a_note_takes_its_place(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    folder = trained(tmp_path / "run", encoder="mine.py:counting")
    assert sorted(file.name for file in folder.iterdir()) == ["card.json", "model.safetensors", "training.json"]
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "encoder.pt2" in line]
    assert "is left out: PyTorch cannot export it as a graph" in note


@pytest.mark.slow
def test_the_program_needs_no_code_of_the_project(kept, tmp_path):
    images = torch.rand(5, 3, 16, 16)
    script = f'features = torch.export.load("{kept / "encoder.pt2"}").module()(images)'
    torch.testing.assert_close(apart(script, tmp_path / "empty", images), features(str(kept), images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "network"),
    [
        (
            "torchvision:resnet18",
            "import torchvision; network = torchvision.models.resnet18(); network.fc = torch.nn.Identity()",
        ),
        ("timm:resnet10t", 'import timm; network = timm.create_model("resnet10t", num_classes=0)'),
    ],
)
def test_a_librarys_network_is_loaded_by_the_library(encoder, network, tmp_path):
    folder = trained(tmp_path / "run", encoder=encoder)
    seen = card.read(folder).preprocessing
    script = "\n".join(
        [
            network,
            f'network.load_state_dict(load_file("{folder / "model.safetensors"}"))',
            f"mean, std = (torch.tensor(each)[:, None, None] for each in ({seen.mean}, {seen.std}))",
            "features = network.eval()((images - mean) / std)",
        ]
    )
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(
        apart(script, tmp_path / "empty", images), features(str(folder), images), rtol=1e-4, atol=1e-5
    )


def test_nothing_is_half_written_where_the_folder_cannot_be_written(copied, monkeypatch):
    before = (copied / "card.json").read_text()
    found = card.read(copied)

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(card, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        card.write(copied, found, b"", None)
    assert before
    assert not (copied / "card.json").exists()  # without a card the folder is none to any reader
    save_file({"a": torch.zeros(1)}, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"has no card\.json"):
        sources.check(str(copied))
