"""MoCo v2: Chen, Fan, Girshick and He 2020, arXiv 2003.04297."""

from torch import nn

from algorithms.images.view import View
from algorithms.method import Setting
from algorithms.moco import MoCo
from algorithms.parts.heads import mlp
from algorithms.parts.views import mocov2_views


class MoCoV2(MoCo):
    """MoCo with a two-layer head of the encoder's width without batch norm, and blur (section 3; the section's cosine
    learning rate is the first MoCo's too in the authors' CIFAR notebook, and here). Small images are not blurred, as in
    that notebook: a deviation of 2 px would leave little of them."""

    def head(self, width: int, projector_width: int) -> nn.Module:
        return mlp([width, width, projector_width], batch_norm=False)

    def augmentations(self, setting: Setting) -> tuple[View, View]:
        return mocov2_views(setting)
