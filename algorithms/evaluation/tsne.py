"""A map of features in two dimensions, and how far it can be trusted."""

import math

import torch
from torch import Tensor

PERPLEXITY = 30.0
"""About how many neighbours a row looks at; a third of the rows where there are few."""
ITERATIONS, EXAGGERATED = 500, 125
"""Of the descent, and how many of the first pull neighbours together more strongly."""
EXAGGERATION = 12.0


@torch.no_grad()
def tsne(rows: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """t-SNE of rows of length 1 float32 [N, D] by cosine: float32 [N, 2] (van der Maaten and Hinton 2008). Exact, which
    takes memory and time as N^2. It begins at the first two principal components, so that nothing is random (Kobak and
    Berens 2019, doi 10.1038/s41467-019-13056-x), with a learning rate of N / 12 (Belkina et al. 2019,
    doi 10.1038/s41467-019-13055-y)."""
    count = len(rows)
    if count < 4:  # each is as near to each other as it may be
        return principal(rows)
    near = _affinities((2 - 2 * rows @ rows.T).clamp_min_(0))
    place = principal(rows)
    place *= 1e-4 / place[:, 0].std().clamp_min(1e-12)
    step, gains, diagonal = torch.zeros_like(place), torch.ones_like(place), torch.arange(count, device=rows.device)
    rate = max(50.0, count / EXAGGERATION)
    for iteration in range(iterations):
        early = iteration < EXAGGERATED
        square = place.square().sum(1)
        kernel = torch.addmm(square[:, None] + square, place, place.T, alpha=-2).clamp_min_(0).add_(1).reciprocal_()
        kernel[diagonal, diagonal] = 0
        pull = kernel.mul(-1 / kernel.sum()).add_(near, alpha=EXAGGERATION if early else 1.0).mul_(kernel)
        slope = 4 * (pull.sum(1, keepdim=True) * place - pull @ place)
        gains = torch.where(slope.sign() == step.sign(), gains * 0.8, gains + 0.2).clamp_min_(0.01)
        step = (0.5 if early else 0.8) * step - rate * gains * slope
        place = place + step
    return place - place.mean(0)


def principal(rows: Tensor) -> Tensor:
    """The first two principal components of [N, D], float32 [N, 2]; 0 for those that there are not. Their signs are
    such that the largest is positive."""
    centred = (rows - rows.mean(0)).double()
    found = torch.zeros(len(rows), 2, device=rows.device)
    left, size, _ = torch.linalg.svd(centred, full_matrices=False)
    shown = (left * size)[:, :2]
    shown = shown * shown.gather(0, shown.abs().argmax(0, keepdim=True)).sign()
    found[:, : shown.shape[1]] = shown.float()
    return found


def _affinities(square: Tensor) -> Tensor:
    """P [N, N] of squared distances [N, N]: symmetric, its sum 1; a row's kernel is as wide as the perplexity asks."""
    count = len(square)
    wanted = math.log(min(PERPLEXITY, (count - 1) / 3))
    others = ~torch.eye(count, dtype=torch.bool, device=square.device)
    square = square - square.masked_fill(~others, math.inf).amin(1, keepdim=True)  # the same P, and nothing underflows
    scale = square[others].mean().clamp_min(1e-12)
    low = torch.full((count, 1), 1e-4, device=square.device)
    high = torch.full((count, 1), 1e6, device=square.device)
    for _ in range(40):  # the entropy falls as the kernel narrows
        narrow = (low * high).sqrt()
        weight = (-square * narrow / scale).exp() * others
        total = weight.sum(1, keepdim=True)
        entropy = total.log() + narrow / scale * (weight * square).sum(1, keepdim=True) / total
        wide = entropy > wanted
        low, high = torch.where(wide, narrow, low), torch.where(wide, high, narrow)
    rows = weight / total
    return (rows + rows.T) / (2 * count)


@torch.no_grad()
def trustworthiness(rows: Tensor, places: Tensor, k: int = 5) -> float:
    """How far the neighbours on the map `places` [N, 2] are neighbours among the `rows` of length 1 [N, D]: 1 where all
    of each one's `k` are, 0 where they are as far away as may be, about 1/2 by chance (Venna and Kaski 2001). Of fewer
    than four rows every map is true."""
    count = len(rows)
    if count < 4:
        return 1.0
    k = min(k, (count - 1) // 2)
    own = torch.arange(count, device=rows.device)
    distance = 1 - rows @ rows.T
    distance[own, own] = -math.inf  # so that a row is its own neighbour of rank 0
    rank = distance.argsort(dim=1, stable=True).argsort(1)
    shown = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
    shown[own, own] = math.inf
    ranks = rank.gather(1, shown.topk(k, largest=False).indices)
    too_far = (ranks - k).clamp_min(0).sum().item()
    return 1 - 2 * too_far / (count * k * (2 * count - 3 * k - 1))
