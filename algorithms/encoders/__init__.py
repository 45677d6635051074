"""Encoders by name: networks from images [B, 3, S, S] to pooled features [B, width]."""

import math
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import BasicBlock

from algorithms import check_encoder

SMALL_IMAGE = 64
"""Sides up to this many px get the small-image stem. With ImageNet's stem a 32 px image has one value per channel
before it is pooled, and SimCLR stays 8 points below what it can reach. The small stem is dear: an image of 64 px costs
a ResNet-50 10.4 GFLOP with it, more than one of 224 px without (8.2); one of 96 px costs 1.5."""


def small_stem(width: int) -> nn.Sequential:
    """The stem for small images: a 3x3 convolution of stride 1 and no max-pool."""
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class GlobalAveragePool(nn.Module):
    """The mean over all places of a map: [B, C, h, w] -> [B, C].

    PyTorch's own hands back gradients in another memory layout than the map's, and the layers before it then take
    several times as long on a CPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        places = maps.permute(0, 2, 3, 1).flatten(1, 2)
        return places.sum(1) / places.shape[1]


def torchvision_resnet(constructor: str, image_size: int) -> nn.Module:
    """torchvision's ResNet without its classifier, with the small-image stem where the images are small."""
    network = getattr(torchvision.models, constructor)(weights=None)
    if image_size <= SMALL_IMAGE:
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    network.width = network.fc.in_features
    network.avgpool, network.fc = GlobalAveragePool(), nn.Identity()
    return network


class ResNet8(nn.Sequential):
    """He 2015 (arXiv 1512.03385, section 4.2), 6n + 2 layers with n = 1: widths 16, 32, 64; 77,000 parameters. The
    small encoder for CPUs."""

    def __init__(self, image_size: int):
        def block(narrow: int, wide: int, stride: int) -> BasicBlock:
            shortcut = None
            if stride != 1 or narrow != wide:
                shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
            return BasicBlock(narrow, wide, stride, shortcut)

        super().__init__(
            small_stem(16),
            block(16, 16, 1),
            block(16, 32, 2),
            block(32, 64, 2),
            GlobalAveragePool(),
        )
        self.width = 64
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def regnet(image_size: int, *, depths: list[int], widths: list[int], group_width: int) -> nn.Module:
    """A RegNetY (Radosavovic 2020, arXiv 2003.13678) of the given stages, with torchvision's blocks; every stage
    halves the side, the stem does so only where images are large."""
    stages = len(depths)
    parameters = BlockParams(depths, widths, [group_width] * stages, [1.0] * stages, [2] * stages, se_ratio=0.25)
    network = RegNet(parameters, stem_width=min(32, widths[0]))
    if image_size <= SMALL_IMAGE:
        network.stem[0].stride = (1, 1)
    network.width = network.fc.in_features
    network.avgpool, network.fc = GlobalAveragePool(), nn.Identity()
    return network


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy 2020, arXiv 2010.11929), pre-norm, class token as feature; positions are interpolated for
    crops of another size (DINO). Patches are 4 px for small images, else 16 px."""

    def __init__(self, image_size: int, *, width: int, depth: int, heads: int):
        super().__init__()
        self.width = width
        self.patch = patch = 4 if image_size <= SMALL_IMAGE else 16
        self.side = image_size // patch
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        for parameter in (self.token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)
        # Each block for itself: nn.TransformerEncoder copies one.
        for module in self.blocks.modules():
            if isinstance(module, nn.MultiheadAttention):
                nn.init.trunc_normal_(module.in_proj_weight, std=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images)
        positions = self.positions
        if tokens.shape[2] != self.side or tokens.shape[3] != self.side:
            # By a matrix, since PyTorch's own gradient of this is not deterministic on CUDA.
            each = torch.eye(self.side**2, device=tokens.device).view(-1, 1, self.side, self.side)
            weight = F.interpolate(each, size=tokens.shape[2:], mode="bicubic", align_corners=False).flatten(1)
            positions = torch.cat([positions[:, :1], weight.T @ positions[:, 1:]], 1)
        tokens = tokens.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + positions
        return self.blocks(tokens)[:, 0]


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
        out = self.second(F.relu(self.first(x)))
        return out + F.pad(self.pool(x), (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))


def patch_block(narrow: int, wide: int, kernel: int, stride: int, depth: int) -> list[nn.Module]:
    """One convolution that looks at its neighbours, and depth - 1 that do not."""
    return [Residual(narrow, wide, kernel, stride), *(Residual(wide, wide, 1) for _ in range(depth - 1))]


def trunk_side(image_size: int) -> int:
    """The side of the images that a `PatchTrunk` encodes: of 16, 32, 64 and 128 px the one nearest to `image_size`, as
    AMDIM's authors shrink ImageNet to 128 px."""
    return 2 ** min(max(round(math.log2(image_size)), 4), 7)


class PatchTrunk(nn.Sequential):
    """A 7x7 map whose every position has seen one of 7x7 patches, each a quarter of the image's side and half
    overlapping the next (8x8 px, stride 4, in a 32 px image; AMDIM's encoder up to its local features). Nothing
    is padded and no norm mixes positions, so that a patch is encoded as if it were alone. The map has `width` channels
    whatever the image.

    Images of another side than `trunk_side` are resized to it."""

    def __init__(self, image_size: int, width: int, depth: int):
        image_side = side = trunk_side(image_size)
        width = width * 8 // side  # doubled each time that the map is halved
        layers = [nn.Conv2d(3, width, 3), nn.ReLU(inplace=True), Residual(width, width, 1)]
        side -= 2
        while side > 7:
            kernel = 2 if side == 14 else 4
            layers += patch_block(width, 2 * width, kernel, 2, depth)
            width, side = 2 * width, (side - kernel) // 2 + 1
        super().__init__(*layers)
        self.image_side = image_side

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, width, 7, 7]."""
        if images.shape[-1] != self.image_side:
            images = F.interpolate(images, size=self.image_side, mode="bilinear", antialias=True)
        return super().forward(images)


ENCODERS = {
    "resnet8": ResNet8,
    "resnet18": partial(torchvision_resnet, "resnet18"),
    "resnet50": partial(torchvision_resnet, "resnet50"),
    "resnext50": partial(torchvision_resnet, "resnext50_32x4d"),
    "resnext101": partial(torchvision_resnet, "resnext101_32x8d"),
    "wide_resnet50": partial(torchvision_resnet, "wide_resnet50_2"),
    "wide_resnet101": partial(torchvision_resnet, "wide_resnet101_2"),
    "regnet_y_tiny": partial(regnet, depths=[1, 1, 2], widths=[16, 32, 64], group_width=16),
    "regnet_y_400mf": partial(regnet, depths=[1, 3, 6, 6], widths=[48, 104, 208, 440], group_width=8),
    "vit_tiny": partial(VisionTransformer, width=192, depth=12, heads=3),
}


def build_encoder(name: str, image_size: int) -> nn.Module:
    """The encoder `name` for images of `image_size` px, randomly initialised from the global generator.

    It has `width` (features per image), `name`, and `patch` (px; 1 where it has none): what is left at the edge of an
    image whose side is no multiple of it is not seen. Raises ValueError, with the nearest names, for an unknown one.
    """
    check_encoder(name)
    encoder = ENCODERS[name](image_size=image_size)
    encoder.name = name
    encoder.patch = getattr(encoder, "patch", 1)
    return encoder


def whole_patches(side: float, encoder: nn.Module) -> int:
    """The side of a crop, near to `side` px, that an encoder of `build_encoder` sees to its edge: at least a patch."""
    return max(round(side / encoder.patch), 1) * encoder.patch
