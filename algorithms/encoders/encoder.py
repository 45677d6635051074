"""What an encoder is."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A network from images [B, C, S, S] to features [B, width], one row an image.

    The base of our own; any other network is one as well once it has these attributes (`as_encoder`).
    """

    width: int
    name: str
    patch: int = 1
    """Side of its patches, px: what is left at the edge of an image whose side is no multiple of it is not seen."""

    if TYPE_CHECKING:

        def __call__(self, images: Tensor) -> Tensor: ...


def as_encoder(network: nn.Module, name: str, image_size: int, channels: int = 3) -> Encoder:
    """The same network with an encoder's attributes. Its width is found by a pass of two images, in eval mode.

    Raises ValueError where it does not take images of so many channels, where it gives anything but a row of features
    an image, such as a map, and where it has a `width` that is another.
    """
    width = _width(network, name, image_size, channels)
    declared = getattr(network, "width", width)
    if declared != width:
        raise ValueError(
            f"The encoder '{name}' gives {width} features an image, but its attribute width is {declared}."
        )
    encoder = cast(Encoder, network)
    encoder.width, encoder.name, encoder.patch = width, name, getattr(network, "patch", 1)
    return encoder


@torch.no_grad()
def _width(network: nn.Module, name: str, image_size: int, channels: int) -> int:
    parameter = next(network.parameters(), None)
    device = None if parameter is None else parameter.device
    images = torch.zeros(2, channels, image_size, image_size, device=device)
    with evaluating(network):
        try:
            found = network(images)
        except Exception as error:  # whatever a user's network raises at images that it does not take
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(
                f"The encoder '{name}' does not take images of {channels} channels and {image_size} px ({why}); a "
                "function that makes it is told their number where it has a parameter 'channels'."
            ) from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
        kind = f"[{', '.join(map(str, found.shape))}]" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(
            f"The encoder '{name}' gives {kind} for two images; it must give a row of features an image, [2, width]. "
            "After a map belong nn.AdaptiveAvgPool2d(1) and nn.Flatten()."
        )
    return found.shape[1]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network is in eval mode; afterwards each of its modules is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def whole_patches(side: float, encoder: Encoder) -> int:
    """The side of a crop, near to `side` px, that the encoder sees to its edge: at least a patch."""
    return max(round(side / encoder.patch), 1) * encoder.patch
