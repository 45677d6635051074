"""AMDIM: Bachman, Hjelm and Buchwalter 2019, arXiv 1906.00910."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.augment import View
from algorithms.encoders import check_encoder
from algorithms.method import Method, Setting
from algorithms.precision import full_precision


class Residual(nn.Module):
    """A convolution without padding, ReLU, and a 1x1 convolution that starts at zero, added to the mean of the input
    under the kernel, whose missing channels are zero (appendix A; no batch norm)."""

    def __init__(self, narrow: int, wide: int, kernel: int, stride: int = 1):
        super().__init__()
        self.first = nn.Conv2d(narrow, wide, kernel, stride, bias=False)
        self.second = nn.Conv2d(wide, wide, 1, bias=False)
        nn.init.zeros_(self.second.weight)
        self.pool = nn.AvgPool2d(kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(F.relu(self.first(x)))
        return out + F.pad(self.pool(x), (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))


def block(narrow: int, wide: int, kernel: int, stride: int, depth: int) -> list[nn.Module]:
    """One convolution that looks at its neighbours, and depth - 1 that do not."""
    return [Residual(narrow, wide, kernel, stride), *(Residual(wide, wide, 1) for _ in range(depth - 1))]


class PatchTrunk(nn.Sequential):
    """A 7x7 map whose every position has seen one of 7x7 patches, each a quarter of the image's side and half
    overlapping the next (8x8 px, stride 4, in a 32 px image; the authors' encoder up to its local features). Nothing
    is padded and no norm mixes positions, so that a patch is encoded as if it were alone. The map has `width` channels
    whatever the image.

    Images of other sides than 16, 32, 64 and 128 are resized to the nearest of them, as the authors do ImageNet."""

    def __init__(self, image_size: int, width: int, depth: int):
        image_side = side = 2 ** min(max(round(math.log2(image_size)), 4), 7)
        width = width * 8 // side  # doubled each time that the map is halved
        layers = [nn.Conv2d(3, width, 3), nn.ReLU(inplace=True), Residual(width, width, 1)]
        side -= 2
        while side > 7:
            kernel = 2 if side == 14 else 4
            layers += block(width, 2 * width, kernel, 2, depth)
            width, side = 2 * width, (side - kernel) // 2 + 1
        super().__init__(*layers)
        self.image_side = image_side

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, width, 7, 7]."""
        if images.shape[-1] != self.image_side:
            images = F.interpolate(images, size=self.image_side, mode="bilinear", antialias=True)
        return super().forward(images)


class AMDIMEncoder(nn.Module):
    """The authors' encoder: local features of 7x7 and 5x5 places, of which none has seen the whole image, and one
    global feature."""

    def __init__(self, image_size: int, *, width: int, features: int, depth: int):
        super().__init__()
        self.local_width, self.width = width, features
        self.trunk = PatchTrunk(image_size, width, depth)
        self.to_5 = nn.Sequential(*block(width, width, 3, 1, depth))
        last = [Residual(width, features, 3), nn.BatchNorm2d(features)]
        self.to_1 = nn.Sequential(*block(width, width, 3, 1, depth), *last)

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
        return self.norm(self.second(F.relu(self.first(x))) + self.shortcut(x))


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


def infomax_view(setting: Setting) -> View:
    """The authors' augmentation: flip, shift by an eighth, jitter (0.4, 0.4, 0.4, 0.2), greyscale 0.25, and no crop
    up to 32 px; above, a crop of at least 0.3 of the image."""
    size = setting.image_size
    geometry = {"translate": size // 8} if size <= 32 else {"scale": (0.3, 1.0), "ratio": (0.7, 1.4)}
    return View(size, **geometry, jitter=(0.4, 0.4, 0.4, 0.2), grayscale=0.25)


class AMDIM(Method):
    """Section 3.4: the global feature of one view predicts the local features of the other (1 -> 5 and 1 -> 7), and
    one local feature, at a random place, predicts those at all places (5 -> 5); the sum of the three losses, mean
    over both directions, and `score_weight` times the squared scores."""

    shared_flip = True

    def __init__(self, setting: Setting, encoder: nn.Module, *, score_clip: float, score_weight: float):
        super().__init__(setting, encoder)
        self.scalar("score_clip", score_clip)
        self.scalar("score_weight", score_weight)
        self.head_5 = LocalHead(encoder.local_width, encoder.width)
        self.head_7 = LocalHead(encoder.local_width, encoder.width)
        self.views = (infomax_view(setting),) * 2

    @classmethod
    def build_encoder(cls, name: str, image_size: int) -> nn.Module:
        """The authors' encoder in their default, small setting, or an eighth as wide where a small one is asked for: an
        encoder whose padded convolutions see most of the image everywhere breaks the premise."""
        check_encoder(name)
        small = name in ("resnet8", "regnet_y_tiny")
        sizes = {"width": 64, "features": 128, "depth": 1} if small else {"width": 512, "features": 1024, "depth": 3}
        encoder = AMDIMEncoder(image_size, **sizes)
        encoder.name = f"amdim_{sizes['width']}_{sizes['features']}"
        return encoder

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
