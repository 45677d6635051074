"""SeLa: Asano, Rupprecht and Vedaldi 2019, arXiv 1911.05371."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders.encoder import Encoder
from algorithms.images.view import View
from algorithms.method import Batches, Method, Setting


@torch.no_grad()
def equal_labels(logits: Tensor, exponent: float, *, tolerance: float = 0.01, iterations: int = 1000) -> Tensor:
    """Section 3.1: the labels [N] of N images in K clusters, from the whole data set's logits [N, K].

    Q = diag(a) P^exponent diag(b) (eq. 6), P the softmax, is scaled by Sinkhorn-Knopp (eq. 7) until every cluster
    holds the same mass to `tolerance`; the label is the column in which an image's row of Q is greatest. In float64:
    P to a power of 10 or 25 leaves the range of float32."""
    power = exponent * F.log_softmax(logits.double(), dim=1)
    # A factor of a row or of a column is taken up by a and b: take them out before exp.
    power = power - power.amax(1, keepdim=True)
    power = (power - power.amax(0)).exp()
    images, clusters = power.shape
    of_cluster = power.new_ones(clusters)
    for _ in range(iterations):
        of_image = 1 / (power @ of_cluster).clamp(min=1e-300)
        mass = (of_image @ power) * of_cluster * (clusters / images)
        of_cluster = of_cluster / mass.clamp(min=1e-300)
        if (mass - 1).abs().max() < tolerance:
            break
    return (power * of_cluster).argmax(1)


def due(epoch: int, epochs: int, head: int, heads: int, relabelings: int) -> bool:
    """Whether `head` gets new labels before `epoch`: `relabelings` times in all, evenly spaced, the heads in turn;
    before every epoch where there are no more epochs than that."""

    def done(epoch: int) -> int:
        """How often the head has been labelled up to `epoch`, but for a constant."""
        return (epoch * relabelings * heads + head * epochs) // (epochs * heads)

    return done(epoch) > done(epoch - 1)


class SeLa(Method):
    """The network is trained as a classifier on labels that it has made itself. Now and then all images are labelled
    anew by what the network says of them, with the demand that all labels are equally frequent, or one label would be
    given to all.

    Eq. 2: cross-entropy with one label an image, of each of several heads (section 3.3); the labels are the network's
    own, spread equally over the clusters of the whole data set (`equal_labels`: section 3.1, eq. 6-7), and balanced
    and random at first.

    Departures: labels are found from un-augmented images by the network in eval mode; the authors' CIFAR code takes
    augmented ones in train mode.

    Choose it where compute is scarcest, for one view halves the cost of its step, and classes are about equally
    frequent. It learns from random labels at first, so that short trainings come to little."""

    labels: Tensor

    def __init__(
        self, setting: Setting, encoder: Encoder, *, prototypes: int, heads: int, exponent: float, relabelings: int
    ):
        super().__init__(setting, encoder)
        self.heads, self.exponent, self.relabelings = heads, exponent, relabelings
        self.classifiers = nn.Linear(encoder.width, heads * prototypes)
        balanced = torch.arange(setting.images) % prototypes
        self.register_buffer("labels", torch.stack([balanced[torch.randperm(len(balanced))] for _ in range(heads)]))
        self.views = (View(setting.image_size, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_probability=1.0),)

    @classmethod
    def unaffected_by(cls, image_size: int) -> frozenset[str]:
        # There is no second view, which would be solarised.
        return frozenset({"solarize_probability"})

    def before_epoch(self, epoch: int, batches: Batches) -> None:
        heads = [h for h in range(self.heads) if due(epoch, self.setting.epochs, h, self.heads, self.relabelings)]
        if heads:
            self.relabel(heads, batches)

    @torch.no_grad()
    def relabel(self, heads: list[int], batches: Batches) -> None:
        """New labels of all images for the given heads."""
        training = self.training
        self.eval()
        features = self.encoder.width
        stored = torch.empty(self.setting.images, features, device=self.labels.device)
        for index, images in batches():
            stored[index] = self.encoder(images).float()
        self.train(training)
        weights = self.classifiers.weight.unflatten(0, (self.heads, -1))
        biases = self.classifiers.bias.unflatten(0, (self.heads, -1))
        for head in heads:
            self.labels[head] = equal_labels(F.linear(stored, weights[head], biases[head]), self.exponent)

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        logits = self.classifiers(self.encoder(views[0])).unflatten(1, (self.heads, -1))
        return F.cross_entropy(logits.flatten(0, 1).float(), self.labels[:, index].T.flatten())
