"""A user's own network as encoder: its attributes, what is refused, and that methods train it."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from algorithms import METHODS, method_class
from algorithms.encoders import build_encoder, check_encoder, encoder_name, made_by
from algorithms.encoders.encoder import as_encoder, smallest_side, whole_patches
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


class Given(nn.Module):
    """Gives what a function makes of the images."""

    def __init__(self, make, **attributes):
        super().__init__()
        self.make = make
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, images):
        return self.make(images)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Flatten(0), r"gives \[1536\] for two images; it must give a row of features an image, \[2, width\]"),
        (Given(lambda images: images[:, :, None]), r"gives \[2, 3, 1, 16, 16\]"),
        (Given(lambda images: {"features": images}), "gives a dict for two images"),
        (Given(lambda images: images.flatten(1)[:1]), r"gives \[1, 768\]"),
    ],
)
def test_whatever_is_no_row_no_map_and_no_tokens_is_refused(network: nn.Module, says: str):
    with pytest.raises(ValueError, match=says):
        build_encoder(lambda image_size: network, 16)


def tokens(images):
    """[B, 1 + 8, 6]: the first token is 9, others count."""
    rows = torch.arange(9.0).view(1, 9, 1).expand(len(images), 9, 6).clone()
    rows[:, 0] = 9
    return rows


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, (36 + 9) / 9),
        ({"cls_token": nn.Parameter(torch.zeros(1))}, 9.0),
        ({"class_token": nn.Parameter(torch.zeros(1))}, 9.0),
        ({"cls_token": None}, (36 + 9) / 9),
        ({"global_pool": "token"}, 9.0),
        ({"global_pool": "", "cls_token": nn.Parameter(torch.zeros(1))}, 9.0),
        ({"global_pool": "avg", "num_prefix_tokens": 1, "cls_token": nn.Parameter(torch.zeros(1))}, 4.5),
        ({"global_pool": "avg", "cls_token": nn.Parameter(torch.zeros(1))}, 4.5),
    ],
)
def test_of_tokens_the_class_token_is_taken_or_their_mean_as_the_network_says(attributes, expected):
    encoder = as_encoder(Given(tokens, **attributes), "mine", 16)
    assert encoder.width == 6
    torch.testing.assert_close(encoder(torch.zeros(3, 3, 16, 16)), torch.full((3, 6), expected))


def test_a_map_is_averaged_and_neither_class_nor_weights_change_their_names():
    network = nn.Conv2d(3, 6, 3)
    images = torch.randn(4, 3, 16, 16)
    expected = network(images).mean((2, 3))
    encoder = as_encoder(as_encoder(network, "mine", 16), "mine", 16)  # once more changes nothing
    assert encoder is network
    assert list(encoder.state_dict()) == ["weight", "bias"]
    torch.testing.assert_close(encoder(images), expected)
    torch.testing.assert_close(copy.deepcopy(encoder)(images), expected)


def test_a_network_of_ones_own_is_trained_in_place():
    network = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
    before = network[0].weight.detach().clone()
    images = ResidentImages.of(torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8))
    trainer = Trainer(method_class("simclr"), images, load("simclr", 16).defaults, epochs=1, encoder=network)
    next(iter(trainer))
    assert trainer.method.judged_encoder is network
    assert trainer.facts["encoder"] == "Sequential"
    assert not torch.equal(network[0].weight.detach(), before)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (lambda: "made", ()),
        (lambda side: side, 16),
        (lambda image_size: image_size, 16),
        (lambda image_size=32: image_size, 16),
        (lambda *, channels: channels, 5),
        (lambda channels, image_size: (channels, image_size), (5, 16)),
        (lambda side, channels=3: (side, channels), (16, 5)),
        (lambda pretrained=False: pretrained, False),
        (lambda side, /: side, 16),
    ],
)
def test_a_function_gets_size_and_channels_where_it_asks_for_them(factory, expected):
    assert made_by(factory, 16, 5) == (expected if expected != () else "made")


def test_the_smallest_map_is_that_of_convolutions_and_poolings_with_a_stride():
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Upsample(8))
    strided = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), squeeze, nn.MaxPool2d(2))
    assert smallest_side(as_encoder(strided, "mine", 16), 16, 3) == 4
    assert smallest_side(as_encoder(nn.Conv2d(3, 6, 3), "mine", 16), 16, 3) is None


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
    brings = method_class(name).brings_encoder()
    if brings:  # small ones of theirs, which take no time
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
    assert made.facts["own_encoder"] is brings
    assert made.facts["own_encoder"] or made.facts["encoder"] == "mine"
    kept = made.method.judged_encoder.state_dict()
    assert made.facts["own_encoder"] or kept.keys() == mine(16).state_dict().keys()


def test_the_names_are_known_without_pytorch():
    program = """import sys; from algorithms.encoders import check_encoder
check_encoder("resnet18")
print("torch" in sys.modules)"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
