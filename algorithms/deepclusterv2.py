"""DeepCluster-v2: Caron, Misra, Mairal, Goyal, Bojanowski and Joulin 2020, arXiv 2006.09882, appendix."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.encoders.encoder import Encoder, evaluating
from algorithms.method import Batches, Method, Setting
from algorithms.parts.heads import by_size, mlp, narrowed
from algorithms.parts.precision import full_precision
from algorithms.parts.views import swav_views

CHUNK = 1 << 24
"""The most similarities that are held at a time."""


@full_precision
def normalised(z: Tensor) -> Tensor:
    """The embeddings [..., D] at length 1, in full precision."""
    return F.normalize(z, dim=-1)


@full_precision
def assignment_entropy(z: Tensor, centroids: Tensor, labels: Tensor, temperature: Tensor | float) -> Tensor:
    """-log softmax(z.c / temperature) at the labels [H, B] of H heads, whose centroids c are [H, K, D], for the
    embeddings `z` [V, B, D] of each view: the mean over heads, views and batch, []."""
    scores = torch.einsum("vbd,hkd->vhbk", z, centroids) / temperature
    return F.cross_entropy(scores.flatten(0, 2), labels.expand(len(z), -1, -1).flatten())


@torch.no_grad()
@full_precision
def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """The place int64 [N] of the centroid of [K, D] that has the greatest product with each point of [N, D]; the first
    of equal ones. Some points at a time, so that memory does not grow with N times K."""
    parts = points.split(max(CHUNK // len(centroids), 1))
    return torch.cat([(part @ centroids.T).argmax(1) for part in parts])


@torch.no_grad()
@full_precision
def spherical_kmeans(points: Tensor, clusters: int, iterations: int) -> tuple[Tensor, Tensor]:
    """Spherical k-means as the authors' code has it (cluster_memory): the centroids [clusters, D] of the `points`
    [N, D], which have length 1, and the cluster int64 [N] of each.

    The first centroids are points, drawn from the global generator. The mean of a cluster's points, normalised, is its
    next centroid; an empty cluster keeps the one that it has. N is at least the number of clusters.
    """
    centroids = points[torch.randperm(len(points), device=points.device)[:clusters]]
    for _ in range(iterations):
        labels = nearest(points, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        filled = torch.bincount(labels, minlength=clusters) > 0
        centroids = F.normalize(torch.where(filled[:, None], sums, centroids), dim=1)
    return centroids, nearest(points, centroids)


class DeepClusterV2(Method):
    """Images are clustered by what the network made of them in the epoch before, and the network learns to tell every
    view's cluster: clusters and features sharpen each other. Several clusterings stand side by side.

    Appendix "DeepCluster-v2": L = the mean over heads and views of the cross-entropy of softmax(z.c_k / t) with the
    image's cluster, z the normalised projection of a view and c_k the normalised centroids, which are prototypes that
    no gradient moves. A memory keeps the projections of the two global views of every image as they were when it was
    last seen, so that clustering needs no pass of its own; before each epoch `spherical_kmeans` clusters it anew for
    each head, the heads taking the views in turn. All crops are classified, also the local ones.

    Departures: before the first epoch the authors fill the memory with augmented views by the network in train mode,
    here it is filled with un-augmented images in eval mode, since images in order would give away, by their batch's
    statistics, what they stand beside. An image that an epoch leaves out, since it fills no batch, keeps what the
    memory has of it and is clustered; the authors drop it.

    Choose it for images of many kinds that are about equally frequent, in numbers that leave each cluster some of them.
    The memory grows with the images, and the clustering costs, beside small images and small encoders, a good part of
    an epoch."""

    temperature: Tensor
    memory: Tensor
    centroids: Tensor
    labels: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        prototypes: int,
        heads: int,
        kmeans_iterations: int,
        projector_hidden: int,
        projector_width: int,
        local_crops: int,
    ):
        super().__init__(setting, encoder)
        self.scalar("temperature", temperature)
        self.kmeans_iterations = kmeans_iterations
        self.projector = mlp([encoder.width, projector_hidden, projector_width])
        self.register_buffer("memory", torch.zeros(2, setting.images, projector_width))
        self.register_buffer("centroids", torch.zeros(heads, prototypes, projector_width))
        self.register_buffer("labels", torch.zeros(heads, setting.images, dtype=torch.long))
        self.views = swav_views(setting, encoder, local_crops)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        found = narrowed(hyperparameters, width, "projector_hidden", "projector_width")
        return found | {"prototypes": min(found["prototypes"], images)}

    def before_epoch(self, epoch: int, batches: Batches) -> None:
        if epoch == 0:
            self.fill(batches)
        heads, prototypes, _ = self.centroids.shape
        for head in range(heads):
            found = spherical_kmeans(self.memory[head % 2], prototypes, self.kmeans_iterations)
            self.centroids[head], self.labels[head] = found

    @torch.no_grad()
    def fill(self, batches: Batches) -> None:
        """Remember of all images, as either view, what the network makes of them un-augmented."""
        with evaluating(self):
            for index, images in batches():
                self.memory[:, index] = normalised(self.projector(self.encoder(images)))

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        z = normalised(self.projector(torch.cat(by_size(self.encoder, views))).unflatten(0, (-1, len(index))))
        self.memory.index_copy_(1, index, z[:2].detach())
        return assignment_entropy(z, self.centroids, self.labels[:, index], self.temperature)
