"""One image becomes pixels of the size that is wanted: formats, orientation, modes, depth, what is transparent."""

import functools
import io
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from bench.data.source import Encoded
from bench.errors import one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow would run Ghostscript for some others
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits of a grey pixel that cameras and scanners have."""


class Picture(NamedTuple):
    pixels: NDArray[np.uint8]
    """[H, W, 3], red, green, blue."""
    kind: str
    """The format in which it was stored, such as JPEG-75."""
    brightest: int
    """The largest value of a grey image of more than 8 bits, else 0."""


def decode(encoded: Encoded, size: int | None, depth: int = max(DEPTHS)) -> Picture:
    """The picture that is stored, and where `size` is given its central square, resized to that side in pixels.

    Grey values of more than 8 bits, from 0 to 2^`depth` - 1, become those from 0 to 255. What is transparent shows
    white behind it. Raises whatever Pillow raises on a damaged or huge image.
    """
    if encoded is None:
        raise ValueError("no bytes are stored")
    if callable(encoded):
        encoded = encoded()
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as file:
        kind = _kind(file)
        file.load()
        image: Image.Image = file
        if (turn := _turn(image)) is not None:
            image = image.transpose(turn)
        brightest = 0
        if image.mode.startswith("I"):  # more than 8 bits, which Pillow's conversion would clip
            values = np.asarray(image, dtype=np.int32).clip(0)
            brightest = int(values.max())
            image = Image.fromarray((values.clip(None, 2**depth - 1) // 2 ** (depth - 8)).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("pixels are floating-point numbers")
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        if size:
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            # Crop and resize in one: to resize a long, thin image first could take any amount of memory.
            image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        return Picture(np.asarray(image), kind, brightest)


def _kind(file: ImageFile) -> str:
    if not isinstance(file, JpegImageFile):
        return str(file.format)
    quality = _qualities().get(tuple(file.quantization.get(0, ())))
    return f"JPEG-{quality}" if quality else "JPEG"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a photograph the way its camera was held. Of EXIF only this is read: its other tags may be broken."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1)) if "exif" in image.info else None
    except Exception:  # a reader may raise anything on damaged tags
        return None


@functools.cache
def _qualities() -> dict[tuple[int, ...], int]:
    """The quality in libjpeg's terms by the luminance quantization table."""
    tables = {}
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        file.seek(0)
        tables[tuple(JpegImageFile(file).quantization[0])] = quality
    return tables


def why_unreadable(error: Exception) -> str:
    """What an error of `decode` says, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known kind"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    return one_line(error)


def resized(pixels: Tensor, size: int | None) -> Tensor:
    """Square images uint8 [N, 3, S, S], contiguous, and where `size` is given of that side in pixels."""
    if size is None or size == pixels.shape[-1]:
        return pixels.contiguous()
    result = torch.empty(len(pixels), 3, size, size, dtype=torch.uint8)
    for part, of in zip(torch.split(result, 1024), torch.split(pixels, 1024), strict=True):
        part.copy_(resize(of, [size, size], antialias=True))
    return result
