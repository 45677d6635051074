"""SimCLR: Chen, Kornblith, Norouzi and Hinton 2020, arXiv 2002.05709."""

from typing import Any

import torch
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.losses import nt_xent
from algorithms.parts.views import simclr_views


class SimCLR(Method):
    """Two random views of an image are to be alike, and unlike the views of all other images of the batch. Everything
    that is not needed for that, the projector hides from the encoder. There is no teacher and no memory: the batch has
    to be large enough to hold negatives worth having.

    Algorithm 1, eq. 1, over the 2N views of a batch, s the cosine of projections, t the temperature:

        l(i, j) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) )

    The projector has two layers, the first as wide as the encoder, each with batch norm. Both views pass the networks
    as one batch, as in the authors' code.

    Choose it first: it is simple and cheap, learns early, and hardly fails. With long trainings or small batches,
    methods with a teacher or a queue come to more."""

    contrasts_with = "the batch"
    layers = 2
    """Of the projector."""

    temperature: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        projector_width: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.projector = mlp([encoder.width] * self.layers + [projector_width], last_batch_norm="affine")
        self.views = simclr_views(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_width")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = self.projector(self.encoder(torch.cat(views))).chunk(2)
        return nt_xent(first, second, self.temperature)
