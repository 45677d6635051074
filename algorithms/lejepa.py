"""LeJEPA: Balestriero and LeCun 2025, arXiv 2511.08544; with VISReg: Wu, Balestriero and Levine 2026, arXiv
2606.02572."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import by_size, mlp, narrowed
from algorithms.parts.precision import full_precision
from algorithms.parts.views import lejepa_views

KNOTS = 17
"""Places at which characteristic functions are compared."""
LARGEST_FREQUENCY = 3.0
"""The last of these places; the first is 0."""


def random_directions(width: int, count: int, device: torch.device) -> Tensor:
    """Directions [width, count] of length 1, all equally likely, from the global generator."""
    return F.normalize(torch.randn(width, count, device=device), dim=0)


@full_precision
def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """SIGReg (LeJEPA, section 4.3): how far the embeddings `z` [V, B, D] of each view are from a standard Gaussian, by
    the Epps-Pulley statistic (section 4.2.3) of their projections on `directions` [D, S]; the mean over views and
    directions, [].

    The statistic of a projection x [B] is B times the integral of |mean(exp(i t x)) - exp(-t^2 / 2)|^2 exp(-t^2 / 2)
    over t from -3 to 3. It is even in t: the trapezoidal rule takes t from 0 and counts it twice.
    """
    t = torch.linspace(0, LARGEST_FREQUENCY, KNOTS, dtype=z.dtype, device=z.device)
    gaussian = torch.exp(-t.square() / 2)
    weight = torch.full_like(t, 2 * LARGEST_FREQUENCY / (KNOTS - 1))
    weight[0] = weight[-1] = LARGEST_FREQUENCY / (KNOTS - 1)
    angles = (z @ directions)[..., None] * t
    distance = (angles.cos().mean(1) - gaussian).square() + angles.sin().mean(1).square()
    return z.shape[1] * (distance @ (weight * gaussian)).mean()


@full_precision
def visreg(z: Tensor, directions: Tensor) -> Tensor:
    """VISReg's regularizer of the embeddings `z` [V, B, D] of each view, [] (eq. 1, 2, 5 and 6): the mean squares of
    1 - the standard deviation of each dimension (scale), of each dimension's mean (centre), and of the distance of the
    standardised embeddings' sorted projections on `directions` [D, S] from the quantiles i / (B + 1) of a standard
    Gaussian (shape). Standardising passes no gradient to the standard deviation: shape leaves scale alone."""
    batch = z.shape[1]
    mean = z.mean(1, keepdim=True)
    # The square root has no gradient at 0, where all embeddings are the same.
    deviation = (z.var(1, correction=0, keepdim=True) + 1e-12).sqrt()
    projections = (z - mean) / (deviation.detach() + 1e-6) @ directions
    places = torch.arange(1, batch + 1, dtype=z.dtype, device=z.device) / (batch + 1)
    quantiles = math.sqrt(2) * torch.erfinv(2 * places - 1)
    shape = (projections.sort(dim=1).values - quantiles[:, None]).square().mean()
    return (1 - deviation).square().mean() + mean.square().mean() + shape


REGULARIZERS = {"sigreg": sigreg, "visreg": visreg}


@full_precision
def invariance(z: Tensor, global_views: int) -> Tensor:
    """The mean square of the distance of all views' embeddings `z` [V, B, D] from the mean of the first `global_views`
    of them, over views, images and dimensions, []."""
    return (z - z[:global_views].mean(0)).square().mean()


class LeJEPA(Method):
    """The views of an image get one embedding, and the embeddings of all images together fill a Gaussian: this keeps
    them apart, with no negatives, no teacher and no stopped gradient. Whether they are Gaussian is seen on random
    lines, new ones in every step.

    Section 5.1: L = (1 - w) invariance + w SIGReg. `invariance` is the mean squared distance of every view's embedding
    from the mean of the image's global views, `sigreg` the mean over views and random directions of a test statistic.
    The statistic is B times a distance, so a larger batch weighs it more. `regularizer` visreg takes VISReg's in its
    place (`visreg`), at a weight of its own: L = (1 - w) invariance + w (scale + shape + centre) (VISReg, algorithm 1).
    Gradients of SIGReg vanish as embeddings collapse, those of VISReg's scale do not.

    Departures: the paper integrates to t = 5, the authors' code to 3, and so do we. Their ViTs drop paths and their
    learning rate falls to a thousandth; ours drop none, and it falls to 0. VISReg's authors have GELU in the projector
    and clip the gradient; here all but the regularizer is LeJEPA's.

    Choose it where a batch must be small or the encoder is unusual, and for few things to tune: one weight. It wants
    several views of an image, each of which costs as much as an image; how it does on small images is disputed."""

    weight: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        regularizer: str,
        sigreg_weight: float,
        visreg_weight: float,
        directions: int,
        projector_hidden: int,
        projector_width: int,
        global_crops: int,
        local_crops: int,
    ):
        if regularizer not in REGULARIZERS:
            raise ValueError(f"LeJEPA has no regularizer '{regularizer}'; it has {', '.join(REGULARIZERS)}.")
        super().__init__(setting, encoder)
        self.scalar("weight", {"sigreg": sigreg_weight, "visreg": visreg_weight}[regularizer])
        self.regularizer = REGULARIZERS[regularizer]
        self.directions, self.global_crops = directions, global_crops
        self.projector = mlp([encoder.width, projector_hidden, projector_hidden, projector_width])
        self.views = lejepa_views(setting, encoder, global_crops, local_crops)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        z = self.projector(torch.cat(by_size(self.encoder, views))).unflatten(0, (-1, len(index)))
        directions = random_directions(z.shape[2], self.directions, z.device)
        regularizer = self.regularizer(z, directions)
        return (1 - self.weight) * invariance(z, self.global_crops) + self.weight * regularizer
