"""The linear probe: logistic regression on frozen features, its L2 strength chosen by cross-validation."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.evaluation import accuracy
from algorithms.evaluation.knn import Evaluation
from algorithms.evaluation.logistic import LogisticRegression, axes
from algorithms.evaluation.metrics import LINEAR, LINEAR_STRENGTH

FOLDS = 5
STRENGTHS = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""L2 strengths among which cross-validation chooses, the strongest first; more between them choose no better."""
WITHOUT_FOLDS = 3.0
"""The strength where no class has two images."""
WORSE = 2
"""Strengths in turn after which, if they are worse than one before, no weaker ones are tried."""
CHOOSING, FITTING = 1e-4, 1e-9
"""Tolerances of the loss; of few labels at a weak strength it may be a thousand times as far from its least."""
PASSES, DECOMPOSITION = 70, 6
"""About how many passes over all rows, for all folds, a fit takes; and how many products of matrices a decomposition
of the same size."""
LEAST_DEVIATION = 0.1
"""By which a feature is divided, as a share of the median deviation: a feature that hardly varies among few images may
be a hundred times as large in others."""
CONSTANT = 1e-6
"""Deviation of a constant feature, as a share of its mean: below it there is nothing but rounding."""


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of features [N, D], standardised."""

    mean: Tensor
    """[D], of the features that it was fitted on."""
    std: Tensor
    """[D], at least `LEAST_DEVIATION` of their median."""
    weight: Tensor
    """[D, K]."""
    bias: Tensor
    """[K], -infinite for classes without an image."""
    strength: float
    """The L2 strength."""

    def predict(self, features: Tensor) -> Tensor:
        """The class of each row of features [N, D]: int64 [N]."""
        parts = [((rows - self.mean) / self.std) @ self.weight + self.bias for rows in features.split(1 << 16)]
        return torch.cat(parts).argmax(1)


def fit(features: Tensor, labels: Tensor, classes: int) -> LinearProbe:
    """The linear probe of features float32 [N, D], as the encoder gives them, with `labels` int64 [N] in 0 .. classes -
    1: the minimum of the mean cross-entropy and strength / 2 times the square of the weights. 5-fold cross-validation
    chooses among `STRENGTHS` by the cross-entropy of the images that are left out. Random numbers have no part in it.
    """
    return fit_each(features[None], labels[None], classes)[0]


@torch.no_grad()
def fit_each(features: Tensor, labels: Tensor, classes: int) -> list[LinearProbe]:
    """`fit` of each of B data sets of as many images: features [B, N, D], labels [B, N]. Together they take less time
    than one after another."""
    std, mean = torch.std_mean(features, 1, correction=0, keepdim=True)
    constant = std <= CONSTANT * mean.abs()
    middle = std.masked_fill(constant, torch.nan).nanmedian(2, keepdim=True)[0]
    std = std.maximum(LEAST_DEVIATION * middle.nan_to_num(1.0))
    # Features near to the largest number that there is have no mean.
    rows, basis = axes(((features - mean) / std).masked_fill_(constant, 0.0).nan_to_num_(0.0, 0.0, 0.0))
    regression = LogisticRegression(rows, labels, classes)
    weights, strengths = _choose(regression, labels)
    shares = torch.full_like(labels[:, None], 1 / labels.shape[1], dtype=torch.float)
    weights = regression.minimise(weights, shares, strengths[:, None].float(), tolerance=FITTING, most=1000)[:, 0]
    weight, bias = basis @ weights[..., :-1].mT, weights[..., -1] + regression.absent
    parts = (mean[:, 0], std[:, 0], weight, bias, strengths.tolist())
    return [LinearProbe(*each) for each in zip(*parts, strict=True)]


def _choose(regression: LogisticRegression, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The strength [B] that is best for each data set by cross-validation, and weights [B, 1, K, R + 1] near to its
    optimum."""
    fold = torch.stack([folds(each) for each in labels])
    start = regression.start(1)
    if (fold < 0).all():
        return start, torch.full_like(labels[:, 0], WITHOUT_FOLDS, dtype=torch.double)
    out = fold[:, None] == torch.arange(FOLDS, device=fold.device)[:, None]
    shares = (~out).float() / (~out).sum(2, keepdim=True)
    held_out = out.float() / out.sum((1, 2), keepdim=True)
    weights = regression.start(FOLDS)
    best = torch.full_like(labels[:, 0], torch.inf, dtype=torch.double)
    chosen, worse, near = torch.zeros_like(best), torch.zeros_like(labels[:, 0]), start
    for strength in STRENGTHS:
        strengths = torch.full_like(shares[:, :, 0], strength)
        weights = regression.minimise(weights, shares, strengths, tolerance=CHOOSING, most=100)
        loss = regression.loss(weights, held_out).sum(1)
        better = loss < best
        best, chosen = torch.where(better, loss, best), torch.where(better, strength, chosen)
        near = torch.where(better[:, None, None, None], weights.mean(1, keepdim=True), near)
        worse = torch.where(better, 0, worse + 1)
        if (worse >= WORSE).all():
            break
    return near, chosen


def folds(labels: Tensor) -> Tensor:
    """The fold of each image, int64 [N], of `labels` int64 [N]: each class's images are dealt over `FOLDS` folds in
    turn, in a fixed order. The only image of a class is in none, -1: it always trains."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).to(labels.device)
    order = order[labels[order].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[order] = torch.arange(len(labels), device=labels.device) % FOLDS
    alone = torch.bincount(labels) == 1
    return fold.masked_fill(alone[labels], -1)


def figures(evaluation: Evaluation, bank: Tensor, queries: Tensor) -> dict[str, float]:
    """The accuracy on the queries of a probe that is fitted on the bank, features float32 [N, D] and [Q, D] as the
    encoder gives them, and its strength. Features that are not finite give 0 throughout."""
    if not (torch.isfinite(bank).all() and torch.isfinite(queries).all()):
        strength, predictions = 0.0, torch.full_like(evaluation.query_labels, -1)
    else:
        probe = fit(bank, evaluation.bank_labels, evaluation.classes)
        strength, predictions = probe.strength, probe.predict(queries)
    found = accuracy.figures(LINEAR, predictions, evaluation.query_labels, evaluation.classes)
    return found | {LINEAR_STRENGTH.name: strength}


@functools.lru_cache
def seconds(width: int, images: int, queries: int, classes: int, device: torch.device) -> float:
    """About what `figures` takes on the device, by a short measurement: of a pass over some rows, of which there are
    about `PASSES`, and of a product in float64, of which the axes are made."""
    rows = min(images, 2_000, max(64, (1 << 27) // (width * classes)))
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, width, generator=generator).to(device)
    labels = (torch.arange(rows) % classes).to(device)
    regression = LogisticRegression(features[None], labels[None], classes)
    shares, strengths = torch.full((1, FOLDS, rows), 1 / rows, device=device), torch.ones(1, FOLDS, device=device)
    square = torch.ones(256, 256, dtype=torch.double, device=device)

    def time_of(work: Callable[[], Tensor]) -> float:
        work()  # the first time is not the usual one
        began = time.perf_counter()
        work().sum().item()
        return time.perf_counter() - began

    passed = time_of(lambda: regression.minimise(regression.start(FOLDS), shares, strengths, tolerance=0.0, most=1)) / 2
    product = time_of(lambda: square @ square) / 256**3
    least = min(width, images)
    return PASSES * passed * images / rows + product * (images * width * least + DECOMPOSITION * least**3)
