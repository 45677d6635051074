"""Colour jitter, grayscale, blur, solarization and normalisation of views.

Colour operations are a few linear blends, with factors that leave a view as it is where an operation is off. The planes
of an image's channels, [n, size, size] each with values 0 .. 1, are separate tensors: a compiler fuses a formula of all
into one pass over them. Three channels are red, green and blue; saturation, hue and grayscale leave others as they are.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from algorithms.images.geometry import pixel_numbers, resample
from algorithms.images.statistics import Normaliser
from algorithms.images.view import Choice, Jitter

LUMINANCE = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green, blue

Number = TypeVar("Number", int, Tensor)


def coloured(planes: list[Tensor], choice: Choice) -> list[Tensor]:
    """Jitter, grayscale, blur and solarization."""
    if choice.jitter is not None:
        planes = _jitter(planes, choice.jitter) if len(planes) == 3 else _jitter_bands(planes, choice.jitter)
    if choice.grayscale is not None and len(planes) == 3:
        planes = _where(choice.grayscale, _grayscale, planes)
    if choice.blur is not None and choice.sigma is not None:
        planes = _where(choice.blur, _blur, planes, choice.sigma)
    if choice.solarize is not None:
        planes = _where(choice.solarize, _solarize, planes)
    return planes


def eager_on_cpu(tensor: Tensor) -> bool:
    """Whether to do what only a CPU without a compiler gains from, and what would synchronise a GPU."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _where(on: Tensor, operation: Callable[..., list[Tensor]], planes: list[Tensor], *columns: Tensor) -> list[Tensor]:
    """`operation(planes, *columns)` in the views where `on`, the planes as they are elsewhere."""
    if eager_on_cpu(on):  # make those views only
        places = on.nonzero()[:, 0]
        some = operation([plane[places] for plane in planes], *(column[places] for column in columns))
        return [plane.index_copy_(0, places, new) for plane, new in zip(planes, some, strict=True)]
    all_ = operation(planes, *columns)
    return [torch.where(over_pixels(on), new, plane) for plane, new in zip(planes, all_, strict=True)]


def over_pixels(column: Tensor) -> Tensor:
    return column[:, None, None]


def jitter_order(number: int) -> list[int]:
    """The order of operations with this number, 0 .. 23: 0 brightness, 1 contrast, 2 saturation, 3 hue."""
    hue_place, others = number // 6, number % 6
    first, second, third = _order_of_three(others)
    order = [first, second, third]
    order.insert(hue_place, 3)
    return order


def _order_of_three(number: Number) -> tuple[Number, Number, Number]:
    first = number // 2
    second = (first + 1 + number % 2) % 3
    return first, second, 3 - first - second


def _jitter(planes: list[Tensor], jitter: Jitter) -> list[Tensor]:
    """ColorJitter, each view in its own order.

    In every order brightness, contrast and saturation have three places, and hue comes before, between or
    after them. So: the three places for the views whose hue comes later, hue, the three places for the other
    views. Brightness, contrast and saturation blend with black, the mean grey and the pixel's grey: one
    formula for all three.
    """
    operations = torch.stack(_order_of_three(jitter.order % 6))
    factors = torch.stack([jitter.brightness, jitter.contrast, jitter.saturation]).gather(0, operations)
    hue_place = jitter.order // 6

    def blend(planes: list[Tensor], place: int, on: Tensor) -> list[Tensor]:
        factor = torch.where(on & jitter.on, factors[place], 1.0)
        gray = _luminance(planes)
        mean = gray.mean((1, 2)) * (1 - factor) * (operations[place] == 1)
        gray.mul_(over_pixels((1 - factor) * (operations[place] == 2))).add_(over_pixels(mean))
        return [plane.mul_(over_pixels(factor)).add_(gray).clamp_(0, 1) for plane in planes]

    for place in range(3):
        planes = blend(planes, place, hue_place > place)
    planes = _shift_hue(planes, torch.where(jitter.on, jitter.hue, 0.0))
    for place in range(3):
        planes = blend(planes, place, hue_place <= place)
    return planes


def _jitter_bands(planes: list[Tensor], jitter: Jitter) -> list[Tensor]:
    """Brightness and contrast alone, in each view's order: contrast blends each channel with its own mean."""
    brightness, contrast = (
        over_pixels(torch.where(jitter.on, factor, 1.0)) for factor in (jitter.brightness, jitter.contrast)
    )
    first, second, _ = _order_of_three(jitter.order % 6)
    # Of the two, which comes first: where saturation does, what follows it.
    contrast_first = over_pixels((first == 1) | ((first == 2) & (second == 1)))

    def blended(plane: Tensor) -> Tensor:
        return (plane * contrast + (1 - contrast) * plane.mean((1, 2), keepdim=True)).clamp_(0, 1)

    made = []
    for plane in planes:
        plane = torch.where(contrast_first, blended(plane), (plane * brightness).clamp_(0, 1))
        made.append(torch.where(contrast_first, (plane * brightness).clamp_(0, 1), blended(plane)))
    return made


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
    hue.copysign_(green - blue).add_(over_pixels(shift))
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
    i = pixel_numbers(size, sigma)[:, None]
    j = pixel_numbers(size, sigma)
    rate = over_pixels(-0.5 / sigma**2)
    # the pixel itself and its reflections at both ends, as far as the kernel reaches
    weight = torch.exp(rate * (i - j) ** 2)
    weight = weight + torch.exp(rate * (i + j) ** 2) * ((j > 0) & (i + j <= last))
    weight = weight + torch.exp(rate * (2 * last - i - j) ** 2) * ((j < last) & (i + j >= last))
    weight = weight / weight.sum(-1, keepdim=True)
    weight = torch.where(weight < 1e-9, 0.0, weight)  # denormals make a CPU's matrix product ten times slower
    return resample(torch.stack(planes, 2), weight, weight)


def _solarize(planes: list[Tensor]) -> list[Tensor]:
    return [torch.where(plane >= 0.5, 1 - plane, plane) for plane in planes]


def normalise(planes: Sequence[Tensor], normaliser: Normaliser, dtype: torch.dtype) -> list[Tensor]:
    """Planes of C channels, here [B, V, S, S]: V tensors [B, C, S, S], normalised, channels-last."""
    channels = [
        plane.sub_(mean).mul_(scale).transpose(0, 1)
        for plane, mean, scale in zip(planes, normaliser.mean, normaliser.scale, strict=True)
    ]
    if eager_on_cpu(channels[0]):  # several times faster than torch.stack there
        output = torch.empty(*channels[0].shape, len(channels), dtype=dtype)
        for i, channel in enumerate(channels):
            output[..., i].copy_(channel)
    else:
        output = torch.stack(channels, -1).to(dtype)
    return list(output.permute(0, 1, 4, 2, 3).unbind())
