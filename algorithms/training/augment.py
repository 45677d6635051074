"""Random views of a batch of images, made where the images live, with torchvision's operations and laws.

Every view of every image gets its own random crop, flip, colour jitter (in its own random order), grayscale,
blur and solarization. `draw` chooses all of that, as tensors with one entry a view; `render` makes the views
that they describe and is deterministic.

Two things make it fast. Crop, resize and flip are two interpolation matrices a view, so that they are two
batched matrix products and no pixel is looked up. And colour operations are a few linear blends, with factors
that leave a view as it is where an operation is off: one program for all views, static shapes, no host
synchronisation, so that it compiles to one graph and can be captured in a CUDA graph.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# ImageNet's statistics, as lightly, solo-learn and torchvision's reference code use for all natural images.
# BatchNorm follows the first convolution, so that a data set's own statistics would change little.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMINANCE = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green, blue
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

    def __post_init__(self):
        if not self.ratio[0] <= 1 <= self.ratio[1]:
            raise ValueError(f"ratio is {self.ratio}; it must hold 1, because images are square")
        if not 0 <= self.jitter[3] <= 0.5:
            raise ValueError(f"jitter's hue is {self.jitter[3]}; it must be in 0 .. 0.5 turns")


class Choice(NamedTuple):
    """What was drawn for n views: tensors [n], or None where no view has the operation."""

    top: Tensor  # of the crop, pixels of the image; or the shift
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool
    jitter: Tensor | None  # bool
    brightness: Tensor | None  # factors
    contrast: Tensor | None
    saturation: Tensor | None
    hue: Tensor | None  # turns
    order: Tensor | None  # of the jitter, 0 .. 23, as `jitter_order` reads it
    grayscale: Tensor | None  # bool
    blur: Tensor | None  # bool
    sigma: Tensor | None  # of the blur, pixels
    solarize: Tensor | None  # bool


def pack(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> uint8 [N, H, 3, W], the layout that the crop's matrix products want."""
    return images.permute(0, 2, 1, 3).contiguous()


def unpack(pixels: Tensor) -> Tensor:
    """The images [N, 3, H, W] that `pack` made `pixels` of; no copy, and to `pack` them again is none either."""
    return pixels.permute(0, 2, 1, 3)


