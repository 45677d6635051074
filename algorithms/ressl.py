"""ReSSL: Zheng, You, Wang, Qian, Zhang, Wang and Xu 2021, arXiv 2107.09282."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.images.augmentation import Augmentation
from algorithms.images.view import View
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.memory import Queue, averaged_copy, fitting_length, update_average
from algorithms.parts.precision import full_precision
from algorithms.parts.schedules import cosine_to_one
from algorithms.parts.views import colour_view, is_small


@full_precision
def relational_entropy(
    queries: Tensor,
    keys: Tensor,
    others: Tensor,
    temperature: Tensor | float,
    teacher_temperature: Tensor | float,
    own: Tensor,
) -> Tensor:
    """-sum_k p_k log q_k (ReSSL, section 3.2): q = softmax(queries.others / temperature) is to follow
    p = softmax(keys.others / teacher_temperature), which gets no gradient.

    `queries` and `keys` [B, D] are normalised here, `others` [K, D] have length 1; those that `own` bool [B, K] says
    are of the query's own image are left out of both. Returns the mean over the batch, [].
    """
    student = (F.normalize(queries, dim=1) @ others.T / temperature).masked_fill(own, float("-inf"))
    teacher = (F.normalize(keys, dim=1) @ others.T / teacher_temperature).masked_fill(own, float("-inf"))
    surprise = F.log_softmax(student, dim=1).masked_fill(own, 0)  # 0 times infinity is no number
    return -(F.softmax(teacher.detach(), dim=1) * surprise).sum(1).mean()


def weak(view: View) -> View:
    """The view with its geometry and none of its colours."""
    return replace(view, jitter=(0.0,) * 4, grayscale=0.0, blur=0.0, solarize=0.0)


class ReSSL(Method):
    """How an image resembles many others says what it is. A teacher, an average of the student, says so of a crop whose
    colours are left alone; the student says the same of a distorted one. Nothing is pushed away as a negative.

    Section 3.2: L = -sum_k p_k log q_k, p and q the softmax of the cosines of the image to the teacher's keys of
    earlier images, which a queue keeps: p of the teacher's embedding at temperature t_t, q of the student's at t_s
    (`relational_entropy`). t_t < t_s: the teacher is the sharper one, and its view is cropped and flipped alone
    (weak augmentation). The teacher's momentum rises to 1 on a cosine, as in solo-learn's recipe.

    Departures: keys of the query's own image are none of the others, as of MoCo's negatives here: where images are few
    the queue has some, and an image is most like itself. The queue is no longer than there are images.

    Choose it where colours carry the class, so that a distorted view alone would mislead, and for one GPU: a step costs
    a pass of the student and one of the teacher, and wants no large batch."""

    contrasts_with = "a queue"
    temperature: Tensor
    teacher_temperature: Tensor
    ema_momentum: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        teacher_temperature: float,
        ema_momentum: float,
        queue_length: int,
        projector_hidden: int,
        projector_width: int,
    ):
        if not teacher_temperature < temperature:
            raise ValueError(
                f"ReSSL's teacher_temperature ({teacher_temperature}) must be below its temperature ({temperature}): a "
                "teacher that is not the sharper one teaches nothing."
            )
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("teacher_temperature", teacher_temperature)
        self.scalar("ema_momentum", ema_momentum)
        head = mlp([encoder.width, projector_hidden, projector_width], batch_norm=False)
        self.student = nn.Sequential(encoder, head)
        self.teacher = averaged_copy(self.student)
        self.queue = Queue(queue_length, projector_width)
        view = colour_view(setting, scale=(0.08 if is_small(setting) else 0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1))
        self.views = (weak(view), view)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        length = fitting_length(hyperparameters["queue_length"], batch_size=batch_size, images=images)
        return narrowed(hyperparameters, width, "projector_hidden", "projector_width") | {"queue_length": length}

    def take(self, augmentation: Augmentation) -> None:
        super().take(augmentation)
        teachers, students = self.views
        self.views = (weak(teachers), students)

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        teachers, students = views
        with torch.no_grad():
            keys = self.teacher(teachers)
        others, own = self.queue.contents(), index[:, None] == self.queue.images
        queries = self.student(students)
        loss = relational_entropy(queries, keys, others, self.temperature, self.teacher_temperature, own)
        self.queue.append(keys, index)
        return loss

    def after_step(self, progress: Tensor) -> None:
        update_average(self.teacher, self.student, cosine_to_one(self.ema_momentum, progress))
