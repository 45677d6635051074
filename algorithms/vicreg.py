"""VICReg: Bardes, Ponce and LeCun 2021, arXiv 2105.04906."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.precision import full_precision
from algorithms.parts.views import asymmetric_views, colour_view, is_small

EPSILON = 1e-4
"""Added to a variance before its root (eq. 2)."""


@full_precision
def vicreg(
    first: Tensor,
    second: Tensor,
    invariance_weight: Tensor | float,
    variance_weight: Tensor | float,
    covariance_weight: Tensor | float,
) -> Tensor:
    """Eq. 6 of the embeddings Z, Z' of two views, each [B, D]:
    lambda s(Z, Z') + mu (v(Z) + v(Z')) + nu (c(Z) + c(Z')), [].

    s is the mean of (Z - Z')^2 over the batch and D (eq. 5, which has no D: the authors' code has); v the mean over D
    of max(0, 1 - sqrt(Var + epsilon)) (eq. 1-2); c the sum of the squared covariances of two dimensions, over D
    (eq. 3-4). Variances and covariances are those of the batch, unbiased.
    """
    total = invariance_weight * F.mse_loss(first, second)
    for z in (first, second):
        centred = z - z.mean(0)
        covariance = centred.T @ centred / (len(z) - 1)
        variance = covariance.diagonal()
        hinge = F.relu(1 - torch.sqrt(variance + EPSILON)).mean()
        others = (covariance.square().sum() - variance.square().sum()) / z.shape[1]
        total = total + variance_weight * hinge + covariance_weight * others
    return total


class VICReg(Method):
    """Two views of an image get like embeddings. Two more terms keep these from saying nothing: one holds the spread
    of every dimension over the batch above 1, the other makes different dimensions say different things. There are no
    negatives, no second network and no predictor.

    Eq. 6: L = lambda s(Z, Z') + mu (v(Z) + v(Z')) + nu (c(Z) + c(Z')) of the outputs Z of an expander of three layers
    (section 4.2): s is invariance (eq. 5), v variance (eq. 1-2), c covariance (eq. 3-4).

    Departures: s is divided by the width D of the expander, as in the authors' code, for which the paper's lambda 25
    is. The sum c has about D terms for each dimension, where s and v are means: the balance between them is nu D,
    `redundancy`, for an expander of any width, so that one that is cut for a small encoder keeps it.

    Choose it for short trainings and small batches, where it needs nothing that has to fill or warm up first. It is
    less fit for images that differ in a few ways only: it wants as many independent dimensions as it can get."""

    invariance_weight: Tensor
    variance_weight: Tensor
    covariance_weight: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        invariance: float,
        variance: float,
        redundancy: float,
        projector_hidden: int,
        projector_width: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("invariance_weight", invariance)
        self.scalar("variance_weight", variance)
        self.scalar("covariance_weight", redundancy / projector_width)
        self.projector = mlp([encoder.width, projector_hidden, projector_hidden, projector_width])
        # Small images: solo-learn's recipe for CIFAR-10; large ones: BYOL's pair, as in the authors' augmentations.py.
        small = colour_view(setting, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur=0.0, solarize=0.1)
        self.views = (small, small) if is_small(setting) else asymmetric_views(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.projector(self.encoder(view)) for view in views)
        return vicreg(first, second, self.invariance_weight, self.variance_weight, self.covariance_weight)
