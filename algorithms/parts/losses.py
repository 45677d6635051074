"""Loss terms that several methods share. All are computed in full precision, also under autocast."""

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.parts.precision import full_precision


@full_precision
def info_nce(
    queries: Tensor,
    keys: Tensor,
    temperature: Tensor | float,
    negatives: Tensor | None = None,
    own: Tensor | None = None,
) -> Tensor:
    """InfoNCE (van den Oord 2018, arXiv 1807.03748, eq. 4; MoCo, eq. 1): row i of `keys` [B, D] is the positive
    of row i of `queries` [B, D].

    The negatives are the rows of `negatives` [K, D], of length 1, where given, less those that `own` bool [B, K] says
    are of the query's own image; else they are the other rows of `keys`. Queries and keys are normalised here.
    Returns the mean over the batch, [].
    """
    queries, keys = F.normalize(queries, dim=1), F.normalize(keys, dim=1)
    if negatives is None:
        logits = queries @ keys.T
        target = torch.arange(len(queries), device=queries.device)
    else:
        positive = (queries * keys).sum(1, keepdim=True)
        others = queries @ negatives.T
        logits = torch.cat([positive, others if own is None else others.masked_fill(own, float("-inf"))], 1)
        target = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return F.cross_entropy(logits / temperature, target)


@full_precision
def nt_xent(first: Tensor, second: Tensor, temperature: Tensor | float) -> Tensor:
    """NT-Xent (SimCLR, arXiv 2002.05709, eq. 1) over the 2B views of `first` and `second`, each [B, D]: the
    positive of a view is the other view of its image, the negatives are the 2B - 2 views of other images."""
    z = F.normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(first)))


@full_precision
def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """-cos(prediction, target), rows [B, D] against rows, mean over the batch, []."""
    return -F.cosine_similarity(prediction, target, dim=1).mean()


@full_precision
def cross_view_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum_k target_k log softmax(logits)_k of every view's `logits` [V, B, K] against the `targets` [T, B, K] of
    every *other* view of the first T (multi-crop; SwAV, eq. 6; DINO, eq. 3): the mean over pairs and batch, []."""
    entropies = -torch.einsum("tbk,vbk->tv", targets, F.log_softmax(logits, dim=2)) / logits.shape[1]
    return (entropies.sum() - entropies.diagonal().sum()) / (len(targets) * (len(logits) - 1))


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: Tensor | float, iterations: int) -> Tensor:
    """Sinkhorn-Knopp (SwAV, arXiv 2006.09882, eq. 3-4): the assignments [B, K] of B samples to K prototypes that
    maximise <Q, scores> + epsilon H(Q) with equal mass on every prototype.

    Rows of the result sum to 1. The last step normalises rows, so the columns' sums approach B / K with the
    iterations. Each prototype's greatest score is taken out first, a factor that the first step divides by anyway:
    exp cannot overflow, nor can the whole column of a prototype that is far from all samples vanish.
    """
    q = torch.exp((scores - scores.amax(0)) / epsilon)
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)
    return q


@full_precision
def koleo(features: Tensor) -> Tensor:
    """KoLeo (Sablayrolles 2019, arXiv 1806.03198, eq. 2; DINOv2, arXiv 2304.07193, section 4): minus the mean log of
    the distance of each row of `features` [B, D], normalised here, to the nearest other row, []."""
    z = F.normalize(features, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    nearest = (z @ z.T).detach().masked_fill(itself, -2.0).argmax(1)
    # The small number keeps the gradient finite where two rows are the same.
    return -(F.pairwise_distance(z, z[nearest], eps=1e-8) + 1e-8).log().mean()
