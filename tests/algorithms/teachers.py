"""Networks that are followed where a method has a teacher."""

import torch
from torch import nn

from algorithms import WITH_TEACHER
from algorithms.encoders.encoder import Encoder, as_encoder


def teacher(image_size: int, channels: int = 3) -> Encoder:
    """A tiny network of random weights, the same at every call, 12 features wide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        convolution = nn.Conv2d(channels, 12, 3, 2, bias=False)
        network = nn.Sequential(convolution, nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return as_encoder(network, "tiny", image_size, channels).eval().requires_grad_(False)


def teacher_of(method: str, image_size: int, channels: int = 3) -> Encoder | None:
    """What a training of `method` follows: nothing, for most."""
    return teacher(image_size, channels) if method in WITH_TEACHER else None
