"""The one protocol by which every method is judged: nearest neighbours on frozen features."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.evaluation import accuracy, clustering
from algorithms.evaluation.choosing import judged
from algorithms.evaluation.criteria import criteria
from algorithms.evaluation.features import encode, evenly, raw_features
from algorithms.evaluation.metrics import FEATURE_STD, KNN_20, KNN_200, PURITY_20
from algorithms.evaluation.neighbours import neighbours
from algorithms.images.augmentation import Augmentation
from algorithms.images.store import ImageStore

Judge = Callable[[nn.Module], dict[str, float]]
"""What judges a network from images [B, C, S, S] to features, such as an encoder that a training has left or a method's
`judged_encoder`: its figures, by the names of `algorithms.evaluation.metrics`."""

PROTOCOLS = [(200, 0.1), (20, 0.07)]
"""(k, T) of `knn_200` and `knn_20`."""
FEW = 20
"""Queries below whose number their features' spread tells little of the representation."""
SEEN = 10_000
"""Images of which the criteria without labels are told, at most; where fewer have labels, others are encoded too."""


@torch.no_grad()
def knn_predict(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    classes: int,
    protocols: list[tuple[int, float]],
    own: Tensor | None = None,
    groups: Tensor | None = None,
) -> list[Tensor]:
    """The class of each query by a vote of its k nearest bank rows, each vote weighted by exp(cosine / T)
    (Wu 2018, arXiv 1805.01978, section 3.4), for each (k, T) of `protocols`.

    `queries` float32 [Q, D] and `bank` [N, D] have rows of length 1, `labels` is int64 [N]. Where the bank has fewer
    than k rows, all vote; `own` int64 [Q] are the queries' rows of the bank, which do not vote on themselves, nor on
    others of their group where the bank's rows have `groups` int64 [N]. Returns one int64 [Q] for each protocol, -1
    where no row may vote; the neighbours are found once.
    """
    most = min(max(k for k, _ in protocols), len(bank) - (own is not None))
    predictions: list[list[Tensor]] = [[] for _ in protocols]
    for _, near, place in neighbours(queries, bank, most, own=own, groups=groups):
        voters = labels[place]
        for (k, temperature), found in zip(protocols, predictions, strict=True):
            # The nearest has weight 1: a common factor changes no vote, and exp(1 / 0.01) would overflow.
            weight = ((near[:, :k] - near[:, :1]) / temperature).exp()
            votes = torch.zeros(len(near), classes, device=queries.device)
            winner = votes.scatter_add_(1, voters[:, :k], weight).argmax(1)
            found.append(winner if groups is None else winner.masked_fill(near[:, :1].isneginf().any(1), -1))
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

    @property
    def sizes(self) -> tuple[int, int]:
        """Of how many images `figures` wants the features."""
        return len(self.bank), len(self.queries)

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """Accuracies in [0, 1]: `knn_200` (k=200, T=0.1), `knn_20` (k=20, T=0.07), `purity_20` (not of a single query);
        `nmi` and `ari` (`algorithms.evaluation.clustering`); and `feature_std`, the standard deviation of the queries'
        normalised features times sqrt(D): 1 when they are spread evenly over the sphere, 0 when the representation has
        collapsed to a point. Where there are fewer than `FEW` queries, which may be alike, it is that of the queries
        and the bank. Features that are not finite give 0 throughout, and no clusters."""
        return self.figures(encoder, encode(encoder, self.bank), encode(encoder, self.queries))

    @torch.no_grad()
    def figures(self, encoder: nn.Module, bank: Tensor, queries: Tensor) -> dict[str, float]:
        """What a call gives, of features [N, D] that have been computed, rows of length 1."""
        finite = bool(torch.isfinite(queries).all())
        if finite:
            of_200, of_20 = knn_predict(queries, bank, self.bank_labels, self.classes, PROTOCOLS)
        else:
            of_200 = of_20 = torch.full_like(self.query_labels, -1)
        accuracies = {
            **accuracy.figures(KNN_200, of_200, self.query_labels, self.classes),
            **accuracy.figures(KNN_20, of_20, self.query_labels, self.classes),
        }
        if not finite:
            return accuracies | {PURITY_20.name: 0.0, FEATURE_STD.name: 0.0}
        share = purity(queries, self.query_labels)
        return {
            **accuracies,
            **({} if share is None else {PURITY_20.name: share}),
            **clustering.figures(queries, self.query_labels, self.classes),
            FEATURE_STD.name: spread(queries if len(queries) >= FEW else torch.cat([queries, bank])),
        }


