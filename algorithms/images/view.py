"""What a random view of an image is, and the random numbers that are drawn for it, with torchvision's laws.

`draw` chooses all of a batch at once, as tensors with one entry a view.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SIGMA = (0.1 / 224, 2 / 224)  # range of the blur's standard deviation in sides of the image; in the papers 0.1 to 2 px


@dataclass(frozen=True)
class View:
    """How one view of an image is made: geometry, flip, jitter, grayscale, blur, solarization.

    `size` is the view's side in pixels. Geometry is a RandomResizedCrop with `scale` (range of the share of
    the area) and `ratio` (range of width / height); where `scale` is None, the whole image, resized; where
    `translate` is set, a reflect-padded shift by up to that many pixels each way, with probability
    `translate_probability`. `jitter` holds ColorJitter's brightness, contrast, saturation and hue; all other
    numbers are probabilities.
    """

    size: int
    scale: tuple[float, float] | None = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    translate: int = 0
    translate_probability: float = 0.8
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.0
    solarize: float = 0.0

    def __post_init__(self) -> None:
        if not self.ratio[0] <= 1 <= self.ratio[1]:
            raise ValueError(f"ratio is {self.ratio}; it must hold 1, because images are square")
        if not 0 <= self.jitter[3] <= 0.5:
            raise ValueError(f"jitter's hue is {self.jitter[3]}; it must be in 0 .. 0.5 turns")


class Jitter(NamedTuple):
    """The colour jitter of n views: tensors [n]."""

    on: Tensor  # bool
    brightness: Tensor  # factors
    contrast: Tensor
    saturation: Tensor
    hue: Tensor  # turns
    order: Tensor  # 0 .. 23, as `jitter_order` reads it


class Choice(NamedTuple):
    """What was drawn for n views: tensors [n], or None where no view has the operation."""

    top: Tensor  # of the crop, pixels of the image; or the shift
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool
    jitter: Jitter | None = None
    grayscale: Tensor | None = None  # bool
    blur: Tensor | None = None  # bool
    sigma: Tensor | None = None  # of the blur, pixels
    solarize: Tensor | None = None  # bool


def draw(
    views: Sequence[View],
    batch: int,
    side: int,
    device: torch.device | str = "cpu",
    shared_flip: Tensor | None = None,
) -> Choice:
    """Choices for `views` of `batch` images of `side` pixels; view v of image b is entry b * views + v.

    `shared_flip` [batch] is drawn elsewhere, for all views.
    """
    n = batch * len(views)

    def each(setting: Callable[[View], float]) -> float | Tensor:
        """A setting of the views: a number where they agree, else one entry a view (filled on the device)."""
        values = [float(setting(view)) for view in views]
        if len(set(values)) == 1:
            return values[0]
        return torch.stack([torch.full((batch,), value, device=device) for value in values], 1).flatten()

    def uniform(low: float | Tensor, high: float | Tensor) -> Tensor:
        return torch.rand(n, device=device) * (high - low) + low

    def happens(probability: Callable[[View], float]) -> Tensor:
        return torch.rand(n, device=device) < each(probability)

    if any(view.translate for view in views):
        reach = each(lambda view: view.translate)
        moved = happens(lambda view: view.translate_probability)
        top, left = (moved * (torch.floor(uniform(0.0, 1.0) * (2 * reach + 1)) - reach) for _ in range(2))
        height = width = torch.full((n,), float(side), device=device)
    elif not any(view.scale for view in views):
        top = left = torch.zeros(n, device=device)
        height = width = torch.full((n,), float(side), device=device)
    else:
        top, left, height, width = _draw_crop(each, n, side, device)
    flip = happens(lambda view: view.flip) if shared_flip is None else shared_flip.repeat_interleave(len(views))
    jitter = grayscale = blur = sigma = solarize = None
    if any(view.jitter_probability and any(view.jitter) for view in views):

        def factor(place: int) -> Tensor:
            low = each(lambda view: max(0.0, 1 - view.jitter[place]))
            return uniform(low, each(lambda view: 1 + view.jitter[place]))

        jitter = Jitter(
            on=happens(lambda view: view.jitter_probability),
            brightness=factor(0),
            contrast=factor(1),
            saturation=factor(2),
            hue=uniform(-1.0, 1.0) * each(lambda view: view.jitter[3]),
            order=torch.randint(24, (n,), device=device),
        )
    if any(view.grayscale for view in views):
        grayscale = happens(lambda view: view.grayscale)
    if any(view.blur for view in views):
        blur, sigma = happens(lambda view: view.blur), uniform(*SIGMA) * side
    if any(view.solarize for view in views):
        solarize = happens(lambda view: view.solarize)
    return Choice(top, left, height, width, flip, jitter, grayscale, blur, sigma, solarize)


Each = Callable[[Callable[[View], float]], float | Tensor]


def _draw_crop(each: Each, n: int, side: int, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RandomResizedCrop.get_params of torchvision, n times: the first of ten tries that fits, or all."""

    def spread(setting: Callable[[View], tuple[float, float]]) -> Tensor:
        low, high = each(lambda view: setting(view)[0]), each(lambda view: setting(view)[1])
        return torch.rand(10, n, device=device) * (high - low) + low

    area = spread(lambda view: view.scale or (1.0, 1.0)) * side**2
    log_ratio = spread(lambda view: (math.log(view.ratio[0]), math.log(view.ratio[1])) if view.scale else (0.0, 0.0))
    root, stretch = area.sqrt(), torch.exp(0.5 * log_ratio)
    width, height = torch.round(root * stretch), torch.round(root / stretch)
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    rank = fits * torch.arange(10.0, 0.0, -1.0, device=device)[:, None]
    best = rank.amax(0)
    first = rank == best
    width = torch.where(best > 0, (width * first).sum(0), side)
    height = torch.where(best > 0, (height * first).sum(0), side)
    # float32 can round u * (room + 1) up to room + 1
    top = torch.minimum(torch.floor(torch.rand(n, device=device) * (side - height + 1)), side - height)
    left = torch.minimum(torch.floor(torch.rand(n, device=device) * (side - width + 1)), side - width)
    return top, left, height, width
