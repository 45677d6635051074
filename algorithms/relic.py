"""ReLIC: Mitrovic, McWilliams, Walker, Buesing and Blundell 2020, arXiv 2010.07922."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.memory import averaged_copy, update_average
from algorithms.parts.precision import full_precision
from algorithms.parts.schedules import cosine_to_one
from algorithms.parts.views import asymmetric_views


@full_precision
def relic(
    first: Tensor,
    second: Tensor,
    target_first: Tensor,
    target_second: Tensor,
    temperature: Tensor | float,
    invariance_weight: Tensor | float,
) -> Tensor:
    """The objective of section 2.3, mean over the batch and over the two orders (a, b), (b, a) of the views:

    -log p_ab(i | x_i) + alpha KL(p_ab(. | x_i), p_ba(. | x_i)),  p_ab(j | x_i) ~ exp(cos(f(x_i^a), h(x_j^b)) / t)

    `first`, `second` are f(x^a), f(x^b), `target_first`, `target_second` h(x^a), h(x^b), all [B, D]. Each p is
    a distribution over all B images, and the divergence compares all of it. Returns [].
    """
    first, second, target_first, target_second = (
        F.normalize(z, dim=1) for z in (first, second, target_first, target_second)
    )
    log_first = F.log_softmax(first @ target_second.T / temperature, dim=1)
    log_second = F.log_softmax(second @ target_first.T / temperature, dim=1)
    contrast = -(log_first.diagonal() + log_second.diagonal()).mean()
    # KL(p, q) + KL(q, p) = sum (p - q) (log p - log q)
    invariance = ((log_first.exp() - log_second.exp()) * (log_first - log_second)).sum(1).mean()
    return (contrast + invariance_weight * invariance) / 2


class ReLIC(Method):
    """Contrast as in SimCLR, and a second demand: how a view compares with all other images must not depend on how it
    was augmented. The divergence between the two views' comparisons is added to the loss. Keys come from an average of
    the network, as in BYOL.

    The objective of section 2.3 (`relic`), over both orders (a, b), (b, a) of the views, alpha `invariance_weight`:

        -log p_ab(i | x_i) + alpha KL(p_ab(. | x_i), p_ba(. | x_i)),  p_ab(j | x_i) ~ exp(cos(f(x_i^a), h(x_j^b)) / t)

    The keys h come from a target network (section 2.3), whose weights follow the online ones as BYOL's do, its
    momentum rising to 1 on a cosine. No gradient reaches the keys; both arguments of the divergence pass theirs on to
    the queries.

    Departures: no code of the authors is public, so the recipe is that of another's; the critic has batch norm.

    Choose it in place of SimCLR where a third more time for a step can be paid and augmentations are strong; its
    weight of the divergence wants to be searched."""

    contrasts_with = "the batch"
    temperature: Tensor
    invariance_weight: Tensor
    ema_momentum: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        invariance_weight: float,
        ema_momentum: float,
        projector_hidden: int,
        projector_width: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("invariance_weight", invariance_weight)
        self.scalar("ema_momentum", ema_momentum)
        self.online = nn.Sequential(encoder, mlp([encoder.width, projector_hidden, projector_width]))
        self.target = averaged_copy(self.online)
        self.views = asymmetric_views(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.online(view) for view in views)
        with torch.no_grad():
            target_first, target_second = (self.target(view) for view in views)
        return relic(first, second, target_first, target_second, self.temperature, self.invariance_weight)

    def after_step(self, progress: Tensor) -> None:
        update_average(self.target, self.online, cosine_to_one(self.ema_momentum, progress))
