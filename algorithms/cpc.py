"""CPC: van den Oord, Li and Vinyals 2018, arXiv 1807.03748, with the loss and the layer norm of CPC v2: Henaff et al.
2019, arXiv 1905.09272."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders import EncoderFactory, check_encoder
from algorithms.encoders.encoder import Encoder
from algorithms.encoders.patches import PatchTrunk, patch_block
from algorithms.method import Method, Setting
from algorithms.parts.heads import narrowed
from algorithms.parts.precision import full_precision
from algorithms.parts.views import infomax_view, is_shifted


class CPCEncoder(Encoder):
    """A 6x6 grid of patches, three eighths of the image's side and an eighth apart (CPC v2: 80 of 260 px, 36 apart),
    each encoded as if it were alone, and layer norm of each encoding: no batch norm, whose statistics would tell a
    patch of the others (CPC v2, section 4.1). An image's feature is the mean of its encodings."""

    def __init__(self, image_size: int, channels: int, *, width: int, depth: int):
        super().__init__()
        self.width, self.name = width, f"cpc_{width}"
        trunk = PatchTrunk(image_size, channels, width, depth)
        self.trunk = nn.Sequential(trunk, *patch_block(width, width, 2, 1, depth))
        self.norm = nn.LayerNorm(width)

    def grid(self, images: Tensor) -> Tensor:
        """The encodings [B, width, 6, 6] of the patches."""
        encodings: Tensor = self.norm(self.trunk(images).movedim(1, 3))
        return F.relu(encodings).movedim(3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.grid(images).mean((2, 3))


class ContextBlock(nn.Module):
    """A residual block, a quarter as wide inside, that sees the row of a place and the row above (CPC v2, appendix,
    "pixelCNN")."""

    def __init__(self, width: int):
        super().__init__()
        hidden = width // 4
        self.reduce = nn.Conv2d(width, hidden, 1)
        self.along = nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1))
        self.down = nn.Conv2d(hidden, hidden, (2, 1))
        self.expand = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.along(F.relu(self.reduce(x)))
        out = self.down(F.pad(out, (0, 0, 1, 0)))
        expanded: Tensor = self.expand(F.relu(out))
        return x + expanded


@full_precision
def predictive_nce(predicted: Tensor, targets: Tensor, offset: int, scale: Tensor | float) -> Tensor:
    """CPC v2, eq. 1: at each place the prediction for `offset` rows below is to find the target that is there among
    the targets at all places of all images of the batch, by softmax over `scale` times the inner products.

    `predicted` [B, D, rows - offset, columns] are the predictions from the rows above, `targets` [B, D, rows, columns].
    Mean over predictions, []."""
    batch, width, rows, columns = targets.shape
    candidates = targets.movedim(1, 3).reshape(-1, width)
    logits = scale * (predicted.movedim(1, 3).reshape(-1, width) @ candidates.T)
    place = torch.arange(batch * rows * columns, device=targets.device).view(batch, rows, columns)
    return F.cross_entropy(logits, place[:, offset:].flatten())


class CPC(Method):
    """From the upper rows of an image's patches the network predicts the rows further below, and is to find the true
    patch among those of all images of the batch. It needs an encoder that sees each patch as if it were alone, and has
    one of its own.

    The sum over k of `predictive_nce` of W_k c_r for row r + k (CPC v2, section 3.1 and eq. 1): c_r is a context that
    has seen the rows up to r. Rows less than 3 below share pixels with it and are not predicted.

    Departures: of CPC v2 it lacks the predictions from below and from the sides, and the colours that are dropped from
    each patch by itself; the augmentation is AMDIM's, as in Lightning Bolts.

    Choose it where order in the image matters and one view must do; for most images later methods reach more with the
    same compute, with an encoder of your choice."""

    contrasts_with = "the batch"
    encoder: CPCEncoder
    logit_scale: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: CPCEncoder,
        *,
        prediction_rows: int,
        target_width: int,
        context_blocks: int,
        logit_scale: float,
    ):
        super().__init__(setting, encoder)
        self.scalar("logit_scale", logit_scale)
        self.offsets = range(3, prediction_rows + 1)
        self.context = nn.Sequential(*(ContextBlock(encoder.width) for _ in range(context_blocks)), nn.ReLU())
        self.targets = nn.Conv2d(encoder.width, target_width, 1)
        self.predictors = nn.ModuleList(nn.Conv2d(encoder.width, target_width, 1) for _ in self.offsets)
        self.views = (infomax_view(setting),)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        # Of the six rows of patches, the last is five below the first.
        rows = min(hyperparameters["prediction_rows"], 5)
        return narrowed(hyperparameters, width, "target_width") | {"prediction_rows": rows}

    @classmethod
    def unaffected_by(cls, image_size: int) -> frozenset[str]:
        # There is no second view, which would be solarised.
        return frozenset({"solarize_probability", *(("least_crop",) if is_shifted(image_size) else ())})

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> CPCEncoder:
        """An encoder of patches, small where a small one is asked for: in any other, places see their neighbours."""
        check_encoder(encoder)
        small = encoder in ("resnet8", "regnet_y_tiny")
        sizes = {"width": 128, "depth": 2} if small else {"width": 512, "depth": 3}
        return CPCEncoder(image_size, channels, **sizes)

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        grid = self.encoder.grid(views[0])
        context, targets = self.context(grid), self.targets(grid)
        losses = [
            predictive_nce(predictor(context[:, :, :-offset]), targets, offset, self.logit_scale)
            for offset, predictor in zip(self.offsets, self.predictors, strict=True)
        ]
        return torch.stack(losses).sum()
