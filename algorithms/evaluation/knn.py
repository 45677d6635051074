"""The one protocol by which every method is judged: nearest neighbours on frozen features."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.evaluation.metrics import FEATURE_STD, KNN_20, KNN_200, PURITY_20
from algorithms.evaluation.neighbours import neighbours
from algorithms.method import Method
from algorithms.training import precision
from algorithms.training.augment import unaugmented

FEW = 20
"""Queries below whose number their features' spread tells little of the representation."""


@torch.no_grad()
def knn_predict(
    queries: Tensor, bank: Tensor, labels: Tensor, classes: int, protocols: list[tuple[int, float]]
) -> list[Tensor]:
    """The class of each query by a vote of its k nearest bank rows, each vote weighted by exp(cosine / T)
    (Wu 2018, arXiv 1805.01978, section 3.4), for each (k, T) of `protocols`.

    `queries` float32 [Q, D] and `bank` [N, D] have rows of length 1, `labels` is int64 [N]. Where the bank has fewer
    than k rows, all vote. Returns one int64 [Q] for each protocol; the neighbours are found once.
    """
    most = min(max(k for k, _ in protocols), len(bank))
    predictions: list[list[Tensor]] = [[] for _ in protocols]
    for _, near, place in neighbours(queries, bank, most):
        voters = labels[place]
        for (k, temperature), found in zip(protocols, predictions, strict=True):
            # The nearest has weight 1: a common factor changes no vote, and exp(1 / 0.01) would overflow.
            weight = ((near[:, :k] - near[:, :1]) / temperature).exp()
            votes = torch.zeros(len(near), classes, device=queries.device)
            found.append(votes.scatter_add_(1, voters[:, :k], weight).argmax(1))
    return [torch.cat(found) for found in predictions]


@torch.no_grad()
def purity(features: Tensor, labels: Tensor, k: int = 20) -> float | None:
    """The share of each row's k nearest other rows (cosine) that have its label, mean over the rows; None where there
    is no other row.

    `features` float32 [N, D] has rows of length 1. This is what some tables call "KNN accuracy".
    """
    k = min(k, len(features) - 1)
    if k < 1:
        return None
    shares = []
    for start, _, place in neighbours(features, features, k, others=True):
        shares.append((labels[place] == labels[start : start + len(place), None]).float().mean(1))
    return torch.cat(shares).mean().item()


@dataclass(frozen=True)
class Evaluation:
    """A bank and the queries to judge by it: uint8 pixels packed by `augment.pack`, labels int64."""

    bank: Tensor
    bank_labels: Tensor
    queries: Tensor
    query_labels: Tensor
    classes: int
    batch_size: int = 1024

    @torch.no_grad()
    def features(self, method: Method, pixels: Tensor) -> Tensor:
        """The method's features of `pixels`, eval mode, un-augmented: float32 [N, D], rows of length 1."""
        training = method.training
        method.eval()
        bfloat16 = precision.computes_bfloat16(pixels.device)
        rows = []
        for index in torch.arange(len(pixels), device=pixels.device).split(self.batch_size):
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bfloat16):
                found = method.features(unaugmented(pixels, index))
            rows.append(F.normalize(found.float().flatten(1), dim=1))
        method.train(training)
        return torch.cat(rows)

    def __call__(self, method: Method) -> dict[str, float]:
        """Accuracies in [0, 1]: `knn_200` (k=200, T=0.1), `knn_20` (k=20, T=0.07), `purity_20` (not of a single query);
        and `feature_std`, the standard deviation of the queries' normalised features times sqrt(D): 1 when they
        are spread evenly over the sphere, 0 when the representation has collapsed to a point. Where there are fewer
        than `FEW` queries, which may be alike, it is that of the queries and the bank."""
        bank, queries = self.features(method, self.bank), self.features(method, self.queries)
        if not torch.isfinite(queries).all():
            return dict.fromkeys((metric.name for metric in (KNN_200, KNN_20, PURITY_20, FEATURE_STD)), 0.0)
        judged = queries if len(queries) >= FEW else torch.cat([queries, bank])
        of_200, of_20 = knn_predict(queries, bank, self.bank_labels, self.classes, [(200, 0.1), (20, 0.07)])
        share = purity(queries, self.query_labels)
        return {
            KNN_200.name: (of_200 == self.query_labels).float().mean().item(),
            KNN_20.name: (of_20 == self.query_labels).float().mean().item(),
            **({} if share is None else {PURITY_20.name: share}),
            FEATURE_STD.name: (judged.std(0, correction=0).square().sum()).sqrt().item(),
        }
