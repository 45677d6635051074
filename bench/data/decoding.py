"""One image becomes pixels of the size and channels that are wanted, whatever it is stored as."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from bench.data import formats
from bench.data.depth import Scale, shown
from bench.data.source import Encoded
from bench.errors import one_line


class Picture(NamedTuple):
    pixels: NDArray[np.uint8] | None
    """[H, W, channels]; None where values are deeper than 8 bits and no scale was given."""
    kind: str
    """The format in which it was stored, such as JPEG-75."""
    values: NDArray[np.float64] | None
    """[2, channels], the least and the greatest of each channel, where they are deeper than 8 bits; else None."""
    whole: bool
    """Whether such values are whole numbers."""
    lost: float
    """The part of its area that was cropped away, 0 to 1."""


def channels_of(encoded: Encoded) -> int:
    """1 of grey, 3 of colours, else the number of bands. Raises whatever a reader does on a damaged file."""
    return formats.channels_of(_stored(encoded))


def decode(
    encoded: Encoded, size: int | None, *, fit: str = "crop", channels: int, scale: Scale | None = None
) -> Picture:
    """The picture that is stored, and where `size` is given of that side in pixels: by `fit` its central square
    (`crop`), all of it on black (`pad`) or stretched (`squash`).

    Grey becomes three equal channels where `channels` is 3. Values of more than 8 bits are shown by `scale`. What is
    transparent shows white behind it. Raises whatever a reader raises on a damaged or huge image, and ValueError for
    other channels.
    """
    kind, layers, whole, alpha = formats.read(_stored(encoded))
    found = 3 if layers[0].mode == "RGB" else len(layers)
    if found != channels and (found, channels) != (1, 3):
        raise ValueError(f"it has {amount_of(found)}, and others have {channels}")
    width, height = layers[0].size
    lost = 1 - min(width, height) / max(width, height) if size and fit == "crop" else 0.0
    values = None
    if layers[0].mode == "F":
        values = _range(layers, alpha)
        if found != channels:
            values = np.repeat(values, channels, axis=1)
        if scale is None:
            return Picture(None, kind, values, whole, lost)
        layers = _between(layers, alpha, scale)
        planes = np.stack([np.asarray(_fitted(layer, size, fit)) for layer in layers], -1)
        pixels = shown(planes, scale[:, : len(layers)])
    elif len(layers) == 1:
        pixels = np.asarray(_fitted(layers[0], size, fit))
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    else:
        pixels = np.stack([np.asarray(_fitted(layer, size, fit)) for layer in layers], -1)
    if pixels.shape[2] < channels:
        pixels = np.repeat(pixels, channels, axis=2)
    return Picture(_padded(pixels, size) if size and fit == "pad" else pixels, kind, values, whole, lost)


def amount_of(channels: int) -> str:
    return f"{channels} channel" + ("" if channels == 1 else "s")


def _stored(encoded: Encoded) -> bytes | Path:
    stored = encoded() if callable(encoded) else encoded
    if stored is None:
        raise ValueError("no bytes are stored")
    return stored


def _range(layers: tuple[Image.Image, ...], alpha: Image.Image | None) -> NDArray[np.float64]:
    """The least and the greatest value of each layer, [2, C], where it is not transparent."""
    if alpha is None:
        return np.array([layer.getextrema() for layer in layers], dtype=np.float64).T
    seen = np.asarray(alpha) > 0
    every = (np.asarray(layer)[seen] for layer in layers)
    return np.array([(part.min(), part.max()) if part.size else (0, 0) for part in every], dtype=np.float64).T


def _between(layers: tuple[Image.Image, ...], alpha: Image.Image | None, scale: Scale) -> tuple[Image.Image, ...]:
    """Each layer from black to white, and white where it is transparent. Before they are resized: neither a hot pixel
    nor a colour that is hidden must come out beside it."""
    made = []
    for layer, black, white in zip(layers, *scale[:, : len(layers)].astype(np.float32), strict=True):
        values = np.asarray(layer).clip(black, white)
        if alpha is not None:
            opacity = np.asarray(alpha)
            values = values * opacity + white * (1 - opacity)
        made.append(Image.fromarray(values))
    return tuple(made)


def _fitted(image: Image.Image, size: int | None, fit: str) -> Image.Image:
    """Of side `size`; with `pad` one side is shorter still."""
    if not size or image.size == (size, size):
        return image
    box, to = (0.0, 0.0, float(image.width), float(image.height)), (size, size)
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        longest = max(image.size)
        to = (max(1, round(image.width * size / longest)), max(1, round(image.height * size / longest)))
    # Crop and resize in one: to resize a long, thin image first could take any amount of memory.
    return image.resize(to, Image.Resampling.BILINEAR, box=box)


def _padded(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """In the middle of a black square of this side."""
    height, width, channels = pixels.shape
    square = np.zeros((size, size, channels), dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def why_unreadable(error: Exception) -> str:
    """What an error of `decode` says, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known kind"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    return one_line(error)


def resized(pixels: Tensor, size: int | None) -> Tensor:
    """Square images uint8 [N, C, S, S], contiguous, and where `size` is given of that side in pixels."""
    if size is None or size == pixels.shape[-1]:
        return pixels.contiguous()
    result = torch.empty(len(pixels), pixels.shape[1], size, size, dtype=torch.uint8)
    for part, of in zip(torch.split(result, 1024), torch.split(pixels, 1024), strict=True):
        part.copy_(resize(of, [size, size], antialias=True))
    return result
