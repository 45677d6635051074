"""A user's own network as encoder: its attributes, what is refused, and that methods train it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from algorithms import METHODS, method_class
from algorithms.encoders import build_encoder, check_encoder, encoder_name
from algorithms.encoders.encoder import as_encoder, whole_patches
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ResidentImages
from algorithms.training.trainer import Trainer
from bench.search.space import load


def mine(image_size: int) -> nn.Module:
    layers = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers)


def test_a_network_without_a_width_is_tried_once_and_left_as_it_was():
    network = mine(16)
    network[1].eval()  # a user's frozen layer
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    encoder = as_encoder(network, "mine", 16)
    assert torch.equal(torch.rand(3), expected)
    assert encoder is network
    assert (encoder.width, encoder.name, encoder.patch) == (6, "mine", 1)
    assert encoder.training
    assert not encoder[1].training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_function_makes_the_encoder_and_gives_it_its_name():
    encoder = build_encoder(mine, 16)
    assert (encoder.width, encoder.name) == (6, "mine") == (6, encoder_name(mine))
    assert encoder(torch.zeros(5, 3, 24, 24)).shape == (5, 6)
    check_encoder(mine)


def test_a_network_keeps_its_own_patch():
    network = mine(16)
    network.patch = 8
    assert whole_patches(13, as_encoder(network, "mine", 16)) == 16


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Conv2d(3, 6, 3), r"gives \[2, 6, 14, 14\] for two images.*AdaptiveAvgPool2d"),
        (nn.Flatten(0), r"gives \[1536\]"),
    ],
)
def test_a_map_and_whatever_is_no_row_an_image_is_refused(network: nn.Module, says: str):
    with pytest.raises(ValueError, match=says):
        build_encoder(lambda image_size: network, 16)


def test_a_width_that_is_not_what_comes_out_is_refused():
    network = mine(16)
    network.width = 7
    with pytest.raises(ValueError, match="gives 6 features an image, but its attribute width is 7"):
        as_encoder(network, "mine", 16)


def test_the_width_is_found_without_memory_or_work():
    with torch.device("meta"):
        assert build_encoder(mine, 16).width == 6


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_with_a_users_encoder_or_the_one_that_its_premise_needs(name: str, monkeypatch):
    if name in ("amdim", "cpc", "seer"):  # small ones of theirs, which take no time
        own = method_class(name).build_encoder
        monkeypatch.setattr(method_class(name), "build_encoder", lambda encoder, *size: own("resnet8", *size))
    pixels, labels = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8), torch.arange(32) % 4
    stored = ResidentImages.of(pixels)
    made = Trainer(
        method_class(name),
        pixels,
        load(name, 32).defaults | {"batch_size": 8},
        epochs=1,
        encoder=mine,
        device="cpu",
        evaluation=Evaluation(stored, labels, stored, labels, 4),
    )
    (report,) = made
    assert 0 <= report.metrics["knn_200"] <= 1
    assert made.facts["own_encoder"] is (name in ("amdim", "cpc", "seer"))
    assert made.facts["own_encoder"] or made.facts["encoder"] == "mine"
    kept = made.method.judged_encoder.state_dict()
    assert made.facts["own_encoder"] or kept.keys() == mine(16).state_dict().keys()


def test_the_names_are_known_without_pytorch():
    program = """import sys; from algorithms.encoders import check_encoder
check_encoder("resnet18")
print("torch" in sys.modules)"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
