"""Residual networks: ResNet and its kin of torchvision, RegNetY, and a small one for CPUs."""

from functools import partial
from typing import cast

import torchvision
from torch import nn
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import BasicBlock

from algorithms.encoders import SMALL_IMAGE
from algorithms.encoders.encoder import Encoder
from algorithms.encoders.pooling import GlobalAveragePool


def small_stem(channels: int, width: int) -> nn.Sequential:
    """The stem for small images: a 3x3 convolution of stride 1 and no max-pool."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def of_channels(first: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A network's first convolution for images of other than three channels, initialised as torchvision does."""
    kernel, stride, padding = first.kernel_size[0], first.stride[0], int(first.padding[0])
    made = nn.Conv2d(channels, first.out_channels, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def torchvision_resnet(constructor: str, image_size: int, channels: int = 3) -> Encoder:
    """torchvision's ResNet without its classifier, with the small-image stem where the images are small."""
    network = getattr(torchvision.models, constructor)(weights=None)
    if image_size <= SMALL_IMAGE:
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = of_channels(network.conv1, channels)
    network.width = network.fc.in_features
    network.avgpool, network.fc = GlobalAveragePool(), nn.Identity()
    return cast(Encoder, network)


class ResNet8(nn.Sequential):
    """He 2015 (arXiv 1512.03385, section 4.2), 6n + 2 layers with n = 1: widths 16, 32, 64; 77,000 parameters. The
    small encoder for CPUs."""

    def __init__(self, image_size: int, channels: int = 3):
        def block(narrow: int, wide: int, stride: int) -> BasicBlock:
            shortcut = None
            if stride != 1 or narrow != wide:
                shortcut = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
            return BasicBlock(narrow, wide, stride, shortcut)

        super().__init__(
            small_stem(channels, 16),
            block(16, 16, 1),
            block(16, 32, 2),
            block(32, 64, 2),
            GlobalAveragePool(),
        )
        self.width = 64
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def regnet(image_size: int, channels: int = 3, *, depths: list[int], widths: list[int], group_width: int) -> Encoder:
    """A RegNetY (Radosavovic 2020, arXiv 2003.13678) of the given stages, with torchvision's blocks; every stage
    halves the side, the stem does so only where images are large."""
    stages = len(depths)
    parameters = BlockParams(depths, widths, [group_width] * stages, [1.0] * stages, [2] * stages, se_ratio=0.25)
    network = RegNet(parameters, stem_width=min(32, widths[0]))
    if channels != 3:
        network.stem[0] = of_channels(network.stem[0], channels)
    if image_size <= SMALL_IMAGE:
        network.stem[0].stride = (1, 1)
    network.width = network.fc.in_features
    network.avgpool, network.fc = GlobalAveragePool(), nn.Identity()
    return cast(Encoder, network)


resnet8 = ResNet8
resnet18 = partial(torchvision_resnet, "resnet18")
resnet50 = partial(torchvision_resnet, "resnet50")
resnext50 = partial(torchvision_resnet, "resnext50_32x4d")
resnext101 = partial(torchvision_resnet, "resnext101_32x8d")
wide_resnet50 = partial(torchvision_resnet, "wide_resnet50_2")
wide_resnet101 = partial(torchvision_resnet, "wide_resnet101_2")
regnet_y_tiny = partial(regnet, depths=[1, 1, 2], widths=[16, 32, 64], group_width=16)
regnet_y_400mf = partial(regnet, depths=[1, 3, 6, 6], widths=[48, 104, 208, 440], group_width=8)
