"""Decoupled contrastive learning: Yeh, Hong, Hsu, Liu, Chen and LeCun 2021, arXiv 2110.06848."""

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.parts.precision import full_precision
from algorithms.simclr import SimCLR


@full_precision
def decoupled(first: Tensor, second: Tensor, temperature: Tensor | float) -> Tensor:
    """The paper's DCL loss over the 2B views of `first` and `second`, each [B, D], mean over them, []:
    -s_ij / t + log sum_k exp(s_ik / t), s the cosine, j the other view of i's image, k the 2B - 2 views of others."""
    z = F.normalize(torch.cat([first, second]), dim=1)
    logits = z @ z.T / temperature
    image = torch.arange(len(first), device=z.device).repeat(2)
    negatives = logits.masked_fill(image[:, None] == image, float("-inf"))
    return negatives.logsumexp(1).mean() - logits.diagonal(len(first)).mean()


class DCL(SimCLR):
    """SimCLR tells a view of an image from the other images of the batch. Its softmax has the positive pair among
    what it is told from: where the pair is alike already and the batch is small, little is left to learn from. Here
    the pair is left out, and small batches learn as well as large ones.

    Section 3: L = -s_ij / t + log sum_k exp(s_ik / t), where k runs over the 2N - 2 views of other images, s the
    cosine of projections and t the temperature. Heads and views are SimCLR's.

    Departures: the paper's weighting of positive pairs by a von Mises-Fisher density (DCLW) is left out: it is
    worse than DCL in every row of lightly's tables.

    Choose it as you would SimCLR, where memory holds small batches only. In lightly's tables it is better than SimCLR
    on ImageNet, with 256 images a batch, and alike on CIFAR-10, with 128 and with 512."""

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        first, second = self.projector(self.encoder(torch.cat(views))).chunk(2)
        return decoupled(first, second, self.temperature)
