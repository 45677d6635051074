"""A pretrained network as it is: judged, or followed by a student, and never trained here."""

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.images.statistics import Statistics


class Frozen(Encoder):
    """`network` on images that come at any size, normalised by the statistics `given`: it sees them at its own
    `image_size`, enlarged or shrunk by antialiased cubic interpolation, and by its `own` normalisation. Images of one
    channel are shown in each of its channels.

    Raises ValueError where the images have other channels than the network.
    """

    mean: Tensor
    std: Tensor
    own_mean: Tensor
    own_std: Tensor

    def __init__(self, network: Encoder, image_size: int, own: Statistics, given: Statistics) -> None:
        super().__init__()
        if given.channels not in (1, own.channels):
            raise ValueError(
                f"The encoder '{network.name}' takes images of {own.channels} channels; these have {given.channels}."
            )
        self.network, self.image_size = network, image_size
        self.width, self.name = network.width, network.name
        for name, values in (("mean", given.mean), ("std", given.std), ("own_mean", own.mean), ("own_std", own.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.image_size:
            images = F.interpolate(images, size=self.image_size, mode="bicubic", antialias=True)
        features: Tensor = self.network((images * self.std + self.mean - self.own_mean) / self.own_std)
        return features
