"""What a job of a run is trained with, where its users bring something (`bench.doors`): methods, each with its search
space beside it, networks, and pretrained weights (`bench.execution.networks`)."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from algorithms import BASELINES, METHODS, WITH_TEACHER, method_class
from algorithms.encoders import ENCODERS, EncoderFactory
from algorithms.encoders.encoder import Encoder as Network
from algorithms.images.statistics import Statistics
from algorithms.method import Method
from bench import doors
from bench.errors import UserError
from bench.execution import networks
from bench.execution.pretrained import Pretrained
from bench.execution.settings import TrainingSettings
from bench.search import augmentation, space
from bench.search.methods import FROZEN, WARM, base
from bench.search.space import SearchSpace

Encoder = str | EncoderFactory
"""A name of ours, or what makes a network for images of so many px and channels."""
WARM_RATE = 10
"""Our recipe of a warm start has so small a part of the recipe's learning rate; a search goes as far below that."""
OTHERWISE = "give package.module:Class or file.py:Class"


def method(settings: TrainingSettings, name: str) -> type[Method]:
    """The class of a run's method or baseline. Raises UserError where the user's own cannot be loaded."""
    if name.startswith(FROZEN):
        return method_class("random")  # never trained either
    name = base(name)
    return load_method(settings.methods[name]) if name in settings.methods else method_class(name)


def load_method(door: str) -> type[Method]:
    """The class behind a door. Raises UserError."""
    found = doors.load("method", door, OTHERWISE)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"the method {door!r} is no subclass of algorithms.method.Method; {OTHERWISE}")
    return found


def load_spaces(
    names: Iterable[str], image_size: int, augment: str | None = None, transformer: bool = False
) -> dict[str, SearchSpace]:
    """Method -> search space, in the order of `names`, of which some may be doors: the space of such a method stands
    beside its file, as `mine.yaml` beside `mine.py`, and says what the method is called. With the preset `augment`, its
    settings are searched too; on a vision `transformer` recipes are those for one. Raises UserError."""
    spaces: dict[str, SearchSpace] = {}
    classes: dict[str, type[Method]] = {}
    for asked in dict.fromkeys(names):
        if not doors.is_door(asked):
            spaces[asked] = space.load(asked, image_size, transformer=transformer)
            classes[asked] = method_class(asked)
            continue
        own = load_method(asked)
        path = doors.file(asked).with_suffix(".yaml")
        found = space.read(path, own, image_size, transformer=transformer)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", found.method):
            raise UserError(f"{path}: a method is called by small letters, digits and _, not {found.method!r}")
        if found.method in METHODS | WITH_TEACHER | BASELINES or found.method in spaces:
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


def warm_spaces(
    spaces: Mapping[str, SearchSpace], methods: Mapping[str, type[Method]], scratch: bool
) -> dict[str, SearchSpace]:
    """The search spaces where encoders begin with pretrained weights: those of the methods that have the run's encoder
    under other names, with our recipe and the range at smaller learning rates; beside them, where `scratch` is asked,
    and for the others as they are."""
    found: dict[str, SearchSpace] = {}
    for name, each in spaces.items():
        own = methods[name].brings_encoder()
        if own or scratch:
            found[name] = each
        if not own:
            rate = each.entries["learning_rate"]
            default = _rounded(rate["default"] / WARM_RATE)
            slower = {
                **rate,
                "default": default,
                "published": rate.get("published", rate["default"]),
                "source": f"{rate['source']}; ours, from pretrained weights: a tenth",
            }
            if "low" in rate:
                slower["low"] = min(rate["low"], _rounded(default / WARM_RATE))
            elif "choices" in rate:
                slower["choices"] = list(dict.fromkeys([default, *rate["choices"]]))
            adapted = "; ".join(filter(None, [each.recipe.get("adapted"), "begins with pretrained weights"]))
            found[name + WARM] = dataclasses.replace(
                each,
                method=name + WARM,
                recipe=each.recipe | {"adapted": adapted},
                entries=each.entries | {"learning_rate": slower},
            )
    return found


def _rounded(number: float) -> float:
    """Without the digits that only dividing brings."""
    return float(f"{number:.6g}")


def starts_warm(settings: TrainingSettings, name: str) -> bool:
    """Whether a method's encoder begins with the run's pretrained weights, or is these alone."""
    return settings.init is not None and (name.endswith(WARM) or name == FROZEN + settings.init.key)


def frozen_baselines(settings: TrainingSettings) -> list[str]:
    """The names of the pretrained networks that are baselines: the weights with which others begin come first."""
    start = [] if settings.init is None else [FROZEN + settings.init.key]
    return list(dict.fromkeys([*start, *settings.frozen]))


def run_encoder(settings: TrainingSettings) -> Encoder:
    """The name of a run's encoder, or what makes the user's own. Raises UserError where that cannot be loaded."""
    return networks.maker(settings.encoder_door or settings.encoder)


def encoder(settings: TrainingSettings, name: str, given: Statistics) -> Encoder:
    """The name of the encoder that a run's method or baseline has, or what makes it, for images normalised by the
    statistics `given`. Raises UserError where the user's own cannot be loaded."""
    own = run_encoder(settings)
    if settings.init is not None and starts_warm(settings, name):
        return networks.warm(settings.init, own, settings.encoder)
    if of := settings.frozen.get(name):

        def make(image_size: int, channels: int = 3) -> nn.Module:
            return networks.frozen(of, given)

        make.__name__ = of.name
        return make
    return own


def statistics(settings: TrainingSettings, name: str, given: Statistics) -> Statistics:
    """By which a method or baseline has the images normalised: a network that goes on has them as it had."""
    if settings.init is not None and starts_warm(settings, name):
        return Statistics(settings.init.mean, settings.init.std)
    return given


def teacher(settings: TrainingSettings, name: str) -> Pretrained | None:
    """The network that a method's student follows; None where it follows none."""
    return settings.teacher if base(name) in WITH_TEACHER else None


def told(settings: TrainingSettings, name: str) -> dict[str, Any]:
    """What goes on record of weights from elsewhere that a method or baseline has to do with."""
    facts: dict[str, Any] = {}
    begins = settings.init if starts_warm(settings, name) else settings.frozen.get(name)
    if begins is not None:
        facts |= {"weights": begins.name, "trained_on": begins.trained_on}
    if name.startswith(FROZEN) and begins is not None:
        facts["image_size"] = begins.image_size
    if (followed := teacher(settings, name)) is not None:
        facts |= {"teacher": followed.name, "teacher_trained_on": followed.trained_on}
    return facts


@functools.lru_cache(maxsize=64)
def looked_at(network: str, image_size: int, channels: int, of: type[Method] = Method) -> Network:
    """The encoder that a run with the name or door `network` has, or a method in its place, to be looked at and never
    trained. Raises UserError or ValueError."""
    with torch.device("meta") if network in ENCODERS else contextlib.nullcontext():  # no more is asked of ours
        return of.build_encoder(networks.maker(network), image_size, channels)


def width(settings: TrainingSettings, name: str, image_size: int) -> int:
    """The features that the encoder of a run's method or baseline has. Raises UserError or ValueError where the user's
    own makes none."""
    if of := settings.frozen.get(name):
        return of.width
    own = method(settings, name)
    shared = own if own.brings_encoder() else Method  # all others have the same network, which is made once
    network = settings.encoder_door or settings.encoder
    return looked_at(network, image_size, settings.channels, shared).width  # type: ignore[arg-type]  # a class can be hashed
