"""What features tell of themselves, without a label: criteria by which trainings may be compared where labels are few
or none. Each is a function of features float32 [N, D] as the encoder gives them, not normalised, unless it says
otherwise.
"""

import math

import torch
from torch import Tensor, nn

from algorithms.encoders.encoder import evaluating
from algorithms.evaluation.features import evenly
from algorithms.evaluation.metrics import (
    ALPHA_REQ,
    CLUSTER_LEARNABILITY,
    INSTANCE_ACCURACY,
    INSTANCE_RANK,
    LIDAR,
    RANKME,
)
from algorithms.images.augment import augment
from algorithms.images.augmentation import Augmentation
from algorithms.images.store import ImageStore
from algorithms.images.view import View
from algorithms.parts import precision

SHARE_EPSILON = 1e-7
"""Added to each share of a spectrum before its entropy (RankMe, equation 2; LiDAR, equation 4)."""
WITHIN_EPSILON = 1e-4
"""LiDAR's delta, added to the diagonal of the covariance within images (section 4)."""
POWER_LAW = (10, 100)
"""The places, from 0, of the eigenvalues to which alpha-ReQ fits its law: less the first ten, up to the hundredth."""
LEARNT, CLUSTERINGS = 1_000, 2
"""Images that cluster learnability and the instance rank look at, at most, and how often it clusters them: one
clustering alone is noisy."""
SAMPLES, VIEWS = 100, 10
"""Images of which views are looked at, at most, and the views that each of them has: for LiDAR, 10 are as good as 50
(its section 4)."""


def effective_rank(spectrum: Tensor) -> float:
    """exp of the entropy of the shares of a spectrum [K] of non-negative numbers: from 1 to K."""
    total = spectrum.sum()
    if not total > 0:
        return 1.0
    shares = spectrum / total + SHARE_EPSILON
    return math.exp(-(shares * shares.log()).sum().item())


def rankme(features: Tensor) -> float:
    """The effective rank of the features' singular values (Garrido 2023, arXiv 2210.02885, equation 1). The more the
    better."""
    return effective_rank(_squared_singular_values(features.double()).sqrt())


def alpha_req(features: Tensor) -> float:
    """The exponent with which the eigenvalues of the features' covariance fall (Agrawal 2022, alpha-ReQ, section 3):
    the fit of log eigenvalue by log place, each weighted by 1 / place (Stringer 2019). The nearer to 1 the better."""
    centred = features.double() - features.double().mean(0)
    eigenvalues = _squared_singular_values(centred)
    eigenvalues = eigenvalues[eigenvalues > 1e-12 * eigenvalues[0]]
    first = min(POWER_LAW[0], len(eigenvalues) // 4)
    spectrum = eigenvalues[first : POWER_LAW[1]].log()
    if len(spectrum) < 2:
        return math.inf
    place = torch.arange(first + 1, first + 1 + len(spectrum), device=features.device, dtype=torch.double)
    weight, logarithm = 1 / place, -place.log()
    weight = weight / weight.sum()
    x, y = logarithm - (weight * logarithm).sum(), spectrum - (weight * spectrum).sum()
    return ((weight * x * y).sum() / (weight * x * x).sum()).item()


def lidar(features: Tensor) -> float:
    """The effective rank of what linear discriminant analysis finds between images, of features [n, q, D] of q views of
    each of n images (Thilak 2023, arXiv 2312.04000, equations 2 to 4). The more the better."""
    features = features.double()
    mean = features.mean(1)
    between = (mean - mean.mean(0)).T @ (mean - mean.mean(0)) / max(1, len(mean) - 1)
    inner = (features - mean[:, None]).flatten(0, 1)
    within = inner.T @ inner / max(1, features.shape[0] * (features.shape[1] - 1))
    within.diagonal().add_(WITHIN_EPSILON)
    values, vectors = torch.linalg.eigh(within)
    root = vectors * values.rsqrt() @ vectors.T
    return effective_rank(torch.linalg.eigvalsh(root @ between @ root).clamp(min=0))


def cluster_learnability(features: Tensor) -> float:
    """How well the nearest image of one half of the images tells the cluster of an image of the other, from 0 to 1: the
    images are clustered by k-means, in sqrt(N) clusters, by cosine (Lu 2022, arXiv 2206.01251, section 3.2, in its last
    version: the first learnt image after image instead). The mean over both halves and `CLUSTERINGS` clusterings. The
    more the better."""
    count = len(features)
    if count < 4:
        return 0.0
    features = nn.functional.normalize(features.float(), dim=1)
    similarity = features @ features.T
    learnt = []
    for seed in range(CLUSTERINGS):
        generator = torch.Generator().manual_seed(seed)
        cluster = k_means(features, round(math.sqrt(count)), generator)
        halves = torch.randperm(count, generator=generator).to(features.device).tensor_split(2)
        for known, asked in (halves, halves[::-1]):
            nearest = known[similarity[asked][:, known].argmax(1)]
            learnt.append((cluster[nearest] == cluster[asked]).float().mean().item())
    return sum(learnt) / len(learnt)


def k_means(features: Tensor, clusters: int, generator: torch.Generator, *, rounds: int = 20) -> Tensor:
    """The cluster of each row, int64 [N]: Lloyd's algorithm from rows that lie far from each other (k-means++), which
    the `generator`, of the CPU, chooses."""
    centres = features[torch.randint(len(features), (1,), generator=generator).to(features.device)]
    squared = (features - centres).square().sum(1)
    for _ in range(clusters - 1):
        weight = squared.double().cpu() + 1e-12
        place = torch.multinomial(weight, 1, generator=generator).to(features.device)
        centres = torch.cat([centres, features[place]])
        squared = torch.minimum(squared, (features - features[place]).square().sum(1))
    for _ in range(rounds):
        label = torch.cdist(features, centres).argmin(1)
        count = torch.zeros(clusters, device=features.device).index_add_(0, label, torch.ones_like(squared))
        sums = torch.zeros_like(centres).index_add_(0, label, features)
        centres = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], centres)
    return torch.cdist(features, centres).argmin(1)


