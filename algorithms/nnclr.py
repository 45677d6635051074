"""NNCLR: Dwibedi, Aytar, Tompson, Sermanet and Zisserman 2021, arXiv 2104.14548."""

from typing import Any

import torch
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.losses import info_nce
from algorithms.parts.memory import Queue, fitting_length
from algorithms.parts.precision import full_precision
from algorithms.parts.views import asymmetric_views


@torch.no_grad()
@full_precision
def nearest(z: Tensor, keys: Tensor, own: Tensor) -> Tensor:
    """Of the `keys` [K, D], of length 1, those nearest to z [B, D] in cosine (eq. 2), [B, D], without those that
    `own` bool [B, K] leaves out."""
    return keys[(z @ keys.T).masked_fill(own, float("-inf")).argmax(1)]


class NNCLR(Method):
    """As in SimCLR, a view must tell its own image from the others of the batch. But what it is compared with is not
    the other view: it is the nearest neighbour of that view among embeddings of earlier images. So an image is drawn to
    others that look like it, and not only to crops of itself.

    Eq. 3 and algorithm 1: L = l(NN(z1, Q), p2) / 2 + l(NN(z2, Q), p1) / 2, l(n, p) = -log exp(n_i.p_i / t) /
    sum_k exp(n_i.p_k / t) with n and p of length 1, z the projections, p the predictor's outputs and Q a queue of
    projections of the first views, before those of the batch join it (eq. 2). No gradient reaches a neighbour. The
    projector has three layers, each with batch norm.

    Departures: an image is not its own neighbour, which it may be in solo-learn and lightly: where images are few, the
    queue holds an earlier embedding of nearly every image, which would often be the nearest.

    Choose it where the images of a class are many and alike, and crops of one image say too little. The queue must have
    filled with embeddings that say something before a neighbour is of use: not for the shortest trainings."""

    contrasts_with = "the batch"
    temperature: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        queue_length: int,
        projector_hidden: int,
        projector_width: int,
        predictor_hidden: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        hidden = [projector_hidden, projector_hidden]
        self.projector = mlp([encoder.width, *hidden, projector_width], last_batch_norm="affine")
        self.predictor = mlp([projector_width, predictor_hidden, projector_width])
        self.queue = Queue(queue_length, projector_width)
        self.views = asymmetric_views(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        length = fitting_length(hyperparameters["queue_length"], batch_size=batch_size, images=images)
        found = narrowed(hyperparameters, width, "projector_hidden", "projector_width", "predictor_hidden")
        return found | {"queue_length": length}

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.projector(self.encoder(view)) for view in views)
        own = index[:, None] == self.queue.images
        near_first, near_second = (nearest(z, self.queue.keys, own) for z in (first, second))
        self.queue.append(first, index)
        to_second = info_nce(near_first, self.predictor(second), self.temperature)
        to_first = info_nce(near_second, self.predictor(first), self.temperature)
        return (to_second + to_first) / 2
