"""Mean and deviation of a data set's channels, by which its images are normalised."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Normaliser(NamedTuple):
    """What normalises images on a device: (value - mean) * scale. Tensors, so that one compiled step serves all data
    sets of a number of channels."""

    mean: Tensor
    """float32 [C], of values 0 .. 1."""
    std: Tensor
    """float32 [C]"""
    scale: Tensor
    """float32 [C], 1 / std, divided in double precision."""


class Statistics(NamedTuple):
    """Of each channel, of values 0 .. 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        return len(self.mean)

    def on(self, device: torch.device | str) -> Normaliser:
        columns = (self.mean, self.std, [1 / each for each in self.std])
        return Normaliser(*(torch.tensor(column, dtype=torch.float32, device=device) for column in columns))


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Those of lightly, solo-learn and torchvision's reference code."""


def measure(parts: Iterable[Tensor]) -> Statistics:
    """Of images uint8 [n, C, S, S] that come in parts: by sums of whole numbers, rounded to four decimals, and so the
    same however they are parted. The deviation of a channel that is constant is 1, so that nothing is divided by 0."""
    counts: Tensor | None = None
    for part in parts:
        found = torch.stack([channel.flatten().bincount(minlength=256) for channel in part.unbind(1)])
        counts = found if counts is None else counts + found
    if counts is None or not int(counts.sum()):
        raise ValueError("There are no images, which have no mean and no deviation.")
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts.cpu().double() / counts.sum(1, keepdim=True).cpu()
    mean = share @ levels
    std = (share @ levels.square() - mean.square()).clamp(min=0).sqrt()
    return Statistics(
        tuple(round(float(each), 4) for each in mean), tuple(round(float(each), 4) or 1.0 for each in std)
    )
