"""Images that a user's own function gives, behind a door (`bench.doors`)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import doors
from bench.data.dataset import SMALLEST, Split
from bench.data.source import PixelSource
from bench.data.wording import valid
from bench.errors import UserError, one_line

KIND = "data set"
RETURNS = "returns (training images, training labels, test images, test labels, class names)"
MOST_CHANNELS = 16
RIGHT = f"it should be a function without arguments that {RETURNS}"


def name_of(name: str) -> str:
    """What a data set behind the door `name` is called."""
    return valid(doors.short(name))


def open(name: str) -> PixelSource:
    """The images that the function behind the door `name` returns, copied.

    Images are uint8 [N, C, S, S] of 1 to 16 channels, arrays or tensors (three channels are red, green and blue);
    labels are integers [N], places in the class names, -1 for images without a label, or None where none has one. Class
    names may be None then. Raises UserError where there is no such function, where it fails or returns something else.
    """
    otherwise = f"give a path, or package.module:function or file.py:function of one without arguments that {RETURNS}"
    function = doors.load(KIND, name, otherwise)
    if not callable(function):
        raise UserError(f"the {KIND} {name!r} is of type {type(function).__name__}; {RIGHT}")
    try:
        returned = function()
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise doors.refused(KIND, name, "be made", error, RIGHT) from None
    if not isinstance(returned, tuple | list) or len(returned) != 5:
        many = f", {len(returned)} of them" if isinstance(returned, tuple | list) else ""
        raise UserError(f"the {KIND} {name!r} returns a {type(returned).__name__}{many}; {RIGHT}")
    images, labels, test_images, test_labels, names = returned
    classes = _classes(name, names)
    train = _split(name, "training", images, labels, len(classes))
    test = _split(name, "test", test_images, test_labels, len(classes))
    if train.size != test.size:
        sides = " and ".join(f"{split.size} px" for split in (train, test))
        raise UserError(f"the training and test images of {name!r} are of {sides}; they must be of one size")
    if train.channels != test.channels:
        counts = " and ".join(str(split.channels) for split in (train, test))
        raise UserError(f"the training and test images of {name!r} have {counts} channels; they must have the same")
    if not (train.labels >= 0).any():
        classes = ()
        test = Split(test.packed, test.rows, torch.full_like(test.labels, -1))
    return PixelSource(name_of(name), train, test, classes)


def _classes(name: str, names: Iterable[object] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise UserError(f"the class names of {name!r} are of type {type(names).__name__}; a list of strings is right")
    return tuple(valid(str(each)) for each in names)


def _split(name: str, what: str, images: Any, labels: Any, classes: int) -> Split:
    pixels = _array(name, f"{what} images", images)
    if pixels.dtype != np.uint8:
        raise UserError(f"the {what} images of {name!r} are {pixels.dtype}; uint8 from 0 to 255 is right")
    square = pixels.ndim == 4 and pixels.shape[2] == pixels.shape[3] and 0 not in pixels.shape
    if not square or pixels.shape[1] > MOST_CHANNELS:
        raise UserError(
            f"the {what} images of {name!r} are {list(pixels.shape)}; [N, C, S, S] is right: 1 to {MOST_CHANNELS} "
            "channels of square images"
        )
    if pixels.shape[-1] < SMALLEST:
        raise UserError(f"the {what} images of {name!r} are of {pixels.shape[-1]} px; {SMALLEST} px is the least")
    if labels is None:
        return Split.of(torch.from_numpy(pixels), torch.full((len(pixels),), -1))
    places = _array(name, f"{what} labels", labels)
    if places.dtype.kind not in "iu":
        raise UserError(f"the {what} labels of {name!r} are {places.dtype}; integers are right")
    if places.shape != pixels.shape[:1]:
        raise UserError(
            f"the {what} labels of {name!r} are {list(places.shape)}; one for each of {len(pixels):,} images is right"
        )
    if int(places.min()) < -1 or int(places.max()) >= classes:
        raise UserError(
            f"the {what} labels of {name!r} are from {places.min()} to {places.max()}; -1 to {classes - 1} is "
            f"right, places in the {classes} class names and -1 for none"
        )
    return Split.of(torch.from_numpy(pixels), torch.from_numpy(places.astype(np.int64)))


def _array(name: str, what: str, value: object) -> NDArray[Any]:
    """A copy of `value`: what the user's code does with its own afterwards changes nothing."""
    try:
        return np.array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
    except Exception as error:  # such as of lists of different lengths, or a type that NumPy does not know
        raise UserError(f"the {what} of {name!r} are no array ({one_line(error)})") from None
