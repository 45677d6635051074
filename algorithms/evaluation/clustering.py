"""Whether features lie in heaps that are the classes: k-means beside the labels."""

import torch
from torch import Tensor

from algorithms.evaluation.criteria import k_means
from algorithms.evaluation.features import evenly
from algorithms.evaluation.metrics import ARI, NMI

MOST, MOST_CLASSES = 5_000, 100
"""Images that are clustered, and classes beyond whose number they are not, as it would take too long."""


def figures(features: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """The normalised mutual information and the adjusted Rand index of labels int64 [N] and as many clusters of
    features float32 [N, D] as there are classes, of at most `MOST` images; none of more than `MOST_CLASSES` classes."""
    if classes > MOST_CLASSES:
        return {}
    seen = evenly(len(features), MOST, features.device)
    clusters = k_means(features[seen], classes, torch.Generator().manual_seed(0))
    pairs = (
        torch.bincount(labels[seen] * classes + clusters, minlength=classes**2).view(classes, classes).double().cpu()
    )
    return {NMI.name: mutual_information(pairs), ARI.name: rand_index(pairs)}


def mutual_information(pairs: Tensor) -> float:
    """Of two partitions, normalised by the mean of their entropies, from 0 to 1 (Strehl and Ghosh 2002; the mean of
    Kvalseth 1987): `pairs` float64 [K, L] counts the images in each class and cluster. 1 where both are one heap."""
    shares = pairs / pairs.sum()
    rows, columns = shares.sum(1), shares.sum(0)
    of_rows, of_columns, of_both = (torch.special.entr(each).sum().item() for each in (rows, columns, shares))
    mean = (of_rows + of_columns) / 2
    return min(1.0, max(0.0, (of_rows + of_columns - of_both) / mean)) if mean > 0 else 1.0


def rand_index(pairs: Tensor) -> float:
    """The share of pairs of images on which two partitions agree, adjusted for chance: at most 1, and 0 of partitions
    that know nothing of each other (Hubert and Arabie 1985, equation 5). `pairs` as of `mutual_information`."""

    def twos(counts: Tensor) -> Tensor:
        return (counts * (counts - 1) / 2).sum()

    both, rows, columns = twos(pairs), twos(pairs.sum(1)), twos(pairs.sum(0))
    expected = rows * columns / twos(pairs.sum()).clamp(min=1)
    most = (rows + columns) / 2
    found: float = 1.0 if most == expected else ((both - expected) / (most - expected)).item()
    return found
