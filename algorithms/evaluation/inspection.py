"""What can be looked at of an encoder: the neighbours of some images, a map of more, and what it takes for what."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.evaluation.features import evenly, raw_features
from algorithms.evaluation.knn import PROTOCOLS, Evaluation, knn_predict
from algorithms.evaluation.metrics import TRUSTWORTHINESS
from algorithms.evaluation.neighbours import neighbours
from algorithms.evaluation.tsne import ITERATIONS, trustworthiness, tsne

MOST = 800
"""Images on the map, at most; the neighbours are sought among them."""
ASKED, NEIGHBOURS = 12, 8
"""Images whose neighbours are told, and how many of them."""


@dataclass(frozen=True)
class Shown:
    """Which of the test images are looked at: the same for every encoder."""

    images: Tensor
    """Their places among the test images, int64 [M], sorted by label."""
    labels: Tensor
    """int64 [M]; -1 where no image has one."""
    asked: Tensor
    """Places among `images` of those whose neighbours are told, int64 [Q], sorted by label."""

    @classmethod
    def of(cls, labels: Tensor) -> Self:
        """Of test images with these labels int64 [N], -1 without: every class has its share of the images on the map,
        and as many of those that ask as another one."""
        order = labels.argsort(stable=True)
        images = order[evenly(len(labels), MOST, labels.device)]
        known = labels[images]
        classes, count = known.unique_consecutive(return_counts=True)
        within = torch.cat([torch.arange(int(each), device=labels.device) for each in count])
        if len(classes) >= ASKED:
            asked = (within == 0).nonzero()[:, 0]
            asked = asked[evenly(len(asked), ASKED, labels.device)]
        elif len(classes) == 1:
            asked = evenly(len(images), ASKED, labels.device)
        else:
            asked = within.argsort(stable=True)[:ASKED].sort().values
        return cls(images, known, asked)


@dataclass(frozen=True)
class Inspection:
    """What is seen of an encoder on the images of `shown`."""

    shown: Shown
    neighbours: Tensor
    """The places among the images of the nearest others of those that ask, by cosine, the nearest first:
    int64 [Q, k]."""
    map: Tensor
    """Where the images lie in two dimensions (`tsne`), float32 [M, 2]."""
    trustworthiness: float
    """Of the map (`algorithms.evaluation.tsne.trustworthiness`)."""
    confusion: Tensor
    """How often images of a class are taken for one of another by the kNN that ranks (k=200), on all test images:
    rows (class, taken for, count) int64 [n, 3], without those that never happen. Without labels none."""

    @property
    def figures(self) -> dict[str, float]:
        return {TRUSTWORTHINESS.name: self.trustworthiness}


@torch.no_grad()
def inspect(
    encoder: nn.Module, evaluation: Evaluation, features: tuple[Tensor, Tensor] | None = None
) -> Inspection | None:
    """What an encoder makes of the queries, whose `features` [N, D], after those of the bank, may have been computed.
    Where the evaluation has no classes, the bank is not looked at. None where features are not finite."""
    shown = Shown.of(evaluation.query_labels)
    confusion = torch.zeros(0, 3, dtype=torch.int64)
    if evaluation.classes:
        found = features or tuple(raw_features(encoder, images) for images in (evaluation.bank, evaluation.queries))
        bank, queries = (F.normalize(each, dim=1) for each in found)
        rows = queries[shown.images]
        if torch.isfinite(queries).all():
            (taken,) = knn_predict(queries, bank, evaluation.bank_labels, evaluation.classes, PROTOCOLS[:1])
            pairs, counts = torch.stack([evaluation.query_labels, taken], 1).unique(dim=0, return_counts=True)
            confusion = torch.cat([pairs, counts[:, None]], 1)
    else:
        rows = F.normalize(raw_features(encoder, evaluation.queries, shown.images), dim=1)
    if not torch.isfinite(rows).all():
        return None
    most = min(NEIGHBOURS, len(rows) - 1)
    near = torch.cat([places for _, _, places in neighbours(rows[shown.asked], rows, most, own=shown.asked)])
    places = tsne(rows)
    return Inspection(shown, near, places, trustworthiness(rows, places), confusion)


def seconds(width: int, images: int, queries: int, classes: int, device: torch.device) -> float:
    """About what `inspect` takes on the device beside the encoding, by a short measurement: of some steps of the map,
    and of some votes."""
    generator = torch.Generator().manual_seed(0)

    def made(count: int) -> Tensor:
        return F.normalize(torch.randn(count, width, generator=generator), dim=1).to(device)

    def time_of(work: Callable[[], Tensor]) -> float:
        began = time.perf_counter()
        work().sum().item()
        return time.perf_counter() - began

    shown, some = made(min(MOST, queries)), 10
    time_of(lambda: tsne(shown, 1))  # the first time is not the usual one
    begun, further = time_of(lambda: tsne(shown, 1)), time_of(lambda: tsne(shown, 1 + some))
    mapping = begun + max(0.0, further - begun) / some * ITERATIONS
    if not classes:
        return mapping
    bank, asking = made(min(images, 10_000)), made(min(queries, 256))
    labels = torch.arange(len(bank), device=device) % classes
    voting = time_of(lambda: knn_predict(asking, bank, labels, classes, PROTOCOLS[:1])[0])
    return mapping + voting * (queries / len(asking)) * (images / len(bank))
