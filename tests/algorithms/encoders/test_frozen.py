"""Frozen networks see images at their own size and normalisation."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.encoders.encoder import as_encoder
from algorithms.encoders.frozen import Frozen
from algorithms.images.statistics import IMAGENET, Statistics

OTHER = Statistics((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))


def normalised(images: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    mean, std = (torch.tensor(each)[:, None, None] for each in statistics)
    return (images - mean) / std


@settings(deadline=None, max_examples=20)
@given(side=st.integers(4, 20), own=st.integers(4, 20), seed=st.integers(0, 99))
def test_a_frozen_network_sees_what_its_own_preparation_would_show_it(side, own, seed):
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))
    network = as_encoder(nn.Flatten(), "pixels", own)
    shown = F.interpolate(images, size=own, mode="bicubic", antialias=True) if side != own else images
    seen = Frozen(network, own, IMAGENET, OTHER)(normalised(images, OTHER))
    torch.testing.assert_close(seen, normalised(shown, IMAGENET).flatten(1), atol=1e-4, rtol=1e-4)


def test_at_its_own_size_and_normalisation_its_features_are_the_networks_own():
    network = build_encoder("resnet8", 16).eval()
    images = torch.randn(4, 3, 16, 16)
    expected = network(images)
    frozen = Frozen(network, 16, IMAGENET, IMAGENET)
    torch.testing.assert_close(frozen(images), expected, atol=1e-5, rtol=1e-5)
    assert (frozen.width, frozen.name, frozen.training) == (64, "resnet8", False)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_grey_images_are_shown_in_every_channel():
    network, grey = as_encoder(nn.Flatten(), "pixels", 4), torch.rand(2, 1, 4, 4)
    seen = Frozen(network, 4, IMAGENET, Statistics((0.3,), (0.2,)))((grey - 0.3) / 0.2)
    torch.testing.assert_close(seen, normalised(grey.expand(2, 3, 4, 4), IMAGENET).flatten(1), atol=1e-5, rtol=1e-4)


def test_images_of_other_channels_than_the_networks_are_refused():
    network = as_encoder(nn.Flatten(), "pixels", 4)
    with pytest.raises(ValueError, match="'pixels' takes images of 3 channels; these have 5"):
        Frozen(network, 4, IMAGENET, Statistics((0.5,) * 5, (0.2,) * 5))
