"""FastSiam: Pototzky, Sultan and Schmidt-Thieme 2022, https://doi.org/10.1007/978-3-031-16788-1_4 (GCPR)."""

import torch
from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Setting
from algorithms.parts.losses import negative_cosine
from algorithms.simsiam import SimSiam


class FastSiam(SimSiam):
    """SimSiam's target is the projection of a single view, and changes with the crop that happens to be taken. Here
    it is the mean over several views: a steadier target, from which fewer steps and smaller batches learn as much. A
    step costs as much more as there are views.

    L = sum_i D(p_i, stop(mean of z_j, j not i)) / V over V views, D the negative cosine, p = h(z), z the projection:
    SimSiam's eq. 4 where V is 2. Heads, views and the predictor's constant learning rate are SimSiam's.

    Departures: every view predicts the mean of all others, as in lightly; no code of the authors is known to us to
    compare.

    Choose it for short trainings with batches of 32 to 128 images. In batches of 512 it gains little over SimSiam
    (lightly's table for CIFAR-10), at the cost of more views."""

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        view_count: int,
        projector_hidden: int,
        projector_width: int,
        predictor_hidden: int,
    ):
        super().__init__(
            setting,
            encoder,
            projector_hidden=projector_hidden,
            projector_width=projector_width,
            predictor_hidden=predictor_hidden,
        )
        self.views = self.views[:1] * view_count

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        z = [self.projector(self.encoder(view)) for view in views]
        total = torch.stack(z).sum(0)
        losses = [negative_cosine(self.predictor(own), (total - own).detach()) for own in z]
        return torch.stack(losses).mean()
