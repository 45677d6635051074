"""BYOL: Grill et al. 2020, arXiv 2006.07733."""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.losses import negative_cosine
from algorithms.parts.memory import averaged_copy, update_average
from algorithms.parts.schedules import cosine_to_one
from algorithms.parts.views import asymmetric_views


class BYOL(Method):
    """A network predicts, from one view of an image, what an average of its own earlier states says of the other view.
    There are no negatives: that the answer is not the same for all images is owed to the predictor, to batch norm and
    to the slowness of the average.

    Eq. 2, summed over both orders of the two views:

        L = |q(z) / |q(z)| - z' / |z'||^2 = 2 - 2 cos(q(z), z')

    z is the online projection, q the predictor, z' the projection of the other view by the target, whose weights
    follow the online ones: xi <- tau xi + (1 - tau) theta, tau rising to 1 on a cosine (section 3.3).

    Choose it for long trainings, of hundreds of epochs, and where images are so alike that negatives would be false
    ones. In short trainings it is behind others, and it must be watched for collapse where batches are very small."""

    ema_momentum: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        ema_momentum: float,
        projector_hidden: int,
        projector_width: int,
        predictor_hidden: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("ema_momentum", ema_momentum)
        self.online = nn.Sequential(encoder, mlp([encoder.width, projector_hidden, projector_width]))
        self.target = averaged_copy(self.online)
        self.predictor = mlp([projector_width, predictor_hidden, projector_width])
        self.views = asymmetric_views(setting)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width", "predictor_hidden")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.predictor(self.online(view)) for view in views)
        with torch.no_grad():
            target_first, target_second = (self.target(view) for view in views)
        return 4 + 2 * (negative_cosine(first, target_second) + negative_cosine(second, target_first))

    def after_step(self, progress: Tensor) -> None:
        update_average(self.target, self.online, cosine_to_one(self.ema_momentum, progress))
