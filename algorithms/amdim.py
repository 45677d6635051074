"""AMDIM: Bachman, Hjelm and Buchwalter 2019, arXiv 1906.00910."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders import EncoderFactory, check_encoder
from algorithms.encoders.encoder import Encoder
from algorithms.encoders.patches import PatchTrunk, Residual, patch_block
from algorithms.method import Method, Setting
from algorithms.parts.precision import full_precision
from algorithms.parts.views import infomax_view, is_shifted


class AMDIMEncoder(Encoder):
    """The authors' encoder: local features of 7x7 and 5x5 places, of which none has seen the whole image, and one
    global feature."""

    def __init__(self, image_size: int, channels: int, *, width: int, features: int, depth: int):
        super().__init__()
        self.local_width, self.width, self.name = width, features, f"amdim_{width}_{features}"
        self.trunk = PatchTrunk(image_size, channels, width, depth)
        self.to_5 = nn.Sequential(*patch_block(width, width, 3, 1, depth))
        last = [Residual(width, features, 3), nn.BatchNorm2d(features)]
        self.to_1 = nn.Sequential(*patch_block(width, width, 3, 1, depth), *last)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The global feature [B, width] and the maps [B, local_width, 5, 5] and [B, local_width, 7, 7]."""
        seven = self.trunk(images)
        five = self.to_5(seven)
        return self.to_1(five).flatten(1), five, seven

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[0]


class LocalHead(nn.Module):
    """1x1 convolutions from a map to the space in which features are compared: a linear path that starts near the
    identity, a hidden one that starts at zero, and batch norm on their sum, the only one besides the encoder's last."""

    def __init__(self, narrow: int, wide: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(narrow, wide, 1, bias=False), nn.Conv2d(wide, wide, 1, bias=False)
        self.shortcut, self.norm = nn.Conv2d(narrow, wide, 1), nn.BatchNorm2d(wide)
        nn.init.zeros_(self.second.weight)
        nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
        with torch.no_grad():
            self.shortcut.weight.flatten(1).fill_diagonal_(1)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.second(F.relu(self.first(x))) + self.shortcut(x))
        return normed


@full_precision
def multiscale_nce(sources: Tensor, targets: Tensor, clip: Tensor | float) -> tuple[Tensor, Tensor]:
    """Eq. 2 with the scores of section 3.2: one source [B, D] an image predicts each of the L places of its targets
    [B, D, L]. The score of a source and a target is s = source.target / sqrt(D), clipped softly to
    clip * tanh(s / clip). The negatives of a place are all places of the other images; the other places of its own
    image are in no sum. Returns the loss [], mean over images and places, and the mean of s squared [], before
    clipping, which regularises."""
    batch, width = sources.shape
    scores = torch.einsum("id,jdl->ijl", sources, targets) / width**0.5
    clipped = clip * torch.tanh(scores / clip)
    own = torch.eye(batch, dtype=torch.bool, device=sources.device)
    positive = clipped.diagonal().T
    negative = clipped.masked_fill(own[:, :, None], float("-inf")).flatten(1).logsumexp(1, keepdim=True)
    return (torch.logaddexp(positive, negative) - positive).mean(), scores.square().mean()


class AMDIM(Method):
    """What is said of the whole of one view is to tell apart, among the places of many other images, the places of the
    other view: global and local features of an image have information in common. It needs an encoder of which no place
    has seen the whole image, and has one of its own.

    Section 3.4: the global feature of one view predicts the local features of the other (1 -> 5 and 1 -> 7), and one
    local feature, at a random place, predicts those at all places (5 -> 5); the sum of the three losses
    (`multiscale_nce`: eq. 2 with the scores of section 3.2), mean over both directions, and `score_weight` times the
    squared scores.

    Choose it where its own encoder will do and short trainings on small images are all there is: it learns much within
    few epochs. What it leaves is that encoder, which no library loads."""

    contrasts_with = "the batch"
    shared_flip = True
    encoder: AMDIMEncoder
    score_clip: Tensor
    score_weight: Tensor

    def __init__(self, setting: Setting, encoder: AMDIMEncoder, *, score_clip: float, score_weight: float):
        super().__init__(setting, encoder)
        self.scalar("score_clip", score_clip)
        self.scalar("score_weight", score_weight)
        self.head_5 = LocalHead(encoder.local_width, encoder.width)
        self.head_7 = LocalHead(encoder.local_width, encoder.width)
        self.views = (infomax_view(setting),) * 2

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> AMDIMEncoder:
        """The authors' encoder in their default, small setting, or an eighth as wide where a small one is asked for: an
        encoder whose padded convolutions see most of the image everywhere breaks the premise."""
        check_encoder(encoder)
        small = encoder in ("resnet8", "regnet_y_tiny")
        sizes = {"width": 64, "features": 128, "depth": 1} if small else {"width": 512, "features": 1024, "depth": 3}
        return AMDIMEncoder(image_size, channels, **sizes)

    @classmethod
    def unaffected_by(cls, image_size: int) -> frozenset[str]:
        return frozenset({"least_crop"} if is_shifted(image_size) else ())

    def maps(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features to compare: [B, D], [B, D, 25], [B, D, 49]."""
        one, five, seven = self.encoder.maps(view)
        return one, self.head_5(five).flatten(2), self.head_7(seven).flatten(2)

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        maps = [self.maps(view) for view in views]
        losses, squares = [], []
        for (one, five, _), (_, other_five, other_seven) in (maps, maps[::-1]):
            place = torch.randint(five.shape[2], (len(five), 1, 1), device=five.device)
            local = five.gather(2, place.expand(-1, five.shape[1], 1))[:, :, 0]
            for source, target in ((one, other_five), (one, other_seven), (local, other_five)):
                loss, square = multiscale_nce(source, target, self.score_clip)
                losses.append(loss)
                squares.append(square)
        return (torch.stack(losses).sum() + self.score_weight * torch.stack(squares).sum()) / 2
