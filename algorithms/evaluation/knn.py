"""The one protocol by which every method is judged: nearest neighbours on frozen features."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from algorithms.evaluation.features import encode
from algorithms.evaluation.metrics import FEATURE_STD, KNN_20, KNN_200, PURITY_20
from algorithms.evaluation.neighbours import neighbours
from algorithms.images.store import ImageStore

FEW = 20
"""Queries below whose number their features' spread tells little of the representation."""


@torch.no_grad()
def knn_predict(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    classes: int,
    protocols: list[tuple[int, float]],
    own: Tensor | None = None,
) -> list[Tensor]:
    """The class of each query by a vote of its k nearest bank rows, each vote weighted by exp(cosine / T)
    (Wu 2018, arXiv 1805.01978, section 3.4), for each (k, T) of `protocols`.

    `queries` float32 [Q, D] and `bank` [N, D] have rows of length 1, `labels` is int64 [N]. Where the bank has fewer
    than k rows, all vote; `own` int64 [Q] are the queries' rows of the bank, which do not vote on themselves. Returns
    one int64 [Q] for each protocol; the neighbours are found once.
    """
    most = min(max(k for k, _ in protocols), len(bank) - (own is not None))
    predictions: list[list[Tensor]] = [[] for _ in protocols]
    for _, near, place in neighbours(queries, bank, most, own=own):
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
    for start, _, place in neighbours(features, features, k, own=torch.arange(len(features), device=features.device)):
        shares.append((labels[place] == labels[start : start + len(place), None]).float().mean(1))
    return torch.cat(shares).mean().item()


@dataclass(frozen=True)
class Evaluation:
    """The protocol, with a bank of images and the queries to judge by it; labels int64 [N]."""

    bank: ImageStore
    bank_labels: Tensor
    queries: ImageStore
    query_labels: Tensor
    classes: int

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """The figures of a network from images [B, 3, S, S] to features, such as an encoder that a training has left or
        a method's `judged_encoder`.

        Accuracies in [0, 1]: `knn_200` (k=200, T=0.1), `knn_20` (k=20, T=0.07), `purity_20` (not of a single query);
        and `feature_std`, the standard deviation of the queries' normalised features times sqrt(D): 1 when they
        are spread evenly over the sphere, 0 when the representation has collapsed to a point. Where there are fewer
        than `FEW` queries, which may be alike, it is that of the queries and the bank."""
        bank, queries = encode(encoder, self.bank), encode(encoder, self.queries)
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
