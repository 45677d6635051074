"""Barlow Twins: Zbontar et al. 2021, arXiv 2103.03230."""

from typing import Any

from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.precision import full_precision
from algorithms.parts.views import asymmetric_views


@full_precision
def barlow_twins(first: Tensor, second: Tensor, redundancy_weight: Tensor | float) -> Tensor:
    """Eq. 1: sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2, where C (eq. 2) is the correlation over the batch
    of the dimensions of `first` and `second`, each [B, D] and each dimension standardised over the batch."""
    standardised = [(z - z.mean(0)) * (z.var(0, correction=0) + 1e-5).rsqrt() for z in (first, second)]
    correlation = standardised[0].T @ standardised[1] / len(first)
    on_diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - on_diagonal.square().sum()
    return (1 - on_diagonal).square().sum() + redundancy_weight * off_diagonal


class BarlowTwins(Method):
    """The projections of two views are compared feature by feature, not image by image. Over the batch each feature is
    to agree with itself across the views and to be uncorrelated with all others: the first makes views alike, the
    second keeps the network from saying the same of all images. No negatives, no teacher, no predictor.

    Eq. 1 (`barlow_twins`), C (eq. 2) the correlation over the batch of the standardised projections:

        L = sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2

    The first sum has D terms, the second about D^2: the balance between them is lambda D, `redundancy`, for a
    projector of any width D (the paper's 0.0051 at 8192: 42).

    Departures: the loss is multiplied by `loss_scale`, which stands in for the small learning rates of the authors'
    LARS.

    Choose it for short trainings and moderate batches: it learns early and hardly collapses. Its wide projector is most
    of what it trains, and gains less from very long trainings than methods with a teacher."""

    redundancy_weight: Tensor
    loss_scale: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        redundancy: float,
        loss_scale: float,
        projector_hidden: int,
        projector_width: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("redundancy_weight", redundancy / projector_width)
        self.scalar("loss_scale", loss_scale)
        self.projector = mlp([encoder.width, projector_hidden, projector_hidden, projector_width])
        self.views = asymmetric_views(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.projector(self.encoder(view)) for view in views)
        return self.loss_scale * barlow_twins(first, second, self.redundancy_weight)
