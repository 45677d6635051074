"""MoCo: He, Fan, Wu, Xie and Girshick 2019, arXiv 1911.05722."""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.images.view import View
from algorithms.method import Method, Setting
from algorithms.parts.heads import narrowed, split_batch_norm
from algorithms.parts.losses import info_nce
from algorithms.parts.memory import Queue, averaged_copy, fitting_length, update_average
from algorithms.parts.views import moco_views


class MoCo(Method):
    """A view is to be alike to the other view of its image, and unlike a long queue of views of earlier images. The
    queue needs keys that change slowly: a second encoder makes them, which is a moving average of the first. So the
    number of negatives does not depend on the batch.

    Eq. 1, q the query, k+ the other view's key, the sum over the queue without the keys of the query's own image:

        L = -log( exp(q.k+ / t) / (exp(q.k+ / t) + sum_k exp(q.k / t)) )

    Keys come from the momentum encoder (eq. 2: theta_k <- m theta_k + (1 - m) theta_q). Batch statistics would tell a
    query which key shares its batch (section 3.3, shuffling BN): both encoders normalise by parts of the batch, and
    the keys' batch is shuffled, so that a key and its query share no part.

    Departures: a query's own image, of which the queue has keys where images are few, is none of its negatives. With
    `symmetric`, either view is query and key in turn, at twice the cost, the losses added and both views' keys queued,
    as in the authors' CIFAR notebook; the paper's loss is not.

    Choose it where memory allows only small batches, or compute is short: its step is the cheapest of the methods with
    negatives and two views. The queue wants several times as many images as it is long."""

    contrasts_with = "a queue"
    temperature: Tensor
    ema_momentum: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        ema_momentum: float,
        queue_length: int,
        projector_width: int,
        symmetric: bool,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("ema_momentum", ema_momentum)
        self.symmetric = symmetric
        self.online = nn.Sequential(split_batch_norm(encoder), self.head(encoder.width, projector_width))
        self.target = averaged_copy(self.online)
        self.queue = Queue(queue_length, projector_width)
        self.views = self.augmentations(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        length = fitting_length(hyperparameters["queue_length"], batch_size=batch_size, images=images)
        return narrowed(hyperparameters, width, "projector_width") | {"queue_length": length}

    def head(self, width: int, projector_width: int) -> nn.Module:
        """The linear head of the first MoCo."""
        return nn.Linear(width, projector_width)

    def augmentations(self, setting: Setting) -> tuple[View, View]:
        """The first MoCo's, without blur."""
        return moco_views(setting)

    @torch.no_grad()
    def keys(self, view: Tensor) -> Tensor:
        """The target's projections [B, D] of a view, computed in a random order of the batch."""
        order = torch.randperm(len(view), device=view.device)
        keys: Tensor = self.target(view[order])
        return keys[order.argsort()]

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = views
        negatives, own = self.queue.contents(), index[:, None] == self.queue.images
        keys = self.keys(second)
        loss = info_nce(self.online(first), keys, self.temperature, negatives, own)
        self.queue.append(keys, index)
        if self.symmetric:
            keys = self.keys(first)
            loss = loss + info_nce(self.online(second), keys, self.temperature, negatives, own)
            self.queue.append(keys, index)
        return loss

    def after_step(self, progress: Tensor) -> None:
        update_average(self.target, self.online, self.ema_momentum)
