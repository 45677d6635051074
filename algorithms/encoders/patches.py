"""What AMDIM's and CPC's encoders are made of: networks that see patches of an image, each as if it were alone."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """A convolution without padding, ReLU, and a 1x1 convolution that starts at zero, added to the mean of the input
    under the kernel, whose missing channels are zero (AMDIM, arXiv 1906.00910, appendix A; no batch norm)."""

    def __init__(self, narrow: int, wide: int, kernel: int, stride: int = 1):
        super().__init__()
        self.first = nn.Conv2d(narrow, wide, kernel, stride, bias=False)
        self.second = nn.Conv2d(wide, wide, 1, bias=False)
        nn.init.zeros_(self.second.weight)
        self.pool = nn.AvgPool2d(kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x)))
        return out + F.pad(self.pool(x), (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))


def patch_block(narrow: int, wide: int, kernel: int, stride: int, depth: int) -> list[nn.Module]:
    """One convolution that looks at its neighbours, and depth - 1 that do not."""
    return [Residual(narrow, wide, kernel, stride), *(Residual(wide, wide, 1) for _ in range(depth - 1))]


def trunk_side(image_size: int) -> int:
    """The side of the images that a `PatchTrunk` encodes: of 16, 32, 64 and 128 px the one nearest to `image_size`, as
    AMDIM's authors shrink ImageNet to 128 px."""
    return 1 << min(max(round(math.log2(image_size)), 4), 7)


class PatchTrunk(nn.Sequential):
    """A 7x7 map whose every position has seen one of 7x7 patches, each a quarter of the image's side and half
    overlapping the next (8x8 px, stride 4, in a 32 px image; AMDIM's encoder up to its local features). Nothing
    is padded and no norm mixes positions, so that a patch is encoded as if it were alone. The map has `width` channels
    whatever the image.

    Images of another side than `trunk_side` are resized to it."""

    def __init__(self, image_size: int, channels: int, width: int, depth: int):
        image_side = side = trunk_side(image_size)
        width = width * 8 // side  # doubled each time that the map is halved
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3), nn.ReLU(inplace=True), Residual(width, width, 1)]
        side -= 2
        while side > 7:
            kernel = 2 if side == 14 else 4
            layers += patch_block(width, 2 * width, kernel, 2, depth)
            width, side = 2 * width, (side - kernel) // 2 + 1
        super().__init__(*layers)
        self.image_side = image_side

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, S, S] -> [B, width, 7, 7]."""
        if images.shape[-1] != self.image_side:
            images = F.interpolate(images, size=self.image_side, mode="bilinear", antialias=True)
        for layer in self:
            images = layer(images)
        return images
