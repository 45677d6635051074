"""What a random view of an image is, and the random numbers that are drawn for it, with torchvision's laws.

`draw` chooses all of a batch at once, as tensors with one entry a view.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

SIGMA = (0.1 / 224, 2 / 224)  # range of the blur's standard deviation in sides of the image; in the papers 0.1 to 2 px

Amount = float | Tensor


@dataclass(frozen=True)
class View:
    """How one view of an image is made: geometry, flips, turn, jitter, grayscale, blur, solarization.

    `size` is the view's side in pixels. Geometry is a RandomResizedCrop with `scale` (range of the share of
    the area) and `ratio` (range of width / height); where `scale` is None, the whole image, resized; where
    `translate` is set, a reflect-padded shift by up to that many pixels each way, with probability
    `translate_probability`. `flip` mirrors left and right, `vertical_flip` top and bottom; then with probability
    `quarter_turn` the view is turned by 0, 90, 180 or 270 degrees. `jitter` holds ColorJitter's brightness, contrast,
    saturation and hue; all other numbers are probabilities. An amount is a number, or a tensor [] for a compiled step,
    which then serves every value of it.
    """

    size: int
    scale: tuple[Amount, float] | None = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    translate: int = 0
    translate_probability: float = 0.8
    flip: Amount = 0.5
    vertical_flip: Amount = 0.0
    quarter_turn: Amount = 0.0
    jitter: tuple[Amount, Amount, Amount, Amount] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    grayscale: Amount = 0.2
    blur: Amount = 0.0
    solarize: Amount = 0.0

    def __post_init__(self) -> None:
        if not self.ratio[0] <= 1 <= self.ratio[1]:
            raise ValueError(f"ratio is {self.ratio}; it must hold 1, because images are square")
        if not isinstance(self.jitter[3], Tensor) and not 0 <= self.jitter[3] <= 0.5:
            raise ValueError(f"jitter's hue is {self.jitter[3]}; it must be in 0 .. 0.5 turns")


class Jitter(NamedTuple):
    """The colour jitter of n views: tensors [n]."""

    on: Tensor  # bool
    brightness: Tensor  # factors
    contrast: Tensor
    saturation: Tensor
    hue: Tensor  # turns
    order: Tensor  # 0 .. 23, as `jitter_order` reads it


class Pose(NamedTuple):
    """How n views lie: tensors bool [n], or None where no view is so. All eight ways in which a square lies are made of
    the two flips and then of rows that become columns."""

    flip: Tensor  # left and right
    vertical: Tensor | None = None
    transpose: Tensor | None = None


class Choice(NamedTuple):
    """What was drawn for n views: tensors [n], or None where no view has the operation."""

    top: Tensor  # of the crop, pixels of the image; or the shift
    left: Tensor
    height: Tensor
    width: Tensor
    pose: Pose
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
    shared_pose: Pose | None = None,
) -> Choice:
    """Choices for `views` of `batch` images of `side` pixels; view v of image b is entry b * views + v.

    `shared_pose`, of tensors [batch], is drawn elsewhere, for all views.
    """
    n = batch * len(views)

    def each(setting: Callable[[View], Amount]) -> Amount:
        """A setting of the views: a number where they agree, else one entry a view (filled on the device)."""
        return _each(views, setting, batch, device)

    def uniform(low: Amount, high: Amount) -> Tensor:
        return torch.rand(n, device=device) * (high - low) + low

    def happens(probability: Callable[[View], Amount]) -> Tensor:
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
    if shared_pose is None:
        pose = draw_pose(views, batch, device)
    else:
        rows: list[Any] = [None if each is None else each.repeat_interleave(len(views)) for each in shared_pose]
        pose = Pose(*rows)
    jitter = grayscale = blur = sigma = solarize = None
    if any(view.jitter_probability and any(map(_may_happen, view.jitter)) for view in views):

        def factor(place: int) -> Tensor:
            low = each(lambda view: _not_negative(1 - view.jitter[place]))
            return uniform(low, each(lambda view: 1 + view.jitter[place]))

        jitter = Jitter(
            on=happens(lambda view: view.jitter_probability),
            brightness=factor(0),
            contrast=factor(1),
            saturation=factor(2),
            hue=uniform(-1.0, 1.0) * each(lambda view: view.jitter[3]),
            order=torch.randint(24, (n,), device=device),
        )
    if any(_may_happen(view.grayscale) for view in views):
        grayscale = happens(lambda view: view.grayscale)
    if any(_may_happen(view.blur) for view in views):
        blur, sigma = happens(lambda view: view.blur), uniform(*SIGMA) * side
    if any(_may_happen(view.solarize) for view in views):
        solarize = happens(lambda view: view.solarize)
    return Choice(top, left, height, width, pose, jitter, grayscale, blur, sigma, solarize)


def draw_pose(views: Sequence[View], batch: int, device: torch.device | str = "cpu") -> Pose:
    """How `views` of `batch` images lie, in the order of `draw`."""

    def random() -> Tensor:
        return torch.rand(batch * len(views), device=device)

    flip = random() < _each(views, lambda view: view.flip, batch, device)
    vertical = transpose = None
    if any(_may_happen(view.vertical_flip) for view in views):
        vertical = random() < _each(views, lambda view: view.vertical_flip, batch, device)
    if any(_may_happen(view.quarter_turn) for view in views):
        turned = random() < _each(views, lambda view: view.quarter_turn, batch, device)
        turns = torch.floor(random() * 4).clamp_(max=3) * turned
        # A turn to the left is a flip of left and right before rows become columns, one to the right a vertical flip.
        flip = flip ^ ((turns == 1) | (turns == 2))
        upturned = turns >= 2
        vertical = upturned if vertical is None else vertical ^ upturned
        transpose = (turns == 1) | (turns == 3)
    return Pose(flip, vertical, transpose)


def _each(views: Sequence[View], setting: Callable[[View], Amount], batch: int, device: torch.device | str) -> Amount:
    values = [setting(view) for view in views]
    if all(value is values[0] for value in values) or (
        not any(isinstance(value, Tensor) for value in values) and len(set(map(float, values))) == 1
    ):
        return values[0] if isinstance(values[0], Tensor) else float(values[0])
    columns = [
        value.expand(batch) if isinstance(value, Tensor) else torch.full((batch,), float(value), device=device)
        for value in values
    ]
    return torch.stack(columns, 1).flatten()


def _may_happen(amount: Amount) -> bool:
    """What a tensor holds is not asked: a compiled step serves every value of it."""
    return isinstance(amount, Tensor) or amount != 0


def _not_negative(amount: Amount) -> Amount:
    return amount.clamp(min=0) if isinstance(amount, Tensor) else max(0.0, amount)


Each = Callable[[Callable[[View], Amount]], Amount]


def _draw_crop(each: Each, n: int, side: int, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RandomResizedCrop.get_params of torchvision, n times: the first of ten tries that fits, or all."""

    def spread(setting: Callable[[View], tuple[Amount, float]]) -> Tensor:
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
