"""TIFF of what Pillow does not read, or not all bits of: several bands, more than 8 bits of a colour, signed numbers,
inverted greys. Pillow finds the tags, and its libtiff unpacks what is compressed.

Tags and what they mean: TIFF 6.0 (Adobe, 1992) and Adobe's TIFF Technical Note 3 (the predictor of fractions).
"""

import io
import math
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from bench.data.limits import MOST_CHANNELS, check_size

BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
UNSIGNED, SIGNED, FRACTIONS = 1, 2, 3
TYPES = {UNSIGNED: "u", SIGNED: "i", FRACTIONS: "f", 4: "u"}
"""What the samples are; 4 is said not to be known."""
UNCOMPRESSED = 1
PACKINGS = {
    **{UNCOMPRESSED: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"},
    **{34925: "LZMA", 50000: "Zstandard"},
}
DIFFERENCES, FRACTIONS_DIFFERENCES = 2, 3
"""Predictors."""


class Tiff(NamedTuple):
    """What the tags of a first page say."""

    width: int
    height: int
    samples: int
    """Values of a pixel, alpha among them."""
    type: np.dtype[Any]
    alpha: bool
    """Whether the last sample says how opaque a pixel is."""
    multiplied: bool
    """Whether the others are multiplied by it already."""
    inverted: bool
    """Whether 0 is white."""
    orientation: int
    packing: int
    predictor: int
    planar: bool
    """Whether each band is stored by itself."""
    tiled: bool
    """Whether blocks at the edge are as large as all others."""
    block: tuple[int, int]
    """Height and width of a strip or tile, px."""
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    """Where each block lies in the file, bytes."""


def tags_of(file: BinaryIO) -> Tiff | None:
    """None where Pillow is right. Raises ValueError, or what Pillow does on damaged tags."""
    beginning = file.read(8)
    order = beginning[:2]
    if beginning[2:4] in (b"+\0", b"\0+"):  # with offsets of 64 bits, which Pillow knows by the low byte first alone
        beginning = b"II+\0" + beginning[4:] + file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(beginning, order)
    file.seek(tags.next)
    tags.load(file)

    def numbers(tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        found = tags.get(tag, default)
        return tuple(int(value) for value in (found if isinstance(found, tuple) else (found,)))

    def number(tag: int, default: int) -> int:
        return (numbers(tag) or (default,))[0]

    samples, photometric, packing = number(277, 1), number(262, BLACK_IS_ZERO), number(259, UNCOMPRESSED)
    depths, kinds, extra = set(numbers(258, (1,))), set(numbers(339, (UNSIGNED,))), numbers(338)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or len(depths) > 1 or len(kinds) > 1:
        return None
    (bits,), (kind,) = depths, kinds
    colours = 3 if photometric == RGB else 1
    alpha = samples == colours + 1 and extra in ((1,), (2,)) and kind != SIGNED
    if samples == colours + alpha and (kind == UNSIGNED if bits == 8 else bits < 16):
        return None
    if samples == 1 and packing not in PACKINGS:
        return None
    if samples - alpha > MOST_CHANNELS:
        raise ValueError(f"it has {samples - alpha} channels; {MOST_CHANNELS} are the most")
    if kind not in TYPES or bits not in ((16, 32, 64) if kind == FRACTIONS else (8, 16, 32, 64)):
        raise ValueError(f"it has {samples} samples of {bits} bits a pixel; 8, 16, 32 or 64 are right")
    if packing not in PACKINGS or number(266, 1) != 1:
        raise ValueError(f"it is not packed by one of {', '.join(sorted(set(PACKINGS.values())))}")
    width, height, tiled = number(256, 0), number(257, 0), 322 in tags
    block = (number(323, 0), number(322, 0)) if tiled else (min(height, number(278, height)), width)
    if min(width, height, samples, *block) < 1:
        raise ValueError("its size is 0")
    return Tiff(
        width=width,
        height=height,
        samples=samples,
        type=np.dtype(f"{'>' if order == b'MM' else '<'}{TYPES[kind]}{bits // 8}"),
        alpha=alpha,
        multiplied=alpha and extra == (1,),
        inverted=photometric == WHITE_IS_ZERO and kind == UNSIGNED,
        orientation=number(274, 1),
        packing=packing,
        predictor=number(317, 1) if packing != UNCOMPRESSED else 1,
        planar=number(284, 1) == 2 and samples > 1,
        tiled=tiled,
        block=block,
        offsets=numbers(324 if tiled else 273),
        lengths=numbers(325 if tiled else 279),
    )


def samples_of(file: BinaryIO, tiff: Tiff) -> NDArray[Any]:
    """[H, W, samples], not multiplied by alpha, and 0 black. Raises ValueError, or what Pillow does where a packed
    block is damaged."""
    check_size(tiff.width, tiff.height, tiff.samples)
    rows, columns = tiff.block
    planes, each = (tiff.samples, 1) if tiff.planar else (1, tiff.samples)
    check_size(rows, columns, each)
    down, across = math.ceil(tiff.height / rows), math.ceil(tiff.width / columns)
    end = file.seek(0, io.SEEK_END)
    if not planes * down * across == len(tiff.offsets) == len(tiff.lengths):
        raise ValueError("its blocks are not as many as its size needs")
    if any(offset + length > end for offset, length in zip(tiff.offsets, tiff.lengths, strict=True)):
        raise ValueError("it ends too early")
    whole = np.zeros((planes, tiff.height, tiff.width, each), tiff.type.newbyteorder("="))
    for number, (offset, length) in enumerate(zip(tiff.offsets, tiff.lengths, strict=True)):
        if not length:
            continue  # nothing is stored where all is 0
        plane, place = divmod(number, down * across)
        top, left = place // across * rows, place % across * columns
        high = rows if tiff.tiled else min(rows, tiff.height - top)
        file.seek(offset)
        block = _block(file.read(length), tiff, (high, columns, each))
        part = whole[plane, top : top + high, left : left + columns]
        part[...] = block[: part.shape[0], : part.shape[1]]
    array: NDArray[Any] = whole[..., 0].transpose(1, 2, 0) if tiff.planar else whole[0]
    last = tiff.samples - tiff.alpha
    if tiff.inverted:
        array[..., :last] = np.iinfo(array.dtype).max - array[..., :last]
    return array


def _block(stored: bytes, tiff: Tiff, shape: tuple[int, int, int]) -> NDArray[Any]:
    """[rows, columns, samples] of a strip or tile."""
    rows, columns, each = shape
    size = tiff.type.itemsize
    content = stored if tiff.packing == UNCOMPRESSED else _unpacked(stored, tiff.packing, columns * each * size, rows)
    if len(content) < rows * columns * each * size:
        raise ValueError("it ends too early")
    content = content[: rows * columns * each * size]
    if tiff.predictor == FRACTIONS_DIFFERENCES:
        steps = np.frombuffer(content, np.uint8).reshape(rows, columns * size, each)
        levels = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, size, columns * each)
        return np.ascontiguousarray(levels.transpose(0, 2, 1)).view(f">f{size}").reshape(shape)
    if tiff.predictor == DIFFERENCES:
        whole = np.dtype(f"u{size}")
        differences = np.frombuffer(content, whole.newbyteorder(tiff.type.byteorder)).reshape(shape)
        return np.cumsum(differences, axis=1, dtype=whole).view(tiff.type.newbyteorder("="))
    return np.frombuffer(content, tiff.type).reshape(shape)


def _unpacked(stored: bytes, packing: int, width: int, height: int) -> bytes:
    """`height` rows of `width` bytes and no more, whatever is stored: libtiff reads them as a grey picture."""
    tags = [(256, width), (257, height), (258, 8), (259, packing), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(stored)))
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    gap = bytes(len(stored) % 2)
    made = b"II*\0" + struct.pack("<I", 8 + len(stored + gap)) + stored + gap
    with Image.open(io.BytesIO(made + struct.pack("<H", len(tags)) + listed + bytes(4)), formats=("TIFF",)) as image:
        return image.tobytes()
