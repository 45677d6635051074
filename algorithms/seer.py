"""SEER: Goyal et al. 2021, arXiv 2103.01988."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.regnet import ResBottleneckBlock

from algorithms.encoders import build_encoder, check_encoder
from algorithms.heads import mlp
from algorithms.swav import SwAV


class SEER(SwAV):
    """SwAV at scale (section 3): a RegNetY trunk whose activations are recomputed in the backward pass, a head of
    three layers, ten Sinkhorn iterations, no queue, a long warm-up; the search space holds the numbers. The head has
    batch norm, as in the authors' recipe for a RegNet of 400 MFLOP (VISSL); the paper's, on 256 GFLOP, has none.

    The paper sees each image of an unlimited, unlabelled stream once. Here the stream is the training set
    (STL-10's unlabelled images included), passed over as often as there are epochs."""

    @classmethod
    def build_encoder(cls, name: str, image_size: int) -> nn.Module:
        """A RegNetY, whatever encoder is asked for: a tiny one in place of `resnet8`, else one of 400 MFLOP."""
        check_encoder(name)
        encoder = build_encoder("regnet_y_tiny" if name == "resnet8" else "regnet_y_400mf", image_size)
        for module in encoder.modules():
            if type(module) is ResBottleneckBlock:
                module.__class__ = CheckpointedBlock
        return encoder

    def head(self, width: int, hidden: int, out: int) -> nn.Module:
        return mlp([width, hidden, hidden, out])


class CheckpointedBlock(ResBottleneckBlock):
    """A block that keeps only its input for the backward pass, and computes the rest again."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        # A compiler knows which running statistics it has updated, and takes no contexts.
        contexts = {}
        if not torch.compiler.is_compiling():
            contexts["context_fn"] = lambda: (nullcontext(), fixed_statistics(self))
        return checkpoint(super().forward, x, use_reentrant=False, preserve_rng_state=False, **contexts)


@contextmanager
def fixed_statistics(block: nn.Module) -> Iterator[None]:
    """Leave the running statistics of `block`'s batch norms as they are: a pass computed twice counts once."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
