"""The small networks that methods put on an encoder."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.parts.precision import full_precision

WIDEST_HEAD = 8
"""Published widths of heads are for encoders of 512 features and more. A head is at most this many times as wide as its
encoder, or a small encoder would be the least part of it."""


def narrowed(hyperparameters: dict[str, Any], encoder_width: int, *names: str) -> dict[str, Any]:
    """The hyper-parameters, of which those called `names` are widths in a head: none too wide for its encoder."""
    return hyperparameters | {name: min(hyperparameters[name], WIDEST_HEAD * encoder_width) for name in names}


def mlp(
    widths: Sequence[int],
    *,
    batch_norm: bool = True,
    last_batch_norm: str = "none",
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A multi-layer perceptron through `widths`: linear layers with (batch norm and) an activation between them.

    `last_batch_norm` is "none", "plain" (no scale and shift) or "affine". A linear layer that batch norm follows
    has no bias, since the norm would take it out again.
    """
    layers: list[nn.Module] = []
    for number, (narrow, wide) in enumerate(pairwise(widths), start=1):
        last = number == len(widths) - 1
        normed = last_batch_norm != "none" if last else batch_norm
        layers.append(nn.Linear(narrow, wide, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(wide, affine=not last or last_batch_norm == "affine"))
        if not last:
            layers.append(activation())
    return nn.Sequential(*layers)


class Prototypes(nn.Module):
    """Cosine similarity of samples [..., D] to `count` learnt directions: [..., count], without bias.

    Prototypes are normalised at every use (SwAV, arXiv 2006.09882, section 3.2): weight norm with gain 1. They are
    decayed like any matrix, which changes their length and no direction.
    """

    def __init__(self, width: int, count: int):
        super().__init__()
        self.weight = nn.Linear(width, count, bias=False).weight

    @full_precision
    def forward(self, z: Tensor, *, frozen: Tensor | None = None) -> Tensor:
        """Similarities in [-1, 1], in full precision since they are divided by a temperature. `frozen` [] bool keeps
        the gradient from the prototypes where it is true."""
        weight = self.weight
        if frozen is not None:
            # The same weight, its gradient times 0 where frozen, else times 1; no branch, so that it compiles.
            weight = weight.detach() + (weight - weight.detach()) * (~frozen)
        return F.linear(F.normalize(z, dim=-1), F.normalize(weight, dim=1))


def by_size(network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
    """`network` of every view [B, 3, h, w], those of one size as one batch (multi-crop; SwAV, section 3.3): a list of
    [B, D] in the order of the views. Views of one size must stand together."""
    outputs: list[Tensor] = []
    for size in dict.fromkeys(view.shape[-1] for view in views):
        same = [view for view in views if view.shape[-1] == size]
        outputs += network(torch.cat(same)).chunk(len(same))
    return outputs


class SplitBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of `splits` parts of the batch, as on as many devices (MoCo's CIFAR
    notebook); part s has the samples s, s + splits, ... In eval mode it is batch norm. A batch that `splits` does not
    divide is one part."""

    splits = 8
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) % self.splits:
            return super().forward(x)
        count, channels, *sides = x.shape
        # Part s of channel c becomes a channel of its own, so that one call computes all statistics.
        parted = x.contiguous().view(count // self.splits, self.splits * channels, *sides)
        mean, variance = self.running_mean.repeat(self.splits), self.running_var.repeat(self.splits)
        out = F.batch_norm(
            parted,
            mean,
            variance,
            self.weight.repeat(self.splits),
            self.bias.repeat(self.splits),
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        with torch.no_grad():
            self.running_mean.copy_(mean.view(self.splits, channels).mean(0))
            self.running_var.copy_(variance.view(self.splits, channels).mean(0))
            self.num_batches_tracked += 1
        return out.view(x.shape)


def split_batch_norm(network: nn.Module) -> nn.Module:
    """Make every 2-d batch norm of `network` a `SplitBatchNorm`, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SplitBatchNorm
    return network
