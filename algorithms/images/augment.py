"""Random views of a batch of images, made where the images are, with torchvision's operations and laws.

Every view of every image gets its own random crop, flip, turn, colour jitter (in its own random order), grayscale,
blur and solarization. `draw` chooses all of that; `render` makes the views that it describes and is deterministic.

All views are made by one program of static shapes without host synchronisation, so that it compiles to one graph and
can be captured in a CUDA graph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from algorithms.images.colour import coloured, normalise
from algorithms.images.geometry import posed, resampled
from algorithms.images.statistics import Normaliser
from algorithms.images.view import Choice, View, draw, draw_pose


def unaugmented(packed: Tensor, normaliser: Normaliser, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images uint8 [B, H, C, W] (`store.pack`), only normalised: [B, C, H, W]."""
    images = packed.to(torch.float32).mul_(1 / 255)
    return normalise([plane[:, None] for plane in images.unbind(2)], normaliser, dtype)[0]


def augment(
    packed: Tensor,
    views: Sequence[View],
    normaliser: Normaliser,
    *,
    shared_flip: bool = False,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Random views of images uint8 [B, H, C, W] (`store.pack`).

    Returns one tensor [B, C, size, size] for each of `views`, normalised, channels-last. `shared_flip` flips
    all views of an image or none, and turns them alike, with the first view's probabilities (AMDIM). Randomness comes
    from the device's default generator.
    """
    batch, side = packed.shape[:2]
    pose = draw_pose(views[:1], batch, packed.device) if shared_flip else None
    made: dict[int, Tensor] = {}
    for kind in dict.fromkeys((view.size, view.translate > 0) for view in views):  # one pass for views of one size
        places = [place for place, view in enumerate(views) if (view.size, view.translate > 0) == kind]
        choice = draw([views[place] for place in places], batch, side, packed.device, pose)
        size, translate = kind
        made.update(zip(places, render(packed, choice, size, normaliser, translate, dtype), strict=True))
    return [made[place] for place in range(len(views))]


def recoloured(images: Tensor, view: View, normaliser: Normaliser) -> Tensor:
    """Normalised images [N, C, h, h], such as patches of a view, each flipped and coloured by itself as `view` says.
    Raises ValueError for a view that crops or shifts."""
    if view.scale or view.translate:
        raise ValueError("recoloured images stay whole; the view's scale must be None and its translate 0")
    choice = draw([view], len(images), images.shape[-1], images.device)
    of_channels = zip(images.unbind(1), normaliser.mean, normaliser.std, strict=True)
    planes = [(plane * std).add_(mean) for plane, mean, std in of_channels]
    planes = posed(planes, choice.pose)
    return normalise([plane[:, None] for plane in coloured(planes, choice)], normaliser, images.dtype)[0]


def render(
    packed: Tensor,
    choice: Choice,
    size: int,
    normaliser: Normaliser,
    translate: bool = False,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """The views that `choice` describes, as `augment` returns them, of images uint8 [B, H, C, W]."""
    planes = coloured(resampled(packed, choice, size, translate), choice)
    return normalise([plane.view(len(packed), -1, size, size) for plane in planes], normaliser, dtype)
