"""The embedded data set: eight textures under changing light. It needs no download, and takes about a second.

1,000 training and 400 test images of 16x16 px, 125 and 50 of each class: horizontal, vertical and diagonal bars,
checks, fine grain, dots, blobs, and no texture at all. Position, period, widths of the bars and places of the cells,
a small rotation, contrast, brightness, an uneven illumination and a tint that changes across the image are random
and say nothing of the class. They are most of what a pixel is, and much of what random filters see, but a random
crop, flip and colour jitter change them too, so that self-supervision learns to see through them; the textures
survive all of these. Illumination and tint differ between two crops of one image, so that a method cannot tell
images apart by their colour alone.

What `python -m tests.bench.data.measure_shapes simclr byol moco swav barlow simsiam` printed: the kNN accuracy (k=200,
T=0.1) of the test images, with resnet8 and the default hyper-parameters, after 4 epochs of 31 steps of 32 images on one
CPU core:

    method      kNN, %, of three seeds  CPU seconds a training
    pixels        29.2   29.2   29.2       0.0
    random        34.3   23.5   26.8       0.0
    simclr        67.5   69.0   70.5       1.9
    byol          55.5   51.2   46.8       3.2
    moco          60.0   57.5   57.5       2.6
    swav          68.0   63.5   62.7       2.1
    barlow        69.5   59.2   62.7       2.7
    simsiam       52.5   45.8   44.5       2.3

Everything is computed in integers from numpy's `RandomState`, whose stream is frozen, so that the images are the same
on every machine; a test pins their fingerprint.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

from bench.data.dataset import Split
from bench.data.source import Integers, PixelSource

SIZE = 16
"""Side of an image, pixels."""
SAMPLES = 4
"""A pixel is the mean of SAMPLES x SAMPLES points, so that edges are smooth."""
UNIT = 1024
"""A point's side. Lengths within a texture are whole numbers of units."""
PIXEL = SAMPLES * UNIT

Covered = NDArray[np.bool_]
"""Of each point, whether the texture covers it."""
Pattern = Callable[[Integers, Integers, Integers, RandomState], Covered]
"""(u, v, period, random) -> bool: u and v int64 [n, 64, 64] are the coordinates of each point along the texture's
axes, period int64 [n, 1, 1], all in units."""


def _integers(random: RandomState, low: int, high: int, *shape: int) -> Integers:
    """int64 of `shape`, low <= x <= high."""
    drawn: Integers = random.randint(low, high + 1, shape, dtype=np.int64)
    return drawn


def _bars(across: Integers, period: Integers, random: RandomState) -> Covered:
    """Bars one period apart, each of its own width, 1/4 to 3/4 of the period."""
    width = _integers(random, 256, 768, len(across), 32)
    number, place = np.divmod(across, period)
    covered: Covered = place * 1024 < period * width[np.arange(len(across))[:, None, None], number % 32]
    return covered


def _cells(u: Integers, v: Integers, side: Integers, percent: int, random: RandomState) -> Covered:
    """Square cells of `side`, each filled with a probability of `percent`."""
    filled = _integers(random, 0, 99, len(u), 32, 32) < percent
    covered: Covered = filled[np.arange(len(u))[:, None, None], u // side % 32, v // side % 32]
    return covered


def _diagonal(u: Integers, v: Integers, period: Integers, random: RandomState) -> Covered:
    """Bars along either diagonal: a flip turns one into the other."""
    either = _integers(random, 0, 1, len(u), 1, 1) * 2 - 1
    return _bars(u + either * v, period * 1448 // 1024, random)  # sqrt(2): u + v grows that much faster than u


TEXTURES: dict[str, Pattern] = {
    "horizontal bars": lambda u, v, period, random: _bars(v, period, random),
    "vertical bars": lambda u, v, period, random: _bars(u, period, random),
    "diagonal bars": _diagonal,
    "checks": lambda u, v, period, random: _bars(u, period, random) ^ _bars(v, period, random),
    "grain": lambda u, v, period, random: _cells(u, v, period // 4, 50, random),
    "dots": lambda u, v, period, random: _cells(u, v, period // 2, 15, random),
    "blobs": lambda u, v, period, random: _cells(u, v, period, 50, random),
    "plain": lambda u, v, period, random: np.zeros_like(u, dtype=bool),
}
CLASSES = tuple(TEXTURES)


def _texture(pattern: Pattern, images: int, random: RandomState) -> Integers:
    """int64 [images, 16, 16]: how many of a pixel's 16 points the pattern covers."""
    period = _integers(random, 4 * PIXEL, 5 * PIXEL, images, 1, 1)
    sine = _integers(random, -UNIT // 5, UNIT // 5, images, 1, 1)  # up to 11 degrees; the cosine is taken as 1
    shift_u, shift_v = _integers(random, 0, 8 * PIXEL, 2, images, 1, 1)
    y, x = np.mgrid[: SIZE * SAMPLES, : SIZE * SAMPLES]
    covered = pattern(UNIT * x - sine * y + shift_u, UNIT * y + sine * x + shift_v, period, random)
    points: Integers = covered.reshape(images, SIZE, SAMPLES, SIZE, SAMPLES).sum((2, 4), dtype=np.int64)
    return points


def _between_corners(corners: Integers) -> Integers:
    """[..., 2, 2] values of the corners -> [..., 16, 16] bilinear between them, times 225."""
    near = np.stack([np.arange(SIZE - 1, -1, -1), np.arange(SIZE)])  # [2, 16]
    values: Integers = np.einsum("...ij,iy,jx->...yx", corners, near, near)
    return values


def _split(each: int, seed: int) -> tuple[Tensor, Tensor]:
    """`each` images of every class in random order: uint8 [N, 3, 16, 16], int64 [N]."""
    random = RandomState(seed)
    images = each * len(CLASSES)
    cover = np.concatenate([_texture(pattern, each, random) for pattern in TEXTURES.values()])
    labels = np.repeat(np.arange(len(CLASSES)), each)

    light = 4 * _between_corners(_integers(random, 50, 190, images, 1, 2, 2))
    tint = 4 * _integers(random, -40, 40, images, 3, 2, 2)
    tint = _between_corners(tint - tint.sum((2, 3), keepdims=True) // 4)  # no tint on average over the image
    contrast = _integers(random, 70, 120, images, 1, 1)
    texture = contrast * (256 * cover - cover.sum((1, 2), keepdims=True)) * 900 // (16 * 256)
    brightness = _integers(random, 680, 1530, images, 1, 1, 1)
    noise = _integers(random, -5, 5, images, 3, SIZE, SIZE, 4).sum(-1)  # standard deviation 6.3
    pixels = (light + tint + texture[:, None]) * brightness // (900 * 1024) + noise

    order = random.permutation(images)
    pixels = np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)[order])
    return torch.from_numpy(pixels), torch.from_numpy(labels[order].astype(np.int64))


def generate() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """((pixels, labels) to train on, (pixels, labels) to test on): uint8 [N, 3, 16, 16] and int64 [N], N = 1,000 and
    400. Labels are places in `CLASSES`."""
    return _split(125, seed=1), _split(50, seed=2)


def source() -> PixelSource:
    train, test = generate()
    return PixelSource("generated textures", Split.of(*train), Split.of(*test), CLASSES)
