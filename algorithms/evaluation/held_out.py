"""What judges an encoder by images that were held out where none has a label."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.evaluation.criteria import criteria
from algorithms.evaluation.features import evenly, raw_features
from algorithms.evaluation.knn import FEW, SEEN, spread
from algorithms.evaluation.metrics import FEATURE_STD, INSTANCE_ACCURACY
from algorithms.images.augmentation import Augmentation
from algorithms.images.store import ImageStore


@dataclass(frozen=True)
class HeldOut:
    """The criteria without labels, of at most `SEEN` of the images. `augmentation` as of `LeaveOneOut`."""

    images: ImageStore
    augmentation: Augmentation | None = None

    @cached_property
    def encoded(self) -> Tensor:
        """The places of the images that are looked at, int64 [M]."""
        return evenly(len(self.images), SEEN, self.images.device)

    @property
    def sizes(self) -> tuple[int]:
        """Of how many images `figures` wants the features."""
        return (len(self.encoded),)

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """`algorithms.evaluation.criteria`, and `feature_std` as of the kNN (not of fewer than `FEW` images, which may
        be alike). Features that are not finite give an `instance_accuracy` and a `feature_std` of 0, and no others."""
        return self.figures(encoder, raw_features(encoder, self.images, self.encoded))

    @torch.no_grad()
    def figures(self, encoder: nn.Module, features: Tensor) -> dict[str, float]:
        """What a call gives, of features [M, D] of the `encoded` images."""
        nothing = {INSTANCE_ACCURACY.name: 0.0}
        if not torch.isfinite(features).all():
            return nothing | {FEATURE_STD.name: 0.0}
        told = {} if len(features) < FEW else {FEATURE_STD.name: spread(F.normalize(features, dim=1))}
        return nothing | told | criteria(encoder, self.images, features, self.encoded, self.augmentation)
