"""MoCo v2: Chen, Fan, Girshick and He 2020, arXiv 2003.04297."""

from torch import nn

from algorithms.images.view import View
from algorithms.method import Setting
from algorithms.moco import MoCo
from algorithms.parts.heads import mlp
from algorithms.parts.views import mocov2_views


class MoCoV2(MoCo):
    """MoCo with what SimCLR had found: a projector of two layers in place of one, and stronger views, with blur. The
    queue still gives the negatives, so that batches may stay small.

    The loss is MoCo's (eq. 1); the head has two layers of the encoder's width, without batch norm (section 3). The
    section's cosine learning rate is the first MoCo's too in the authors' CIFAR notebook, and here.

    Departures: small images are not blurred, as in that notebook: a deviation of 2 px would leave little of them. Its
    symmetric loss is the default.

    Choose it in place of MoCo wherever twice the time for a step can be paid, most of all in trainings of hundreds of
    epochs with batches that are small."""

    def head(self, width: int, projector_width: int) -> nn.Module:
        return mlp([width, width, projector_width], batch_norm=False)

    def augmentations(self, setting: Setting) -> tuple[View, View]:
        return mocov2_views(setting)
