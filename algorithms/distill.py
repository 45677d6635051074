"""SEED: Fang, Wang, Wang, Zhang, Yang and Liu 2021, arXiv 2101.04731: distillation from a frozen teacher."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp
from algorithms.parts.precision import full_precision
from algorithms.parts.views import mocov2_views


@full_precision
def similarity_entropy(
    student: Tensor,
    teacher: Tensor,
    anchors: Tensor,
    temperature: Tensor | float,
    teacher_temperature: Tensor | float,
) -> Tensor:
    """Eq. 5: -sum_j p(teacher)_j log p(student)_j, where p(z) is the softmax over the `anchors` [K, D] of their cosines
    to z, divided by the temperature of its network. Row i of `student` [B, D] follows row i of `teacher` [B, D].
    `teacher` and `anchors` have rows of length 1, `student` is normalised here. Returns the mean over the batch, []."""
    targets = F.softmax(teacher @ anchors.T / teacher_temperature, dim=1)
    return F.cross_entropy(F.normalize(student, dim=1) @ anchors.T / temperature, targets)


class Distillation(Method):
    """A small network learns to see images as a large, frozen one does: what the teacher finds alike, the student is to
    find alike, by the similarities of an image to many others. It needs no labels, and no views as strong as other
    methods do.

    Eq. 5 (`similarity_entropy`), over anchors d_j, which are the teacher's features of the image itself and of others:

        L = -sum_j p(teacher)_j log p(student)_j,  p(z) = softmax_j(z.d_j / t)

    A projector takes the student's features to the teacher's width. Raises ValueError without a teacher.

    Departures: the teacher, which may be many times as large as the student, has seen every training image once, whole
    and un-augmented: the student follows these features from one augmented view. The anchors are the features of the
    batch's images and of others drawn at random, in place of the paper's queue.

    Choose it where a pretrained network knows images like yours but is too large to use: it reaches more in less time
    than training from scratch. Where that network fits, use it as it is."""

    temperature: Tensor
    teacher_temperature: Tensor
    bank: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        teacher_temperature: float,
        anchors: int,
        projector_layers: int,
        smallest_crop: float,
    ):
        super().__init__(setting, encoder)
        if setting.teacher is None:
            raise ValueError("Distillation has no teacher to follow; its training must be given one as `teacher`.")
        self.scalar("temperature", temperature)
        self.scalar("teacher_temperature", teacher_temperature)
        self.anchors = anchors
        self.projector = mlp([encoder.width] * projector_layers + [setting.teacher.shape[1]], batch_norm=False)
        self.register_buffer("bank", setting.teacher, persistent=False)
        # A crop that holds all of an image is the image.
        self.views = (replace(mocov2_views(setting)[0], scale=(smallest_crop, 1.0)),)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return hyperparameters | {"anchors": min(hyperparameters["anchors"], images)}

    @classmethod
    def unaffected_by(cls, image_size: int) -> frozenset[str]:
        # There is no second view, which would be solarised.
        return frozenset({"solarize_probability"})

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        drawn = torch.randint(len(self.bank), (self.anchors,), device=index.device)
        anchors = self.bank[torch.cat([index, drawn])]
        projected = self.projector(self.encoder(views[0]))
        return similarity_entropy(projected, anchors[: len(index)], anchors, self.temperature, self.teacher_temperature)
