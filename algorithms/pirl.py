"""PIRL: Misra and van der Maaten 2019, arXiv 1912.01991."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder, whole_patches
from algorithms.images.augment import recoloured
from algorithms.images.augmentation import Augmentation
from algorithms.images.statistics import Normaliser
from algorithms.images.view import View
from algorithms.method import Batches, Method, Setting
from algorithms.parts.heads import narrowed
from algorithms.parts.memory import MemoryBank
from algorithms.parts.precision import full_precision
from algorithms.parts.views import is_small


@full_precision
def noise_contrastive(
    output: Tensor, positive: Tensor, negatives: Tensor, own: Tensor, temperature: Tensor | float
) -> Tensor:
    """Eq. 5: -log h(positive) - sum over the negatives of log(1 - h(negative)), where h (eq. 4) of a memory is
    exp(cos(output, memory) / t) over the sum of that for the positive and all negatives.

    `output` [B, D] is the network's, normalised here; `positive` [B, D] and `negatives` [K, D] are of length 1.
    `own` bool [B, K] is true where a negative is of the row's own image: it is left out. Mean over the batch, [].
    """
    output = F.normalize(output, dim=1)
    scores = (output @ negatives.T).masked_fill(own, float("-inf"))
    scores = torch.cat([(output * positive).sum(1, keepdim=True), scores], 1) / temperature
    log_h = F.log_softmax(scores, dim=1)
    # Below 1 by what float32 can tell from 1, so that a negative that takes all does not make the loss infinite.
    others = torch.log1p(-log_h[:, 1:].exp().clamp(max=1 - 1e-6))
    return -(log_h[:, 0] + others.sum(1)).mean()


def cut(view: Tensor, grid: int, patch: int) -> Tensor:
    """One random patch of side `patch` from each cell of a grid x grid division of `view` [B, C, H, H], another place
    in every cell of every image: [B, grid * grid, C, patch, patch], row by row (section 3.3)."""
    batch, channels, side, _ = view.shape
    cell = side // grid
    along = torch.arange(patch, device=view.device)

    def places(start: Tensor) -> Tensor:
        """The patches' pixels along one axis: [B, cells, patch], `start` [cells] being where cells begin."""
        shift = torch.randint(cell - patch + 1, (batch, grid * grid, 1), device=view.device)
        return start[:, None] + shift + along

    number = torch.arange(grid * grid, device=view.device)
    rows, columns = places(number // grid * cell), places(number % grid * cell)
    place = (rows[..., :, None] * side + columns[..., None, :]).flatten(1)
    pixels = view.flatten(2).gather(2, place[:, None].expand(-1, channels, -1))
    return pixels.view(batch, channels, grid * grid, patch, patch).transpose(1, 2)


class PIRL(Method):
    """An image and a jigsaw of its patches, shuffled, are both to be alike to what a memory holds of the image, and
    unlike what it holds of others. The network learns features that say what an image is, whatever was done to it.

    Eq. 6, lambda being `jigsaw_weight`, NCE (`noise_contrastive`) that of eq. 4-5:

        L = lambda NCE(m_I, g(v_It)) + (1 - lambda) NCE(m_I, f(v_I))

    m_I is the image's vector in a memory bank, f a linear head on the encoding of the image. The jigsaw It is the
    image's patches, each encoded by itself; g projects each, concatenates them in a random order and projects again.
    The bank follows f(v_I) after the loss (section 3.2). Negatives are drawn from the bank, the same for the whole
    batch.

    Departures: the bank begins with embeddings, where the paper's vectors are random at first.

    Choose it where what counts in an image is its parts rather than its colours, and one vector an image fits in
    memory. Batches may be small. Each image must be seen several times before the bank is worth much."""

    contrasts_with = "a bank"
    temperature: Tensor
    bank_momentum: Tensor
    jigsaw_weight: Tensor
    images_mean: Tensor
    images_std: Tensor
    images_scale: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        negatives: int,
        bank_momentum: float,
        jigsaw_weight: float,
        projector_width: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.scalar("bank_momentum", bank_momentum)
        self.scalar("jigsaw_weight", jigsaw_weight)
        small = is_small(setting)
        self.grid = 2 if small else 3
        side = setting.image_size // 2 if small else setting.image_size * 64 / 224
        self.patch = whole_patches(side, encoder)
        self.negatives = negatives
        self.image_head = nn.Linear(encoder.width, projector_width)
        self.patch_head = nn.Linear(encoder.width, projector_width)
        self.jigsaw_head = nn.Linear(projector_width * self.grid**2, projector_width)
        self.bank = MemoryBank(setting.images, projector_width)
        # The paper cuts patches of 64 px from cells of 85 px, of a crop that holds 0.6 or more of the image.
        board = self.grid * round(self.patch * 85 / 64)
        colours: dict[str, Any] = {"jitter": (0.4, 0.4, 0.4, 0.2), "jitter_probability": 1.0}
        plain: dict[str, Any] = {"flip": 0.0, "jitter_probability": 0.0, "grayscale": 0.0}
        self.views = (View(setting.image_size, **colours), View(board, scale=(0.6, 1.0), **plain))
        self.patch_view = View(self.patch, scale=None, **colours)
        for name, value in setting.statistics.on("cpu")._asdict().items():
            self.register_buffer(f"images_{name}", value, persistent=False)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        negatives = min(hyperparameters["negatives"], images)
        return narrowed(hyperparameters, width, "projector_width") | {"negatives": negatives}

    def take(self, augmentation: Augmentation) -> None:
        """The board's crop stays the paper's. Its patches are flipped, turned and coloured each by itself, as ever, and
        count as the second view."""
        self.views = (augmentation.view(self.views[0], first=True), self.views[1])
        self.patch_view = augmentation.view(self.patch_view, first=False)

    def before_epoch(self, epoch: int, batches: Batches) -> None:
        """Fill the bank with the first embeddings: from random directions a short training would learn little but to
        forget them. Batch norm is in train mode, as in the steps that follow."""
        if epoch == 0:
            with torch.no_grad():
                for index, images in batches():
                    self.bank.update(index, self.image_head(self.encoder(images)), 0.0)

    def jigsaw(self, view: Tensor) -> Tensor:
        """g(v_It): [B, projector_width]."""
        patches = cut(view, self.grid, self.patch)
        batch, count = patches.shape[:2]
        # vissl flips and colours every patch by itself: by their colours alone they would be known to belong together.
        normaliser = Normaliser(self.images_mean, self.images_std, self.images_scale)
        patches = recoloured(patches.flatten(0, 1), self.patch_view, normaliser)
        encoded = self.patch_head(self.encoder(patches)).view(batch, count, -1)
        order = torch.rand(batch, count, device=view.device).argsort(1)
        shuffled = encoded.gather(1, order[..., None].expand_as(encoded))
        projected: Tensor = self.jigsaw_head(shuffled.flatten(1))
        return projected

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        image, board = views
        of_image, of_jigsaw = self.image_head(self.encoder(image)), self.jigsaw(board)
        drawn = torch.randint(len(self.bank.vectors), (self.negatives,), device=index.device)
        memories = (self.bank[index], self.bank[drawn], index[:, None] == drawn, self.temperature)
        loss = self.jigsaw_weight * noise_contrastive(of_jigsaw, *memories)
        loss = loss + (1 - self.jigsaw_weight) * noise_contrastive(of_image, *memories)
        self.bank.update(index, of_image, self.bank_momentum)
        return loss
