"""What an evaluation sees of images: an encoder's features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder, evaluating
from algorithms.images.augment import unaugmented
from algorithms.images.store import ImageStore
from algorithms.parts import precision

BATCH = 1024
"""Images that are encoded at a time, at most."""
PIXELS = BATCH * 64**2
"""Places of images that are encoded at a time: beyond 64 px there are fewer images, as their maps take more memory."""


def evenly(count: int, most: int, device: torch.device) -> Tensor:
    """At most so many of `count` places, at even distances, int64."""
    return torch.arange(min(count, most), device=device) * count // max(1, min(count, most))


def at_a_time(encoder: nn.Module, image_size: int) -> int:
    """Images of this size, px, that are encoded at a time; a frozen network may see them at another."""
    side = int(getattr(encoder, "image_size", image_size))
    return max(1, min(BATCH, PIXELS // side**2))


def encode(encoder: nn.Module, images: ImageStore, index: Tensor | None = None) -> Tensor:
    """`raw_features`, rows of length 1."""
    return F.normalize(raw_features(encoder, images, index), dim=1)


def known_features(network: Encoder, images: ImageStore) -> Tensor:
    """What a frozen network says of all images: its features, rows of length 1, float16 [N, D] (2.6 GB for a million
    images and 1,280 features). Raises ValueError where they are not finite."""
    places = torch.arange(len(images), device=images.device)
    parts = []
    for part in places.split(BATCH):
        features = encode(network, images, part)
        if not torch.isfinite(features).all():
            raise ValueError(f"The network '{network.name}' gives features that are not finite; take another one.")
        parts.append(features.half())
    return torch.cat(parts)


@torch.no_grad()
def raw_features(encoder: nn.Module, images: ImageStore, index: Tensor | None = None) -> Tensor:
    """The encoder's features of all `images`, or of those at `index` [N], in eval mode, un-augmented: float32 [N, D].

    The encoder is put where the images are, its weights channels-last, as trainings have them.
    """
    device = images.device
    encoder.to(device=device)
    encoder.to(memory_format=torch.channels_last)
    bfloat16, normaliser = precision.computes_bfloat16(device), images.statistics.on(device)
    places, rows = torch.arange(len(images), device=device) if index is None else index, []
    with evaluating(encoder):
        for part in places.split(at_a_time(encoder, images.image_size)):
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                found = encoder(unaugmented(images.gather(part), normaliser))
            rows.append(found.float().flatten(1))
    return torch.cat(rows)
