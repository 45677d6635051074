"""DINO: Caron, Touvron, Misra, Jegou, Mairal, Bojanowski and Joulin 2021, arXiv 2104.14294."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.encoders.transformer import VisionTransformer
from algorithms.method import Method, Setting
from algorithms.parts.heads import Prototypes, by_size, mlp, narrowed
from algorithms.parts.losses import cross_view_entropy
from algorithms.parts.memory import averaged_copy, update_average
from algorithms.parts.schedules import cosine_to_one, early_phase
from algorithms.parts.views import dino_views, is_small


class DINO(Method):
    """A student is to say of any crop of an image what its teacher, an average of the student, says of a large crop: a
    distribution over many outputs that mean nothing by themselves. The teacher is centred, so that no output wins
    always, and sharpened, so that not all are equal. There are no negatives and no predictor.

    Eq. 3, over the two global views x and all other crops x' of an image (here the mean), P_s by eq. 1, P_t by
    algorithm 1:

        L = sum H(P_t(x), P_s(x')),  P_s = softmax(student / t_s),  P_t = softmax((teacher - c) / t_t)

    The centre c follows the mean of the teacher's outputs (eq. 4), after the loss. t_t < t_s sharpens; it is constant,
    as it is by default in the authors' code. The teacher is an average of the student whose momentum rises to 1 on a
    cosine. The last layer is weight-normalised with gain 1 on normalised inputs, which makes its rows prototypes; it
    is fixed in the first `frozen_share` of the training (`early_phase`).

    On a ViT the head has three layers and no batch norm, and the student alone drops paths.

    Departures: on other encoders the head has batch norm and, for small images, two layers, as in lightly's recipe for
    CIFAR-10.

    Choose it for vision transformers on large images with multi-crop and long trainings, above all where features are
    used as they are, by nearest neighbours. On small residual networks others reach the same sooner."""

    temperature: Tensor
    teacher_temperature: Tensor
    ema_momentum: Tensor
    centre_momentum: Tensor
    frozen_share: Tensor
    centre: Tensor
    frozen: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        teacher_temperature: float,
        ema_momentum: float,
        centre_momentum: float,
        prototypes: int,
        projector_hidden: int,
        projector_width: int,
        local_crops: int,
        frozen_share: float,
        drop_path: float = 0.0,
    ):
        if not teacher_temperature < temperature:
            raise ValueError(
                f"DINO's teacher_temperature ({teacher_temperature}) must be below its temperature ({temperature}): a "
                "teacher that is not the sharper one collapses."
            )
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("teacher_temperature", teacher_temperature)
        self.scalar("ema_momentum", ema_momentum)
        self.scalar("centre_momentum", centre_momentum)
        self.scalar("frozen_share", early_phase(frozen_share, setting.steps))
        vit = encoder.patch > 1
        hidden = [projector_hidden] * (1 if is_small(setting) and not vit else 2)
        head = mlp([encoder.width, *hidden, projector_width], batch_norm=not vit, activation=nn.GELU)
        self.student = nn.Sequential(encoder, head, Prototypes(projector_width, prototypes))
        self.teacher = averaged_copy(self.student)
        if isinstance(encoder, VisionTransformer):
            encoder.drop_paths(drop_path)
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("frozen", torch.tensor(frozen_share > 0))
        self.views = dino_views(setting, encoder, local_crops)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width")

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        encoder, head, prototypes = self.student
        student = prototypes(head(torch.cat(by_size(encoder, views))), frozen=self.frozen)
        with torch.no_grad():
            teacher = self.teacher(torch.cat(views[:2]))
            targets = F.softmax((teacher - self.centre) / self.teacher_temperature, dim=1)
            self.centre.lerp_(teacher.mean(0), 1 - self.centre_momentum)
        batch = (-1, len(index))
        return cross_view_entropy(student.unflatten(0, batch) / self.temperature, targets.unflatten(0, batch))

    def after_step(self, progress: Tensor) -> None:
        update_average(self.teacher, self.student, cosine_to_one(self.ema_momentum, progress))
        self.frozen.copy_(progress < self.frozen_share)

    @property
    def judged_encoder(self) -> nn.Module:
        """The teacher's, which the paper evaluates. Its batch statistics are those of its own forward passes in
        train mode."""
        return self.teacher.get_submodule("0")
