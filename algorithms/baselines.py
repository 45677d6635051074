"""What a method must be compared with: no encoder, an untrained one, and one trained with labels."""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders import EncoderFactory
from algorithms.encoders.encoder import Encoder, as_encoder
from algorithms.encoders.transformer import VisionTransformer
from algorithms.images.augmentation import Augmentation
from algorithms.method import Method, Setting
from algorithms.parts.views import colour_view


class Pixels(Method):
    """kNN on the pixels themselves."""

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> Encoder:
        return as_encoder(nn.Flatten(), "none", image_size, channels)


class RandomInitialisation(Method):
    """The encoder as it is initialised. It is never trained, since it has no loss."""


class Supervised(Method):
    """The ceiling: the same encoder trained with labels by cross-entropy on crops and flips, for as many epochs. A ViT
    drops paths."""

    labels: Tensor

    def __init__(self, setting: Setting, encoder: Encoder, *, drop_path: float = 0.0):
        super().__init__(setting, encoder)
        if setting.labels is None:
            raise ValueError("The supervised baseline needs labels.")
        if isinstance(encoder, VisionTransformer):
            encoder.drop_paths(drop_path)
        self.register_buffer("labels", setting.labels, persistent=False)
        self.classifier = nn.Linear(encoder.width, int(setting.labels.max()) + 1)
        self.views = (colour_view(setting, scale=(0.5, 1.0), jitter=(0.0,) * 4, grayscale=0.0, blur=0.0),)

    def take(self, augmentation: Augmentation) -> None:
        """Only whether images are mirrored: a mirrored letter is another one or none, and a ceiling that has learnt
        from such would be too low. All else stays, so that the ceiling is the same whatever methods search."""
        self.views = tuple(replace(view, flip=augmentation.horizontal_flip_probability) for view in self.views)

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        # Images without a label (-1) are passed over; where labels are few, a step may have no others.
        labels = self.labels[index]
        logits = self.classifier(self.encoder(views[0])).float()
        return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / (labels >= 0).sum().clamp(min=1)
