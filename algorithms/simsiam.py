"""SimSiam: Chen and He 2020, arXiv 2011.10566."""

from typing import Any

from torch import Tensor

from algorithms.encoders.encoder import Encoder
from algorithms.method import Method, Setting
from algorithms.parts.heads import mlp, narrowed
from algorithms.parts.losses import negative_cosine
from algorithms.parts.views import colour_view, is_small


class SimSiam(Method):
    """BYOL without its teacher: a predictor on one view is to say what the very same network says of the other one, and
    no gradient passes through that other one. This stop of the gradient alone keeps the network from saying the same of
    all images.

    Eq. 4, D the negative cosine, p = h(z) the prediction, z the projection:

        L = D(p1, stop(z2)) / 2 + D(p2, stop(z1)) / 2

    The projector has three layers (section 3), for small images two (appendix D), and the predictor's learning rate
    does not decay (section 4.2).

    Choose it where neither a teacher nor large batches fit, and the training is long. It is slow to begin: at 200
    epochs of CIFAR-10 others published it far behind, at 800 among the best."""

    constant_learning_rate = ("predictor",)

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        projector_hidden: int,
        projector_width: int,
        predictor_hidden: int,
    ):
        super().__init__(setting, encoder)
        hidden = [projector_hidden] * (1 if is_small(setting) else 2)
        # The last norm has no scale and shift, as in the authors' code.
        self.projector = mlp([encoder.width, *hidden, projector_width], last_batch_norm="plain")
        self.predictor = mlp([projector_width, predictor_hidden, projector_width])
        self.views = (colour_view(setting, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1)),) * 2

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        found = narrowed(hyperparameters, width, "projector_hidden", "projector_width")
        # The predictor is a bottleneck (section 3), also where a small encoder narrows the projector.
        return found | {"predictor_hidden": min(found["predictor_hidden"], found["projector_width"] // 2)}

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = (self.projector(self.encoder(view)) for view in views)
        predicted_first, predicted_second = self.predictor(first), self.predictor(second)
        return (
            negative_cosine(predicted_first, second.detach()) + negative_cosine(predicted_second, first.detach())
        ) / 2
