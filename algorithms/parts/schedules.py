"""What changes over a training: how long its early phases last, and momenta that rise to 1."""

import math

import torch
from torch import Tensor

EARLY_STEPS = 100
"""The least steps of an early phase, in a training of ten times as many or more."""


def early_phase(share: float, steps: int) -> float:
    """The share of a training of `steps` that an early phase takes, such as a warm-up, where `share` is asked for.

    Of a long training it is `share`. In a short one that would be a step or two of the hundreds that the phase has in a
    long one: it lasts at least 100 steps, though for that no more than a tenth of the training. 0 stays 0.
    """
    return max(share, min(EARLY_STEPS / max(steps, 1), 0.1)) if share > 0 else 0.0


def cosine_to_one(momentum: Tensor, progress: Tensor) -> Tensor:
    """The momentum [] at `progress` in [0, 1], rising from `momentum` to 1 on half a cosine (BYOL, section 3.3)."""
    return 1 - (1 - momentum) * (torch.cos(math.pi * progress) + 1) / 2