def unaugmented(pixels: Tensor, index: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images `index` [B] of `pixels` (uint8 [N, H, 3, W], from `pack`), only normalised: [B, 3, H, W]."""
    images = pixels.index_select(0, index).to(torch.float32).mul_(1 / 255)
    return _normalise([plane[:, None] for plane in images.unbind(2)], dtype)[0]


def augment(
    pixels: Tensor,
    index: Tensor,
    views: Sequence[View],
    *,
    shared_flip: bool = False,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Random views of images `index` [B] of `pixels` (uint8 [N, H, 3, W], from `pack`).

    Returns one tensor [B, 3, size, size] for each of `views`, normalised, channels-last. `shared_flip` flips
    all views of an image or none, with the first view's probability (AMDIM). Randomness comes from the
    device's default generator.
    """
    images = pixels.index_select(0, index)
    batch, side = images.shape[:2]
    flip = torch.rand(batch, device=pixels.device) < views[0].flip if shared_flip else None
    made: dict[int, Tensor] = {}
    for kind in dict.fromkeys((view.size, view.translate > 0) for view in views):  # one pass for views of one size
        places = [place for place, view in enumerate(views) if (view.size, view.translate > 0) == kind]
        choice = draw([views[place] for place in places], batch, side, pixels.device, flip)
        size, translate = kind
        made.update(zip(places, render(images, choice, size, translate, dtype), strict=True))
    return [made[place] for place in range(len(views))]


def recoloured(images: Tensor, view: View) -> Tensor:
    """Normalised images [N, 3, h, h], such as patches of a view, each flipped and coloured by itself as `view` says.
    Raises ValueError for a view that crops or shifts."""
    if view.scale or view.translate:
        raise ValueError("recoloured images stay whole; the view's scale must be None and its translate 0")
    choice = draw([view], len(images), images.shape[-1], images.device)
    planes = [(plane * std).add_(mean) for plane, mean, std in zip(images.unbind(1), MEAN, STD, strict=True)]
    planes = [torch.where(_over_pixels(choice.flip), plane.flip(-1), plane) for plane in planes]
    return _normalise([plane[:, None] for plane in _coloured(planes, choice)], images.dtype)[0]


# ------------------------------------------------------------------------------ what is drawn


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
    choice = dict.fromkeys(Choice._fields)
    choice.update(top=top, left=left, height=height, width=width)
    shared = shared_flip is not None
    choice["flip"] = shared_flip.repeat_interleave(len(views)) if shared else happens(lambda view: view.flip)
    if any(view.jitter_probability and any(view.jitter) for view in views):
        choice["jitter"] = happens(lambda view: view.jitter_probability)
        for i, name in enumerate(("brightness", "contrast", "saturation")):
            low = each(lambda view, i=i: max(0.0, 1 - view.jitter[i]))
            choice[name] = uniform(low, each(lambda view, i=i: 1 + view.jitter[i]))
        choice["hue"] = uniform(-1.0, 1.0) * each(lambda view: view.jitter[3])
        choice["order"] = torch.randint(24, (n,), device=device)
    if any(view.grayscale for view in views):
        choice["grayscale"] = happens(lambda view: view.grayscale)
    if any(view.blur for view in views):
        choice.update(blur=happens(lambda view: view.blur), sigma=uniform(*SIGMA) * side)
    if any(view.solarize for view in views):
        choice["solarize"] = happens(lambda view: view.solarize)
    return Choice(**choice)


def _draw_crop(each, n: int, side: int, device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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


# ------------------------------------------------------------------------------ how it is made
# The red, green and blue planes, [n, size, size] each with values 0 .. 1, are separate tensors: a compiler
# fuses a formula of all three into one pass over them.


def render(
    images: Tensor, choice: Choice, size: int, translate: bool = False, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """The views that `choice` describes, as `augment` returns them, of `images` uint8 [B, H, 3, W]."""
    planes = _coloured(_geometry(images, choice, size, translate), choice)
    return _normalise([plane.view(len(images), -1, size, size) for plane in planes], dtype)


def _coloured(planes: list[Tensor], choice: Choice) -> list[Tensor]:
    """Jitter, grayscale, blur and solarization."""
    if choice.jitter is not None:
        planes = _jitter(planes, choice)
    if choice.grayscale is not None:
        planes = _where(choice.grayscale, _grayscale, planes)
    if choice.blur is not None:
        planes = _where(choice.blur, _blur, planes, choice.sigma)
    if choice.solarize is not None:
        planes = _where(choice.solarize, _solarize, planes)
    return planes


def _eager_on_cpu(tensor: Tensor) -> bool:
    """Whether to do what only a CPU without a compiler gains from, and what would synchronise a GPU."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _where(on: Tensor, operation: Callable[..., list[Tensor]], planes: list[Tensor], *columns: Tensor) -> list[Tensor]:
    """`operation(planes, *columns)` in the views where `on`, the planes as they are elsewhere."""
    if _eager_on_cpu(on):  # make those views only
        places = on.nonzero()[:, 0]
        some = operation([plane[places] for plane in planes], *(column[places] for column in columns))
        return [plane.index_copy_(0, places, new) for plane, new in zip(planes, some, strict=True)]
    all_ = operation(planes, *columns)
    return [torch.where(_over_pixels(on), new, plane) for plane, new in zip(planes, all_, strict=True)]


def _over_pixels(column: Tensor) -> Tensor:
    return column[:, None, None]


def _geometry(images: Tensor, choice: Choice, size: int, translate: bool) -> list[Tensor]:
    """Crop (or shift), resize and flip: uint8 [B, H, 3, W] -> planes of all views of all images."""
    side = images.shape[1]
    place = torch.arange(size, device=images.device, dtype=torch.float32).expand(len(choice.flip), size)
    mirrored = torch.where(choice.flip[:, None], size - 1 - place, place)
    if translate:
        if size != side:
            raise ValueError(f"translate keeps an image's size, which is {side}; the view's is {size}")
        vertical, horizontal = _shift(place, choice.top, side), _shift(mirrored, choice.left, side)
    elif size >= side:
        vertical = _enlarge(place, choice.top, choice.height, side)
        horizontal = _enlarge(mirrored, choice.left, choice.width, side)
    else:
        vertical = _resize(place, choice.top, choice.height, side)
        horizontal = _resize(mirrored, choice.left, choice.width, side)
    return _resample(images.to(torch.float32), vertical * (1 / 255), horizontal)


def _resample(images: Tensor, vertical: Tensor, horizontal: Tensor) -> list[Tensor]:
    """[B, H, 3, W] by the matrices [n, h, H] and [n, w, W], n a multiple of B -> planes [n, h, w]."""
    n, height, side = vertical.shape
    views = n // max(1, len(images))  # of no image, where no view is blurred
    rows = torch.bmm(vertical.view(len(images), views * height, side), images.flatten(2))
    both = torch.bmm(rows.view(n, height * 3, images.shape[3]), horizontal.transpose(1, 2))
    return [plane.contiguous() for plane in both.view(n, height, 3, horizontal.shape[1]).unbind(2)]


def _pixels(side: int, like: Tensor) -> Tensor:
    return torch.arange(side, device=like.device, dtype=torch.float32)


def _enlarge(place: Tensor, start: Tensor, length: Tensor, side: int) -> Tensor:
    """Matrix [n, size, side] of bilinear interpolation in pixels start .. start + length - 1 of a line.

    `place` [n, size] is the output pixel that each row makes. Only for crops that do not shrink.
    """
    first, last = start[:, None], (start + length - 1)[:, None]
    centre = first + (place + 0.5) * (length / place.shape[1])[:, None] - 0.5
    centre = torch.minimum(torch.maximum(centre, first), last)
    return (_pixels(side, place) - centre[..., None]).abs_().neg_().add_(1).clamp_(min=0)


def _resize(place: Tensor, start: Tensor, length: Tensor, side: int) -> Tensor:
    """As `_enlarge`; where the crop shrinks antialiased as by PIL, by a triangle two output pixels wide."""
    scale = (length / place.shape[1])[:, None]
    first, last = start[:, None, None], (start + length - 1)[:, None, None]
    centre = start[:, None] + (place + 0.5) * scale - 0.5
    source = _pixels(side, place)
    weight = (1 - (source - centre[..., None]).abs() / scale.clamp(min=1.0)[..., None]).clamp_(min=0)
    weight = weight * ((source >= first) & (source <= last))
    return weight / weight.sum(-1, keepdim=True)


def _shift(place: Tensor, shift: Tensor, side: int) -> Tensor:
    """Matrix [n, side, side] that moves a line by whole pixels and reflects it at its ends."""
    source = (place + shift[:, None]).abs()
    source = side - 1 - (side - 1 - source).abs()
    return (_pixels(side, place) == source[..., None]).to(torch.float32)


def jitter_order(number: int) -> list[int]:
    """The order of operations with this number, 0 .. 23: 0 brightness, 1 contrast, 2 saturation, 3 hue."""
    hue_place, others = number // 6, number % 6
    first, second, third = _order_of_three(others)
    order = [first, second, third]
    order.insert(hue_place, 3)
    return order


def _order_of_three(number):
    first = number // 2
    second = (first + 1 + number % 2) % 3
    return first, second, 3 - first - second


def _jitter(planes: list[Tensor], choice: Choice) -> list[Tensor]:
    """ColorJitter, each view in its own order.

    In every order brightness, contrast and saturation have three places, and hue comes before, between or
    after them. So: the three places for the views whose hue comes later, hue, the three places for the other
    views. Brightness, contrast and saturation blend with black, the mean grey and the pixel's grey: one
    formula for all three.
    """
    operations = torch.stack(_order_of_three(choice.order % 6))
    factors = torch.stack([choice.brightness, choice.contrast, choice.saturation]).gather(0, operations)
    hue_place = choice.order // 6

    def blend(planes: list[Tensor], place: int, on: Tensor) -> list[Tensor]:
        factor = torch.where(on & choice.jitter, factors[place], 1.0)
        gray = _luminance(planes)
        mean = gray.mean((1, 2)) * (1 - factor) * (operations[place] == 1)
        gray.mul_(_over_pixels((1 - factor) * (operations[place] == 2))).add_(_over_pixels(mean))
        return [plane.mul_(_over_pixels(factor)).add_(gray).clamp_(0, 1) for plane in planes]

    for place in range(3):
        planes = blend(planes, place, hue_place > place)
    planes = _shift_hue(planes, torch.where(choice.jitter, choice.hue, 0.0))
    for place in range(3):
        planes = blend(planes, place, hue_place <= place)
    return planes


def _luminance(planes: list[Tensor]) -> Tensor:
    red, green, blue = planes
    return (red * LUMINANCE[0]).add_(green, alpha=LUMINANCE[1]).add_(blue, alpha=LUMINANCE[2])


def _shift_hue(planes: list[Tensor], shift: Tensor) -> list[Tensor]:
    """torchvision's adjust_hue of float images, by `shift` [n] turns; comparisons would be slow on a CPU.

    With red, green and blue moved and scaled so that the least is 0 and the greatest 1, six times the hue is
    1 + green + blue - red, negative where blue > green. The way back, with the new hue h in 0 .. 1: red is
    |6 h - 3| - 1, green 2 - |6 h - 2| and blue 2 - |6 h - 4|, each cut to 0 .. 1. Saturation is never formed:
    HSV's value times saturation is the greatest less the least.
    """
    red, green, blue = planes
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    span = (high - low).clamp_(min=1e-12)
    hue = (green + blue).sub_(red).sub_(low).div_(span).add_(1).mul_(1 / 6)
    hue.copysign_(green - blue).add_(_over_pixels(shift))
    hue.sub_(hue.floor())
    low.sub_(span)
    high.add_(span)
    span.mul_(6)
    return [
        torch.addcmul(low, span, (hue - 1 / 2).abs_().clamp_(1 / 6, 1 / 3)),
        torch.addcmul(high, span, (hue - 1 / 3).abs_().clamp_(1 / 6, 1 / 3), value=-1),
        torch.addcmul(high, span, (hue - 2 / 3).abs_().clamp_(1 / 6, 1 / 3), value=-1),
    ]


def _grayscale(planes: list[Tensor]) -> list[Tensor]:
    return [_luminance(planes)] * 3


def _blur(planes: list[Tensor], sigma: Tensor) -> list[Tensor]:
    """torchvision's gaussian_blur with the widest kernel that reflection allows, 2 size - 1 pixels."""
    size = planes[0].shape[-1]
    last = size - 1
    i = _pixels(size, sigma)[:, None]
    j = _pixels(size, sigma)
    rate = _over_pixels(-0.5 / sigma**2)
    # the pixel itself and its reflections at both ends, as far as the kernel reaches
    weight = torch.exp(rate * (i - j) ** 2)
    weight = weight + torch.exp(rate * (i + j) ** 2) * ((j > 0) & (i + j <= last))
    weight = weight + torch.exp(rate * (2 * last - i - j) ** 2) * ((j < last) & (i + j >= last))
    weight = weight / weight.sum(-1, keepdim=True)
    weight = torch.where(weight < 1e-9, 0.0, weight)  # denormals make a CPU's matrix product ten times slower
    return _resample(torch.stack(planes, 2), weight, weight)


def _solarize(planes: list[Tensor]) -> list[Tensor]:
    return [torch.where(plane >= 0.5, 1 - plane, plane) for plane in planes]


def _normalise(planes: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Planes, here [B, V, S, S], less MEAN, divided by STD: V tensors [B, 3, S, S], channels-last."""
    channels = [
        plane.sub_(mean).mul_(1 / std).transpose(0, 1) for plane, mean, std in zip(planes, MEAN, STD, strict=True)
    ]
    if _eager_on_cpu(channels[0]):  # several times faster than torch.stack there
        output = torch.empty(*channels[0].shape, 3, dtype=dtype)
        for i, channel in enumerate(channels):
            output[..., i].copy_(channel)
    else:
        output = torch.stack(channels, -1).to(dtype)
    return list(output.permute(0, 1, 4, 2, 3).unbind())
