"""Crop, resize, shift and flip as two interpolation matrices a view: they are two batched matrix products, and no pixel
is looked up. Turns by a quarter are flips and rows that become columns."""

import torch
from torch import Tensor

from algorithms.images.view import Choice, Pose


def resampled(images: Tensor, choice: Choice, size: int, translate: bool) -> list[Tensor]:
    """Crop (or shift), resize, flip and turn: uint8 [B, H, C, W] -> planes of all views of all images."""
    side = images.shape[1]
    pose = choice.pose
    place = torch.arange(size, device=images.device, dtype=torch.float32).expand(len(pose.flip), size)
    across = torch.where(pose.flip[:, None], size - 1 - place, place)
    down = place if pose.vertical is None else torch.where(pose.vertical[:, None], size - 1 - place, place)
    if translate:
        if size != side:
            raise ValueError(f"translate keeps an image's size, which is {side}; the view's is {size}")
        vertical, horizontal = _shift(down, choice.top, side), _shift(across, choice.left, side)
    elif size >= side:
        vertical = _enlarge(down, choice.top, choice.height, side)
        horizontal = _enlarge(across, choice.left, choice.width, side)
    else:
        vertical = _resize(down, choice.top, choice.height, side)
        horizontal = _resize(across, choice.left, choice.width, side)
    return transposed(resample(images.to(torch.float32), vertical * (1 / 255), horizontal), pose)


def posed(planes: list[Tensor], pose: Pose) -> list[Tensor]:
    """Square planes [n, size, size] as they lie in `pose`, to the last bit."""
    planes = [torch.where(pose.flip[:, None, None], plane.flip(-1), plane) for plane in planes]
    if pose.vertical is not None:
        planes = [torch.where(pose.vertical[:, None, None], plane.flip(-2), plane) for plane in planes]
    return transposed(planes, pose)


def transposed(planes: list[Tensor], pose: Pose) -> list[Tensor]:
    """`posed`, of planes that are flipped already."""
    if pose.transpose is None:
        return planes
    return [torch.where(pose.transpose[:, None, None], plane.mT, plane) for plane in planes]


def resample(images: Tensor, vertical: Tensor, horizontal: Tensor) -> list[Tensor]:
    """[B, H, C, W] by the matrices [n, h, H] and [n, w, W], n a multiple of B -> planes [n, h, w]."""
    n, height, side = vertical.shape
    channels = images.shape[2]
    views = n // max(1, len(images))  # of no image, where no view is blurred
    rows = torch.bmm(vertical.view(len(images), views * height, side), images.flatten(2))
    both = torch.bmm(rows.view(n, height * channels, images.shape[3]), horizontal.transpose(1, 2))
    return [plane.contiguous() for plane in both.view(n, height, channels, horizontal.shape[1]).unbind(2)]


def pixel_numbers(side: int, like: Tensor) -> Tensor:
    return torch.arange(side, device=like.device, dtype=torch.float32)


def _enlarge(place: Tensor, start: Tensor, length: Tensor, side: int) -> Tensor:
    """Matrix [n, size, side] of bilinear interpolation in pixels start .. start + length - 1 of a line.

    `place` [n, size] is the output pixel that each row makes. Only for crops that do not shrink.
    """
    first, last = start[:, None], (start + length - 1)[:, None]
    centre = first + (place + 0.5) * (length / place.shape[1])[:, None] - 0.5
    centre = torch.minimum(torch.maximum(centre, first), last)
    return (pixel_numbers(side, place) - centre[..., None]).abs_().neg_().add_(1).clamp_(min=0)


def _resize(place: Tensor, start: Tensor, length: Tensor, side: int) -> Tensor:
    """As `_enlarge`; where the crop shrinks antialiased as by PIL, by a triangle two output pixels wide."""
    scale = (length / place.shape[1])[:, None]
    first, last = start[:, None, None], (start + length - 1)[:, None, None]
    centre = start[:, None] + (place + 0.5) * scale - 0.5
    source = pixel_numbers(side, place)
    weight = (1 - (source - centre[..., None]).abs() / scale.clamp(min=1.0)[..., None]).clamp_(min=0)
    weight = weight * ((source >= first) & (source <= last))
    return weight / weight.sum(-1, keepdim=True)


def _shift(place: Tensor, shift: Tensor, side: int) -> Tensor:
    """Matrix [n, side, side] that moves a line by whole pixels and reflects it at its ends."""
    source = (place + shift[:, None]).abs()
    source = side - 1 - (side - 1 - source).abs()
    return (pixel_numbers(side, place) == source[..., None]).to(torch.float32)
