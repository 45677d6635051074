"""Images that are NumPy arrays: `.npy`."""

import math
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.limits import MOST_CHANNELS, check_size

BEGINNING = b"\x93NUMPY"


class Header(NamedTuple):
    shape: tuple[int, ...]
    type: np.dtype[Any]
    by_columns: bool
    """Whether it is stored in Fortran's order."""
    axis: int | None
    """That of the channels; None of an image [H, W]."""

    @property
    def channels(self) -> int:
        return 1 if self.axis is None else self.shape[self.axis]


def header_of(file: BinaryIO) -> Header:
    """Of the array that begins here. Raises ValueError for what is no image."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, kind = read(file)
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise ValueError(f"it is an array of {kind}; whole numbers, fractions or bool are right")
    axis = None if len(shape) != 3 else 0 if shape[0] < shape[2] else 2
    told = axis is None or (shape[0] != shape[2] and shape[axis] <= min(shape[1], MOST_CHANNELS))
    if len(shape) not in (2, 3) or 0 in shape or not told:
        raise ValueError(
            f"it is an array {list(shape)}; [H, W], [H, W, C] or [C, H, W] is right, with up to {MOST_CHANNELS} "
            "channels C, fewer than H and W"
        )
    header = Header(shape, kind, by_columns, axis)
    height, width = (size for place, size in enumerate(shape) if place != axis)
    check_size(width, height, header.channels)
    return header


def array_of(file: BinaryIO) -> NDArray[Any]:
    """[H, W, C]. Raises ValueError."""
    header = header_of(file)
    start = file.tell()
    size = math.prod(header.shape) * header.type.itemsize
    if file.seek(0, 2) - start < size:  # asked before memory is taken for what it claims to be
        raise ValueError("it ends too early")
    file.seek(start)
    array = np.frombuffer(file.read(size), header.type)
    array = array.reshape(header.shape, order="F" if header.by_columns else "C")
    return array[..., None] if header.axis is None else np.moveaxis(array, header.axis, 2)