def instance_accuracy(views: Tensor) -> float:
    """The share of views whose nearest other view by cosine is of the same image, of features [n, q, D] of q views of
    each of n images: leave-one-out 1-NN with each image as a class of its own, which is what instance discrimination
    trains (Wu 2018, arXiv 1805.01978). The more the better."""
    count, each = views.shape[:2]
    if count < 2 or each < 2:
        return 0.0
    rows = nn.functional.normalize(views.float().flatten(0, 1), dim=1)
    nearest = (rows @ rows.T).fill_diagonal_(-math.inf).argmax(1)
    own = torch.arange(len(rows), device=rows.device)
    return (nearest // each == own // each).float().mean().item()


def instance_rank(views: Tensor, own: Tensor, bank: Tensor) -> float:
    """The place, from 1, that the own image has before the others, by cosine to a view: its geometric mean. `views`
    [n, q, D] are of the images with the features `own` [n, D], the others' are `bank` [N, D], with or without their
    own. The less the better."""
    views, own, bank = (nn.functional.normalize(each.float(), dim=-1) for each in (views, own, bank))
    nearer = (
        views @ bank.T > (views * own[:, None]).sum(2, keepdim=True) + 1e-6
    )  # not the own image, which may be there
    return (nearer.sum(2) + 1).float().log().mean().exp().item()


@torch.no_grad()
def view_features(
    encoder: nn.Module, images: ImageStore, places: Tensor, augmentation: Augmentation | None = None
) -> Tensor:
    """Features [n, q, D] of `VIEWS` random views of each of the images at `places` [n], the same views at each call:
    SimCLR's crops, flips and colours, or those of an `augmentation`, whatever the method trains with."""
    device = images.device
    view = View(images.image_size, jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2)
    view = view if augmentation is None else augmentation.view(view, first=True)
    bfloat16 = precision.computes_bfloat16(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), evaluating(encoder):
        torch.manual_seed(0)
        views = augment(images.gather(places), [view] * VIEWS, images.statistics.on(device))
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            found = [encoder(each).float().flatten(1) for each in views]
    return torch.stack(found, 1)


def criteria(
    encoder: nn.Module,
    images: ImageStore,
    features: Tensor,
    index: Tensor | None = None,
    augmentation: Augmentation | None = None,
) -> dict[str, float]:
    """All criteria of an encoder by the names of `algorithms.evaluation.metrics`, of training images and their features
    [N, D], not normalised: all `images`, or those at `index` [N]. Criteria that are not finite are left out.
    `augmentation` makes the views that some look at (`view_features`)."""
    if not torch.isfinite(features).all():
        return {}
    count, device = len(features), features.device
    some, seen = features[evenly(count, LEARNT, device)], evenly(count, SAMPLES, device)
    views = view_features(encoder, images, seen if index is None else index[seen], augmentation)
    found = {
        RANKME.name: rankme(features),
        ALPHA_REQ.name: alpha_req(features),
        CLUSTER_LEARNABILITY.name: cluster_learnability(some),
    }
    if torch.isfinite(views).all():
        found |= {
            LIDAR.name: lidar(views),
            INSTANCE_ACCURACY.name: instance_accuracy(views),
            INSTANCE_RANK.name: instance_rank(views, features[seen], some),
        }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _squared_singular_values(features: Tensor) -> Tensor:
    """Of [N, D], the largest first: the eigenvalues of the smaller of the two Gram matrices."""
    gram = features.T @ features if features.shape[0] >= features.shape[1] else features @ features.T
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram).clamp(min=0).flip(0)
    return eigenvalues
