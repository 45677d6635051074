"""Multinomial logistic regression with an L2 penalty, of many small problems at once: L-BFGS in the axes of the
features' covariance, where the steps of Böhning's bound are a division."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

LOGITS = 1 << 20
"""Logits that are computed at a time."""
HISTORY = 10
"""Pairs of steps and changes of the gradient that L-BFGS remembers."""
RETRIES = 20
"""Lengths of one step that are tried; the first nearly always serves."""
LEAST_VARIANCE = 1e-12
"""Of an axis, as a share of the largest: below it there is nothing but rounding."""


def axes(features: Tensor) -> tuple[Tensor, Tensor]:
    """The principal axes of features float32 [B, N, D], not centred: (coordinates [B, N, R], axes [B, D, R]) with R at
    most the smaller of N and D. A penalised weight is a sum of rows of the features, so it has no part in other
    axes."""
    _, count, width = features.shape
    wide = width > count
    gram = features.new_zeros(len(features), min(count, width), min(count, width), dtype=torch.double)
    for part in features.split(1 << 16, dim=2 if wide else 1):
        rows = (part if wide else part.mT).double()
        gram += rows @ rows.mT
    values, vectors = torch.linalg.eigh(gram)
    there = values > LEAST_VARIANCE * values[:, -1:].clamp(min=torch.finfo(torch.double).tiny)
    rank = max(1, int(there.sum(1).max()))
    values, vectors, there = values[:, -rank:], vectors[:, :, -rank:], there[:, -rank:]
    vectors = vectors * there[:, None]
    if not wide:
        basis = vectors.float()
        return features @ basis, basis
    length = values.clamp(min=0).sqrt()
    inverse = torch.where(there, 1 / length, 0.0)
    return (vectors * length[:, None]).float(), features.mT @ (vectors * inverse[:, None]).float()


class LogisticRegression:
    """Problems whose loss is the cross-entropy of rows, weighted by shares, and strength / 2 times the square of the
    weights, without the biases: of B data sets, each weighted in F ways.

    `rows` float32 [B, N, R] are the features in their `axes`, `labels` int64 [B, N]; shares float32 [B, F, N] have the
    sum 1 over N. A class of `classes` that has no row in a data set is never predicted. Weights are [B, F, K, R + 1],
    the last column the biases.

    The Hessian is at most (I - 11'/K)/2 x (X'X + strength) (Böhning 1992, "Multinomial logistic regression algorithm",
    section 3). In the axes that is a diagonal matrix, the first guess of L-BFGS (Nocedal and Wright 2006, algorithm
    7.4), so that ill-conditioned features cost few steps more than others.
    """

    def __init__(self, rows: Tensor, labels: Tensor, classes: int) -> None:
        self.rows = torch.cat([rows, torch.ones_like(rows[..., :1])], 2)
        self.labels = labels
        self.variance = self.rows.square().mean(1)[:, None, None]
        there = torch.zeros(len(rows), classes, device=rows.device).scatter_(1, labels, 1.0)
        self.absent = torch.where(there > 0, 0.0, -torch.inf)
        """[B, K], added to logits."""

    def start(self, ways: int) -> Tensor:
        """Weights of 0."""
        sets, _, width = self.rows.shape
        return self.rows.new_zeros(sets, ways, self.absent.shape[1], width)

    def _parts(self, weights: Tensor, shares: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """A part of the rows at a time: (rows, labels [B, F, 1, n], shares [B, F, 1, n], log-probabilities
        [B, F, K, n]). Rows come last, as softmax over few classes is fast so."""
        sets, ways, classes, _ = weights.shape
        size = max(1, LOGITS // (sets * ways * classes))
        parts = (self.rows.split(size, 1), self.labels.split(size, 1), shares.split(size, 2))
        for rows, labels, share in zip(*parts, strict=True):
            logits = (weights.flatten(1, 2) @ rows.mT).view(sets, ways, classes, -1)
            logarithm = logits.add_(self.absent[:, None, :, None]).log_softmax(2)
            yield rows, labels[:, None, None].expand(-1, ways, 1, -1), share[:, :, None], logarithm

    def loss(self, weights: Tensor, shares: Tensor) -> Tensor:
        """The cross-entropy [B, F] without the penalty, float64."""
        found = weights.new_zeros(weights.shape[:2], dtype=torch.double)
        for _, labels, share, logarithm in self._parts(weights, shares):
            found -= (logarithm.gather(2, labels) * share).sum((2, 3), dtype=torch.double)
        return found

    def _gradient(self, weights: Tensor, shares: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [B, F] and its gradient, as the weights."""
        loss = (penalty * weights.square()).sum((2, 3), dtype=torch.double) / 2
        gradient = (penalty * weights).flatten(1, 2)
        for rows, labels, share, logarithm in self._parts(weights, shares):
            loss -= (logarithm.gather(2, labels) * share).sum((2, 3), dtype=torch.double)
            excess = logarithm.exp_().scatter_add_(2, labels, torch.full_like(share, -1)).mul_(share)
            gradient.baddbmm_(excess.flatten(1, 2), rows)
        return loss, gradient.view_as(weights)

    @torch.no_grad()
    def minimise(self, weights: Tensor, shares: Tensor, strengths: Tensor, *, tolerance: float, most: int) -> Tensor:
        """The weights that are best with the `strengths` [B, F], begun at `weights`: to about `tolerance` of the loss,
        as L-BFGS estimates it, in at most so many steps."""
        penalty = strengths[:, :, None, None].repeat(1, 1, 1, weights.shape[3])
        penalty[..., -1] = 0
        inverse_bound = 1 / (self.variance / 2 + penalty).clamp(min=1e-12)
        close = torch.full_like(strengths, tolerance, dtype=torch.double)
        history: deque[tuple[Tensor, Tensor]] = deque(maxlen=HISTORY)
        loss, gradient = self._gradient(weights, shares, penalty)
        for _ in range(most):
            direction = -_inverse_hessian(gradient, inverse_bound, history)
            slope = _dot(gradient, direction)
            active = -slope / 2 > close
            if not active.any():
                break
            direction *= active[..., None, None]
            length = active.float()
            for _ in range(RETRIES):
                step = length[..., None, None] * direction
                tried_loss, tried = self._gradient(weights + step, shares, penalty)
                # The loss is convex: where it falls along the step to its end, or rises but little, the step is good.
                rise = _dot(tried, direction)
                good = ~active | ((rise <= -slope / 2) & (tried_loss <= loss + 1e-6 * loss.clamp(min=1e-3)))
                if good.all():
                    break
                shorter = (slope / (slope - rise).clamp(max=-1e-30)).clamp(0.1, 0.5)
                length = torch.where(good, length, length * shorter)
            else:  # rounding leaves nothing to gain
                step = step * good[..., None, None]
                tried_loss, tried = self._gradient(weights + step, shares, penalty)
                close = close.masked_fill(~good, torch.inf)
            history.append((step, tried - gradient))
            weights, loss, gradient = weights + step, tried_loss, tried
        return weights


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Of each problem: [B, F, K, R] -> [B, F]."""
    return (one * other).sum((2, 3))


def _inverse_hessian(gradient: Tensor, inverse_bound: Tensor, history: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """L-BFGS's estimate of the inverse Hessian, times the gradient. A pair without curvature counts for nothing."""
    found, passed, scale = gradient, [], torch.ones_like(gradient[:, :, :1, :1])
    for step, change in reversed(history):
        curvature = _dot(step, change)
        factor = torch.where(curvature > 1e-20, _dot(step, found) / curvature, 0.0)[..., None, None]
        found = found - factor * change
        passed.append((step, change, curvature, factor))
    if history:
        step, change, curvature, _ = passed[0]
        size = _dot(change, inverse_bound * change)
        scale = torch.where(curvature > 1e-20, curvature / size, 1.0)[..., None, None]
    found = scale * inverse_bound * found
    for step, change, curvature, factor in reversed(passed):
        other = torch.where(curvature > 1e-20, _dot(change, found) / curvature, 0.0)[..., None, None]
        found = found + (factor - other) * step
    return found
