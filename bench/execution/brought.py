"""What a run's users bring through doors (`bench.doors`): methods, each with its search space beside it, and an
encoder."""

import contextlib
import re
from collections.abc import Iterable

import torch
from torch import nn

from algorithms import BASELINES, METHODS, method_class
from algorithms.encoders import EncoderFactory, made_by
from algorithms.method import Method
from bench import doors
from bench.errors import UserError
from bench.execution.settings import TrainingSettings
from bench.search import augmentation, space
from bench.search.space import SearchSpace

Encoder = str | EncoderFactory
"""A name of ours, or what makes a network for images of so many px and channels."""
OTHERWISE = "give package.module:Class or file.py:Class"


def method(settings: TrainingSettings, name: str) -> type[Method]:
    """The class of a run's method or baseline. Raises UserError where the user's own cannot be loaded."""
    return load_method(settings.methods[name]) if name in settings.methods else method_class(name)


def load_method(door: str) -> type[Method]:
    """The class behind a door. Raises UserError."""
    found = doors.load("method", door, OTHERWISE)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"the method {door!r} is no subclass of algorithms.method.Method; {OTHERWISE}")
    return found


def load_spaces(names: Iterable[str], image_size: int, augment: str | None = None) -> dict[str, SearchSpace]:
    """Method -> search space, in the order of `names`, of which some may be doors: the space of such a method stands
    beside its file, as `mine.yaml` beside `mine.py`, and says what the method is called. With the preset `augment`, its
    settings are searched too. Raises UserError."""
    spaces: dict[str, SearchSpace] = {}
    classes: dict[str, type[Method]] = {}
    for asked in dict.fromkeys(names):
        if not doors.is_door(asked):
            spaces[asked] = space.load(asked, image_size)
            classes[asked] = method_class(asked)
            continue
        own = load_method(asked)
        path = doors.file(asked).with_suffix(".yaml")
        found = space.read(path, own, image_size)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", found.method):
            raise UserError(f"{path}: a method is called by small letters, digits and _, not {found.method!r}")
        if found.method in METHODS or found.method in BASELINES or found.method in spaces:
            raise UserError(f"{path}: there is a method {found.method!r} already; give yours another name")
        spaces[found.method], classes[found.method] = found, own
    if augment is None:
        return spaces
    return {name: augmentation.with_preset(each, augment, classes[name], image_size) for name, each in spaces.items()}


def doors_of(spaces: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """The doors among the `names` that were asked for, by what their methods are called in the `spaces` of
    `load_spaces`."""
    pairs = zip(spaces, dict.fromkeys(names), strict=True)
    return {name: doors.absolute(asked) for name, asked in pairs if doors.is_door(asked)}


def encoder(settings: TrainingSettings) -> Encoder:
    """The name of a run's encoder, or what makes the user's own. Raises UserError where that cannot be loaded."""
    return settings.encoder if settings.encoder_door is None else load_encoder(settings.encoder_door)


def width(settings: TrainingSettings, of: type[Method], image_size: int) -> int:
    """The features that a run's encoder has in this method. Raises UserError or ValueError where the user's own makes
    none."""
    ours = settings.encoder_door is None
    with torch.device("meta") if ours else contextlib.nullcontext():  # no more is asked for
        return int(of.build_encoder(encoder(settings), image_size, settings.channels).width)


def load_encoder(door: str) -> EncoderFactory:
    """What makes the network behind a door, under the name that tables have for it. Raises UserError, as does what it
    gives where the user's own code fails."""
    otherwise = "give package.module:function or file.py:function, called as function(image_size)"
    found = doors.load("encoder", door, otherwise)
    if not callable(found):
        raise UserError(f"the encoder {door!r} is no function; {otherwise}")

    def make(image_size: int, channels: int = 3) -> nn.Module:
        try:
            network = made_by(found, image_size, channels)
        except Exception as error:
            raise doors.refused("encoder", door, "be made", error, otherwise) from error
        if not isinstance(network, nn.Module):
            raise UserError(f"the encoder {door!r} gives {type(network).__name__}, not a torch.nn.Module; {otherwise}")
        return network

    make.__name__ = doors.short(door)
    return make
