"""Images of 1 to 16 channels: every method trains on them, and only what is about colours leaves them alone."""

import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional as F

from algorithms import BASELINES, METHODS, WITH_TEACHER, method_class
from algorithms.encoders import ENCODERS, build_encoder
from algorithms.images.augment import render
from algorithms.images.colour import jitter_order
from algorithms.images.statistics import Statistics
from algorithms.images.store import ResidentImages, pack
from algorithms.images.view import View
from algorithms.training.trainer import Trainer
from bench.search.space import load
from tests.algorithms.images.pictures import assert_same, choose, jitter
from tests.algorithms.teachers import teacher_of

SIDE = 16


def bands(channels: int, count: int = 12, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, *BASELINES])
def test_every_method_trains_on_images_of_other_channels(name: str, channels: int):
    hyperparameters = load(name, SIDE).defaults | {"batch_size": 4}
    trainer = Trainer(
        method_class(name),
        bands(channels),
        hyperparameters,
        epochs=1,
        encoder="resnet8",
        device="cpu",
        labels=torch.arange(12) % 3 if name == "supervised" else None,
        teacher=teacher_of(name, SIDE, channels),
    )
    (report,) = trainer
    assert torch.isfinite(torch.tensor(report.loss))
    assert trainer.facts["mean"] == trainer.images.statistics.mean
    assert len(trainer.facts["mean"]) == channels


@pytest.mark.parametrize("size", [16, 96])
@pytest.mark.parametrize("name", [name for name in ENCODERS if not name.startswith(("wide", "resnext"))])
def test_every_encoder_takes_sixteen_channels(name: str, size: int):
    with torch.device("meta"):
        encoder = build_encoder(name, size, 16)
        assert encoder(torch.zeros(2, 16, size, size)).shape == (2, encoder.width)


def test_an_encoder_of_ones_own_is_told_the_channels_it_asks_for():
    def mine(image_size: int, channels: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, 3))

    assert build_encoder(mine, 4, 7)(torch.zeros(2, 7, 4, 4)).shape == (2, 3)


def test_an_encoder_that_takes_colours_alone_is_refused_in_words():
    def mine(image_size: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    with pytest.raises(ValueError, match=r"does not take images of 5 channels.*parameters 'channels' and 'image_size'"):
        build_encoder(mine, 8, 5)


class Grey(nn.Module):
    """Takes images of one channel, and says nothing of it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1] == 1
        return images.flatten(1)


@pytest.mark.parametrize("network", [nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten()), Grey()])
def test_an_encoder_that_takes_no_colours_is_refused_in_one_line(network: nn.Module):
    def mine(image_size: int) -> nn.Module:
        return network

    assert build_encoder(mine, 8, 1).width
    with pytest.raises(
        ValueError, match=r"^The encoder 'mine' does not take images of 3 channels and 8 px \(.*\)"
    ) as caught:
        build_encoder(mine, 8, 3)
    assert "\n" not in str(caught.value)


def render_bands(pixels: torch.Tensor, **changes) -> torch.Tensor:
    """The views of bands, shown without a normalisation."""
    channels = pixels.shape[1]
    plain = Statistics((0.0,) * channels, (1.0,) * channels).on("cpu")
    return render(pack(pixels), choose(len(pixels), pixels.shape[-1], **changes), pixels.shape[-1], plain)[0]


@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_saturation_hue_and_grayscale_leave_other_channels_as_they_are(channels: int):
    pixels = bands(channels)
    changed = render_bands(pixels, grayscale=True, **jitter(saturation=0.2, hue=0.3))
    assert_same(changed, pixels / 255)


@pytest.mark.parametrize("order", range(24))
def test_brightness_and_contrast_act_on_each_channel_in_the_views_order(order: int):
    pixels = bands(4)
    expected = pixels / 255
    for operation in jitter_order(order):
        if operation == 0:
            expected = (expected * 1.3).clamp(0, 1)
        if operation == 1:
            mean = expected.mean((2, 3), keepdim=True)
            expected = (0.6 * expected + 0.4 * mean).clamp(0, 1)
    changed = render_bands(pixels, **jitter(brightness=1.3, contrast=0.6, saturation=0.5, hue=0.1, order=order))
    assert_same(changed, expected)


def test_blur_and_solarization_act_on_all_channels():
    pixels = bands(5)
    solarized = render_bands(pixels, solarize=True)
    assert_same(solarized, F.solarize(pixels / 255, 0.5))
    blurred = render_bands(pixels, blur=True, sigma=1.0)
    one_by_one = torch.cat([render_bands(pixels[:, [c]], blur=True, sigma=1.0) for c in range(5)], 1)
    assert_same(blurred, one_by_one)


def test_three_channels_are_augmented_as_three_and_one_as_each_of_three_equal_ones():
    """Grey images lose nothing by having one channel: geometry, brightness and contrast are the same."""
    grey = bands(1)
    one = render_bands(grey, **jitter(brightness=0.7, contrast=1.2))
    three = render_bands(grey.expand(-1, 3, -1, -1), **jitter(brightness=0.7, contrast=1.2))
    assert_same(one.expand(-1, 3, -1, -1), three)


def test_a_store_has_the_statistics_of_its_images_unless_others_are_given():
    pixels = bands(2)
    own = ResidentImages.of(pixels).statistics
    assert own.mean == pytest.approx((pixels.float().mean((0, 2, 3)) / 255).tolist(), abs=1e-4)
    given = Statistics((0.5, 0.5), (0.25, 0.25))
    assert ResidentImages.of(pixels, statistics=given).statistics == given


def test_a_view_that_blurs_with_no_jitter_is_made_of_one_channel():
    trained = Trainer(
        method_class("simclr"), bands(1), load("simclr", SIDE).defaults, epochs=1, encoder="resnet8", device="cpu"
    )
    trained.method.views = (View(8, blur=1.0, jitter=(0.0,) * 4, solarize=1.0),) * 2
    assert trained.augmented(trained.images.gather(torch.arange(3)))[0].shape == (3, 1, 8, 8)