@dataclass(frozen=True)
class LeaveOneOut:
    """The protocol among training images, which needs none beside them: labelled ones ask, and all labelled ones but
    the one that asks are the bank. So no image has a vote on itself; a copy of it, which is another image, has one.

    `labels` int64 [N] of all images, -1 for those without one, which neither ask nor vote. `queries` int64 [Q] are
    the places among the labelled images of those that ask. Where there are `groups` int64 [N] of all images, no image
    has a vote on another one of its group, which may be nearly the same: a frame of one video by its neighbour.
    `augmentation` makes the views by which the criteria without labels judge, the same for all trainings; None is
    SimCLR's.
    """

    images: ImageStore
    labels: Tensor
    classes: int
    queries: Tensor
    groups: Tensor | None = None
    augmentation: Augmentation | None = None

    @cached_property
    def encoded(self) -> Tensor:
        """The places of the images that are looked at, int64 [M]: the labelled ones, then as many others as `SEEN`
        leaves room for."""
        labelled, others = (self.labels >= 0).nonzero()[:, 0], (self.labels < 0).nonzero()[:, 0]
        room = max(0, SEEN - len(labelled))
        return torch.cat([labelled, others[evenly(len(others), room, others.device)]])

    @property
    def sizes(self) -> tuple[int]:
        """Of how many images `figures` wants the features."""
        return (len(self.encoded),)

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """`knn_200` and `knn_20` as of `Evaluation`, `feature_std` of the images that are looked at, and the criteria
        without labels (`algorithms.evaluation.criteria`) of at most `SEEN` of them. Where labels are few, also `judged`
        (`algorithms.evaluation.choosing`), by which a search then chooses; where there are none, no kNN. Features that
        are not finite give 0, and no criteria."""
        return self.figures(encoder, raw_features(encoder, self.images, self.encoded))

    @torch.no_grad()
    def figures(self, encoder: nn.Module, features: Tensor) -> dict[str, float]:
        """What a call gives, of features [M, D] of the `encoded` images."""
        labels = self.labels[self.encoded]
        labels = labels[labels >= 0]
        if not torch.isfinite(features).all():
            nothing = (KNN_200, KNN_20, FEATURE_STD) if len(labels) else (FEATURE_STD,)
            zeros = dict.fromkeys((metric.name for metric in nothing), 0.0)
            return zeros | judged(zeros, len(labels))
        rows, seen = F.normalize(features, dim=1), evenly(len(features), SEEN, features.device)
        told = criteria(encoder, self.images, features[seen], self.encoded[seen], self.augmentation)
        found = {FEATURE_STD.name: spread(rows)} | told
        if len(labels):
            bank, truth = rows[: len(labels)], labels[self.queries]
            groups = None if self.groups is None else self.groups[self.encoded][: len(labels)]
            of_200, of_20 = knn_predict(
                bank[self.queries], bank, labels, self.classes, PROTOCOLS, own=self.queries, groups=groups
            )
            found |= {KNN_200.name: _accuracy(of_200, truth), KNN_20.name: _accuracy(of_20, truth)}
        return found | judged(found, len(labels))


def _accuracy(predictions: Tensor, labels: Tensor) -> float:
    return (predictions == labels).float().mean().item()


def spread(rows: Tensor) -> float:
    """The standard deviation of rows of length 1 [N, D], times sqrt(D)."""
    found: float = rows.std(0, correction=0).norm().item()
    return found
