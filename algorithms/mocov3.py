"""MoCo v3: Chen, Xie and He 2021, arXiv 2104.02057."""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.encoders.transformer import VisionTransformer
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.losses import info_nce
from algorithms.parts.memory import averaged_copy, update_average
from algorithms.parts.schedules import cosine_to_one
from algorithms.parts.views import mocov3_views


class MoCoV3(Method):
    """Either view is to predict the other one's key, among the keys of the batch. The keys come from a moving average
    of the network, and a predictor stands between: contrast as in SimCLR, teacher and predictor as in BYOL. It was made
    to train vision transformers without their instabilities.

    Algorithm 1, the negatives of InfoNCE (eq. 1) being the other keys of the batch:

        L = ctr(q1, k2) + ctr(q2, k1),  ctr(q, k) = 2 t InfoNCE(q, k)

    q passes encoder, projector and predictor; k the averages of encoder and projector, whose momentum rises to 1 on a
    cosine. Every linear layer is followed by batch norm, the last ones' without scale and shift. The projector has two
    layers, on a ViT three, and a ViT keeps its random patch projection (section 4.2).

    Departures: on a residual network the predictor's last layer has batch norm only with `predictor_norm`, which is
    our default; the authors' residual networks go without, and their ViTs always have it.

    Choose it for vision transformers, and for residual networks where the heads' memory and a teacher's time can be
    paid: it learns early and keeps gaining."""

    contrasts_with = "the batch"
    temperature: Tensor
    ema_momentum: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        ema_momentum: float,
        projector_hidden: int,
        projector_width: int,
        predictor_hidden: int,
        predictor_norm: bool,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("ema_momentum", ema_momentum)
        hidden = [projector_hidden]
        if isinstance(encoder, VisionTransformer):
            encoder.patches.requires_grad_(False)
            hidden *= 2
            predictor_norm = True
        projector = mlp([encoder.width, *hidden, projector_width], last_batch_norm="plain")
        self.online = nn.Sequential(encoder, projector)
        self.target = averaged_copy(self.online)
        last = "plain" if predictor_norm else "none"
        self.predictor = mlp([projector_width, predictor_hidden, projector_width], last_batch_norm=last)
        self.views = mocov3_views(setting, encoder)

    @classmethod
    def initialise(cls, encoder: Encoder) -> None:
        """Fixed sine-cosine positions and Glorot's weights for a ViT (facebookresearch/moco-v3, vits.py)."""
        if isinstance(encoder, VisionTransformer):
            encoder.begin_as_mae()

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width", "predictor_hidden")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.predictor(self.online(view)) for view in views)
        with torch.no_grad():
            key_first, key_second = (self.target(view) for view in views)
        t = self.temperature
        return 2 * t * (info_nce(first, key_second, t) + info_nce(second, key_first, t))

    def after_step(self, progress: Tensor) -> None:
        update_average(self.target, self.online, cosine_to_one(self.ema_momentum, progress))
