"""What a method does in the phases of a training."""

import torch

from algorithms.method import Method


def frozen_steps(method: Method) -> list[bool]:
    """Whether the prototypes of `method` are frozen in each step of its training."""
    steps = method.setting.steps
    frozen = [bool(method.frozen)]
    for step in range(1, steps):
        method.after_step(torch.tensor(step) / steps)
        frozen.append(bool(method.frozen))
    return frozen
