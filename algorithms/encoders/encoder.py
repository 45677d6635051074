"""What an encoder is, and how any network is made one."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from algorithms.encoders.pooling import pooling


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
    """The same network with an encoder's attributes. A pass of two images, in eval mode, tells its width, and whether
    it gives maps or tokens: these are pooled from then on (`algorithms.encoders.pooling`) by a hook, so that the
    network's own class and the names of its weights stay as they are.

    Raises ValueError where it does not take images of so many channels and this size, where it gives anything but rows,
    maps or tokens, and where it has a `width` that is another.
    """
    found = _pass(network, name, image_size, channels)
    pool = pooling(network, found) if isinstance(found, Tensor) and len(found) == 2 else None
    if pool is None:
        kind = f"[{', '.join(map(str, found.shape))}]" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(
            f"The encoder '{name}' gives {kind} for two images; it must give a row of features an image, [2, width], a "
            "map [2, width, h, w], or tokens [2, tokens, width]."
        )
    if found.ndim > 2:
        network.register_forward_hook(partial(_pooled, pool=pool))
    width = pool(found).shape[1]
    declared = getattr(network, "width", width)
    if declared != width:
        raise ValueError(
            f"The encoder '{name}' gives {width} features an image, but its attribute width is {declared}."
        )
    encoder = cast(Encoder, network)
    encoder.width, encoder.name, encoder.patch = (
        width,
        name,
        getattr(network, "patch", None) or patch_side(network) or 1,
    )
    return encoder


def _pooled(network: nn.Module, images: tuple[Any, ...], found: Tensor, pool: Any) -> Tensor:
    made: Tensor = pool(found)
    return made


@torch.no_grad()
def _pass(network: nn.Module, name: str, image_size: int, channels: int) -> Any:
    """What the network gives for two images, in eval mode. Raises ValueError."""
    parameter = next(network.parameters(), None)
    device = None if parameter is None else parameter.device
    images = torch.zeros(2, channels, image_size, image_size, device=device)
    with evaluating(network):
        try:
            return network(images)
        except Exception as error:  # whatever a user's network raises at images that it does not take
            why = next(iter(f"{type(error).__name__}: {error}".splitlines()))
            raise ValueError(
                f"The encoder '{name}' does not take images of {channels} channels and {image_size} px ({why}); a "
                "function that makes it is told both where it has parameters 'channels' and 'image_size'."
            ) from error


def takes(encoder: Encoder, image_size: int, channels: int) -> bool:
    """Whether the encoder takes images of this size."""
    try:
        _pass(encoder, encoder.name, image_size, channels)
    except ValueError:
        return False
    return True


def patch_side(network: nn.Module) -> int | None:
    """The side of a network's patches, px, as it says it, or as timm's and torchvision's transformers do; None of
    others."""
    embedding = getattr(getattr(network, "patch_embed", network), "patch_size", None)
    side = getattr(network, "patch", embedding[0] if isinstance(embedding, tuple) else embedding)
    return side if isinstance(side, int) else None


@torch.no_grad()
def smallest_side(encoder: Encoder, image_size: int, channels: int) -> int | None:
    """The side, in places, of the smallest map that a convolution or a pooling with a stride makes of such images; None
    where the encoder has none with a stride."""
    sides: list[int] = []

    def note(module: nn.Module, images: tuple[Any, ...], made: Tensor) -> None:
        sides.append(made.shape[-1])

    strided = (
        module
        for module in encoder.modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride not in (1, (1, 1))
    )
    handles = [module.register_forward_hook(note) for module in strided]
    try:
        _pass(encoder, encoder.name, image_size, channels)
    finally:
        for handle in handles:
            handle.remove()
    return min(sides, default=None)


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
