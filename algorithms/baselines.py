"""What a method must be compared with: no encoder, an untrained one, and one trained with labels."""

import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.method import Method, Setting
from algorithms.parts.views import colour_view


class Pixels(Method):
    """kNN on the pixels themselves."""

    @classmethod
    def build_encoder(cls, name: str, image_size: int) -> nn.Module:
        encoder = nn.Flatten()
        encoder.width, encoder.name = 3 * image_size**2, "none"
        return encoder


class RandomInitialisation(Method):
    """The encoder as it is initialised. It is never trained, since it has no loss."""


class Supervised(Method):
    """The ceiling: the same encoder trained with labels by cross-entropy on crops and flips, for as many epochs."""

    def __init__(self, setting: Setting, encoder: nn.Module):
        super().__init__(setting, encoder)
        if setting.labels is None:
            raise ValueError("The supervised baseline needs labels.")
        self.register_buffer("labels", setting.labels, persistent=False)
        self.classifier = nn.Linear(encoder.width, int(setting.labels.max()) + 1)
        self.views = (colour_view(setting, scale=(0.5, 1.0), jitter=(0.0,) * 4, grayscale=0.0, blur=0.0),)

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        # Images without a label (-1) are passed over.
        return F.cross_entropy(self.classifier(self.encoder(views[0])).float(), self.labels[index], ignore_index=-1)
