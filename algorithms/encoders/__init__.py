"""Encoders by name. PyTorch comes with the first that is built."""

import difflib
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names are known without PyTorch
    from torch import nn

    from algorithms.encoders.encoder import Encoder

SMALL_IMAGE = 64
"""Sides up to this many px get the small-image stem. With ImageNet's stem a 32 px image has one value per channel
before it is pooled, and SimCLR stays 8 points below what it can reach. The small stem is dear: an image of 64 px costs
a ResNet-50 10.4 GFLOP with it, more than one of 224 px without (8.2); one of 96 px costs 1.5."""

ENCODERS = {
    "resnet8": "residual",
    "resnet18": "residual",
    "resnet50": "residual",
    "resnext50": "residual",
    "resnext101": "residual",
    "wide_resnet50": "residual",
    "wide_resnet101": "residual",
    "regnet_y_tiny": "residual",
    "regnet_y_400mf": "residual",
    "vit_tiny": "transformer",
    "vit_pico": "transformer",
}
"""Every encoder by the name that the command line gives it, and the file in this folder that makes it, under that name,
for images of `image_size` px."""

LIBRARIES = ("timm", "torchvision")
"""Libraries whose networks are encoders too, as `timm:NAME` (`algorithms.encoders.libraries`)."""

EncoderFactory = Callable[..., "nn.Module"]
"""A user's own encoder: makes the network, randomly initialised from the global generator or not (`made_by`). Or the
network itself, which is trained in place."""


def is_library(encoder: object) -> bool:
    """Whether an encoder's name leads to a network of a library."""
    return isinstance(encoder, str) and encoder.partition(":")[0] in LIBRARIES and ":" in encoder


def check_encoder(encoder: str | EncoderFactory) -> None:
    """Raises ValueError, with the nearest names, if there is no encoder of this name."""
    if is_library(encoder):
        import_module("algorithms.encoders.libraries").check(encoder)
    elif isinstance(encoder, str) and encoder not in ENCODERS:
        near = difflib.get_close_matches(encoder, ENCODERS, n=3) or list(ENCODERS)
        raise ValueError(f"There is no encoder '{encoder}'; did you mean {' or '.join(near)}?")


def encoder_name(encoder: str | EncoderFactory) -> str:
    """What an encoder is called: by its name, or by that of the function that makes it."""
    return encoder if isinstance(encoder, str) else getattr(encoder, "__name__", type(encoder).__name__)


def made_by(factory: EncoderFactory, image_size: int, channels: int) -> "nn.Module":
    """The network that a user's own function makes for images of so many px and channels: it gets `image_size` and
    `channels` where it has parameters of these names, and the size where there is another that must be given."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # such as of a class in C
        return factory(image_size)
    named = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    asked = {name: value for name, value in (("image_size", image_size), ("channels", channels)) if name in named}
    needed = any(
        each.default is each.empty and each.name not in asked
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    )
    return factory(image_size, **asked) if needed and "image_size" not in asked else factory(**asked)


def build_encoder(encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> "Encoder":
    """The encoder for images of `image_size` px and so many channels: the one of this name, randomly initialised from
    the global generator, or the network that a user's own function makes.

    Raises ValueError, with the nearest names, for an unknown one, and for a network that is no encoder (`as_encoder`).
    """
    check_encoder(encoder)
    name = encoder_name(encoder)
    if not isinstance(encoder, str) or is_library(encoder):
        from algorithms.encoders.encoder import as_encoder

        return as_encoder(_network(encoder, image_size, channels), name, image_size, channels)
    make = getattr(import_module(f"algorithms.encoders.{ENCODERS[name]}"), name)
    network: Encoder = make(image_size=image_size, channels=channels)
    network.name, network.patch = name, getattr(network, "patch", 1)
    return network


def _network(encoder: str | EncoderFactory, image_size: int, channels: int) -> "nn.Module":
    """A library's network, a user's, or what a user's function makes."""
    from torch import nn

    if isinstance(encoder, str):
        made: nn.Module = import_module("algorithms.encoders.libraries").make(encoder, image_size, channels)
        return made
    return encoder if isinstance(encoder, nn.Module) else made_by(encoder, image_size, channels)
