"""SwAV: Caron, Misra, Mairal, Goyal, Bojanowski and Joulin 2020, arXiv 2006.09882."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.method import Batches, Method, Setting
from algorithms.parts.heads import Prototypes, by_size, mlp, narrowed
from algorithms.parts.losses import cross_view_entropy, sinkhorn
from algorithms.parts.memory import Queue, fitting_length
from algorithms.parts.schedules import early_phase
from algorithms.parts.views import swav_views


class SwAV(Method):
    """Images are sorted into clusters while the network learns: each view gets a soft assignment to prototypes, spread
    equally over all of them, and the other view is to predict it. Comparing assignments in place of features needs no
    negatives, and lets many small crops of an image learn at little cost (multi-crop).

    Eq. 1-2, swapped prediction, q the codes, c the prototypes:

        L = l(z_t, q_s) + l(z_s, q_t),  l(z, q) = -sum_k q_k log softmax(z.c_k / t)

    The codes q of the two global views come from Sinkhorn-Knopp on their own scores (eq. 3-4) and are predicted from
    every other crop (eq. 6, multi-crop; here the mean of its terms). A queue of earlier embeddings, one for each
    global view, joins the batch when codes are computed (section 4.1); prototypes stay fixed in the first
    `frozen_share` of the training (`early_phase`).

    Choose it where classes are many and images are large, with multi-crop; on small images without it, where it costs
    what SimCLR does. It wants more prototypes than classes, and a batch, or a queue, that is not far below their
    number."""

    temperature: Tensor
    epsilon: Tensor
    frozen_share: Tensor
    frozen: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        prototypes: int,
        epsilon: float,
        sinkhorn_iterations: int,
        projector_hidden: int,
        projector_width: int,
        local_crops: int,
        queue_length: int,
        queue_start: float,
        frozen_share: float,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("epsilon", epsilon)
        self.scalar("frozen_share", early_phase(frozen_share, setting.steps))
        self.sinkhorn_iterations, self.queue_start = sinkhorn_iterations, queue_start
        self.projector = mlp([encoder.width, projector_hidden, projector_width])
        self.prototypes = Prototypes(projector_width, prototypes)
        self.register_buffer("frozen", torch.tensor(frozen_share > 0))
        self.queues = nn.ModuleList(Queue(queue_length, projector_width) for _ in range(2 * (queue_length > 0)))
        self.queue_used = False
        self.views = swav_views(setting, encoder, local_crops)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        found = narrowed(hyperparameters, width, "projector_hidden", "projector_width")
        if found["queue_length"] > 0:
            found["queue_length"] = fitting_length(found["queue_length"], batch_size=batch_size, images=images)
        return found

    def before_epoch(self, epoch: int, batches: Batches) -> None:
        # Only a queue that has been filled with embeddings is used.
        self.queue_used = bool(self.queues) and epoch >= self.queue_start * self.setting.epochs and epoch > 0

    @torch.no_grad()
    def codes(self, z: Tensor, scores: Tensor, view: int) -> Tensor:
        """The assignments [B, K] of one global view from its embeddings z [B, D] and scores [B, K]."""
        queue = cast(Queue, self.queues[view]) if self.queues else None
        if queue is not None and self.queue_used:
            scores = torch.cat([scores, self.prototypes(queue.keys)])
        codes = sinkhorn(scores, self.epsilon, self.sinkhorn_iterations)[: len(z)]
        if queue is not None:
            queue.append(z)
        return codes

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        z = self.projector(torch.cat(by_size(self.encoder, views))).unflatten(0, (-1, len(index)))
        scores = self.prototypes(z, frozen=self.frozen)
        codes = [self.codes(z[view].detach(), scores[view].detach(), view) for view in (0, 1)]
        return cross_view_entropy(scores / self.temperature, torch.stack(codes))

    def after_step(self, progress: Tensor) -> None:
        self.frozen.copy_(progress < self.frozen_share)
