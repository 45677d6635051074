"""Images, and choices of views, for the tests of augmentation."""

import torch

from algorithms.images.augment import render
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import pack
from algorithms.images.view import Choice, Jitter, Pose

NORMALISER = IMAGENET.on("cpu")


def images(n: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth and noisy images, some nearly grey, some saturated: uint8 [n, 3, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic")
    noise = torch.rand(n, 3, side, side, generator=generator) - 0.5
    contrast = torch.linspace(0, 2, n)[:, None, None, None]
    return ((picture + 0.3 * noise - 0.5) * contrast * 255 + 128).clamp(0, 255).to(torch.uint8)


def choose(n: int, side: int, **changes) -> Choice:
    """n choices that leave an image of `side` pixels as it is, but for `changes`: numbers, or lists of n."""

    def column(value) -> torch.Tensor:
        return torch.tensor(value if isinstance(value, list) else [value] * n)

    values = {"top": 0, "left": 0, "height": side, "width": side} | changes
    jitter = Jitter(*map(column, values.pop("jitter"))) if "jitter" in values else None
    lies = {name: column(values.pop(name, False)) for name in Pose._fields}
    return Choice(**{name: column(value) for name, value in values.items()}, pose=Pose(**lies), jitter=jitter)


def jitter(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, order=0, on=True) -> dict:
    return {"jitter": (on, brightness, contrast, saturation, hue, order)}


def shown(output: torch.Tensor) -> torch.Tensor:
    """Without the normalisation: [n, 3, size, size] in 0 .. 1."""
    return output * NORMALISER.std[:, None, None] + NORMALISER.mean[:, None, None]


def made(pictures: torch.Tensor, choice: Choice, size: int, translate: bool = False) -> torch.Tensor:
    return shown(render(pack(pictures), choice, size, NORMALISER, translate)[0])


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
