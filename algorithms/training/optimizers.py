"""SGD, LARS, LARC, Adam and AdamW whose every number is a tensor, and the learning rate of each step.

PyTorch's optimisers keep momentum and weight decay as Python numbers, so that a compiled step would be compiled anew
for every value that a search proposes; and it has no LARS.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.parts.foreach import Tensors, each
from algorithms.parts.schedules import early_phase

OPTIMIZERS = ("sgd", "lars", "larc", "adam", "adamw")
FALLS = {"step": (0.1, (0.6, 0.8)), "late_step": (0.2, (250 / 300, 280 / 300))}
"""Schedules that fall in steps: the factor, and the shares of all steps after which the learning rate is multiplied by
it. "late_step" is AMDIM's, whose authors train 300 epochs."""
SCHEDULES = ("cosine", "constant", *FALLS)


@dataclass
class Group:
    """Parameters that are treated alike, with their state."""

    parameters: list[Tensor]
    adapted: bool
    """False for biases and norms, whose rate LARS leaves alone."""
    decayed: bool
    """Whether weight decay holds."""
    constant: bool
    """True where the learning rate does not decay."""
    momentum: list[Tensor] = field(default_factory=list)
    square: list[Tensor] = field(default_factory=list)


def parameter_groups(model: nn.Module, constant: Sequence[str] = (), *, decay_norms: bool = False) -> list[Group]:
    """The trainable parameters of `model` by treatment. One-dimensional parameters are biases and norms, which are
    decayed with `decay_norms` alone."""
    groups: dict[tuple[bool, bool, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            adapted = parameter.ndim > 1
            kind = (adapted, adapted or decay_norms, name.split(".")[0] in constant)
            groups.setdefault(kind, Group([], *kind)).parameters.append(parameter)
    return list(groups.values())


def learning_rates(
    base: float,
    steps: int,
    *,
    warmup: float = 0.0,
    schedule: str = "cosine",
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The learning rate of every step, float32 [steps]: as scheduled, and with the warm-up alone.

    It rises linearly over the first `warmup` (a share of the steps; `early_phase`), then follows half a cosine to 0, or
    stays ("constant"), or falls in steps (`FALLS`).
    """
    step = torch.arange(steps, dtype=torch.float64)
    rising = round(early_phase(warmup, steps) * steps)
    warm: Tensor = base * ((step + 1) / max(rising, 1)).clamp(max=1)
    progress = ((step - rising) / max(steps - rising, 1)).clamp(min=0)
    factor: Tensor | float
    if schedule == "cosine":
        factor = (1 + torch.cos(math.pi * progress)) / 2
    else:
        fall, shares = FALLS.get(schedule, (1.0, ()))
        factor = fall ** sum((step >= share * steps).double() for share in shares)
    return (warm * factor).float().to(device), warm.float().to(device)


def weight_decays(first: float, last: float | None, steps: int, *, device: torch.device | str = "cpu") -> Tensor:
    """The weight decay of every step, float32 [steps]: from `first` to `last` on half a cosine; None is no change."""
    last = first if last is None else last
    progress = torch.arange(steps, dtype=torch.float64) / max(steps, 1)
    return (last + (first - last) * (1 + torch.cos(math.pi * progress)) / 2).float().to(device)


class Optimizer:
    """Updates parameters in place from their gradients.

    - sgd: v <- m v + g + w p;  p <- p - lr v
    - lars (You 2017, arXiv 1708.03888, algorithm 1): sgd in which each tensor's g + w p is scaled by
      c |p| / (|g| + w |p|)
    - larc: lars whose scaled rate never exceeds lr, i.e. the factor is min(c |p| / (|g| + w |p|) / lr, 1); while
      c |p| exceeds lr (|g| + w |p|), as it does while |p| is large, this is sgd
    - adam (Kingma 2015, arXiv 1412.6980, algorithm 1) of g + w p
    - adamw (Loshchilov 2017, arXiv 1711.05101, algorithm 2), decay scaled by the learning rate

    with m the momentum, w the weight decay, c the trust coefficient.
    """

    def __init__(
        self,
        groups: list[Group],
        kind: str,
        *,
        weight_decay: float,
        momentum: float = 0.9,
        second_momentum: float = 0.999,
        trust_coefficient: float = 0.001,
    ):
        if kind not in OPTIMIZERS:
            raise ValueError(f"There is no optimizer '{kind}'; there are {', '.join(OPTIMIZERS)}.")
        self.groups, self.kind = groups, kind
        device = groups[0].parameters[0].device if groups else "cpu"
        self.weight_decay, self.momentum, self.second_momentum, self.trust_coefficient, self.steps = (
            torch.tensor(float(value), device=device)
            for value in (weight_decay, momentum, second_momentum, trust_coefficient, 0)
        )
        for group in groups:
            group.momentum = [torch.zeros_like(parameter) for parameter in group.parameters]
            if kind in ("adam", "adamw"):
                group.square = [torch.zeros_like(parameter) for parameter in group.parameters]

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order in which `step` takes their gradients."""
        return [parameter for group in self.groups for parameter in group.parameters]

    @torch.no_grad()
    def step(
        self, gradients: Sequence[Tensor], rate: Tensor, constant_rate: Tensor, decay: Tensor | None = None
    ) -> None:
        """One update at the learning rates [] `rate`, and `constant_rate` for the groups that never decay; with the
        weight decay [] `decay`, or its own."""
        self.steps += 1
        decay = self.weight_decay if decay is None else decay
        rest: Iterator[Tensor] = iter(gradients)
        for group in self.groups:
            own = [next(rest) for _ in group.parameters]
            lr = constant_rate if group.constant else rate
            if self.kind in ("adam", "adamw"):
                self._adam(group, own, lr, decay)
            else:
                self._sgd(group, own, lr, decay)

    def _sgd(self, group: Group, gradients: Tensors, rate: Tensor, decay: Tensor) -> None:
        direction: Tensors = self._with_decay(group, gradients, decay) if group.decayed else gradients
        if group.adapted and self.kind != "sgd":
            direction = torch._foreach_mul(direction, self._trust(group.parameters, gradients, rate, decay))
        torch._foreach_mul_(group.momentum, each(self.momentum, group.momentum))
        torch._foreach_add_(group.momentum, direction)
        torch._foreach_sub_(group.parameters, torch._foreach_mul(group.momentum, each(rate, group.momentum)))

    def _trust(self, parameters: list[Tensor], gradients: Tensors, rate: Tensor, decay: Tensor) -> list[Tensor]:
        size, slope = (
            torch.stack(torch._foreach_norm(parameters)),
            torch.stack(torch._foreach_norm(gradients)),
        )
        trust = self.trust_coefficient * size / (slope + decay * size).clamp(min=1e-12)
        if self.kind == "larc":
            trust = (trust / rate.clamp(min=1e-12)).clamp(max=1)
        # A tensor that is zero, or has no gradient, is moved as by SGD.
        return list(torch.where((size > 0) & (slope > 0), trust, 1.0).unbind())

    def _with_decay(self, group: Group, gradients: Tensors, decay: Tensor) -> Tensors:
        """g + w p."""
        return torch._foreach_add(gradients, torch._foreach_mul(group.parameters, each(decay, group.parameters)))

    def _adam(self, group: Group, gradients: Tensors, rate: Tensor, decay: Tensor) -> None:
        if group.decayed and self.kind == "adam":
            gradients = self._with_decay(group, gradients, decay)
        elif group.decayed:
            torch._foreach_mul_(group.parameters, each(1 - rate * decay, group.parameters))
        torch._foreach_mul_(group.momentum, each(self.momentum, group.momentum))
        torch._foreach_add_(group.momentum, torch._foreach_mul(gradients, each(1 - self.momentum, gradients)))
        torch._foreach_mul_(group.square, each(self.second_momentum, group.square))
        torch._foreach_add_(
            group.square,
            torch._foreach_mul(torch._foreach_mul(gradients, gradients), each(1 - self.second_momentum, gradients)),
        )
        scale = rate / (1 - self.momentum**self.steps)
        root = torch._foreach_sqrt(group.square)
        torch._foreach_mul_(root, each((1 - self.second_momentum**self.steps).rsqrt(), root))
        torch._foreach_add_(root, 1e-8)
        update = torch._foreach_div(group.momentum, root)
        torch._foreach_mul_(update, each(scale, update))
        torch._foreach_sub_(group.parameters, update)

    def state_dict(self) -> dict[str, Any]:
        """Tensors alone."""
        return {
            "steps": self.steps,
            "momentum": [tensor for group in self.groups for tensor in group.momentum],
            "square": [tensor for group in self.groups for tensor in group.square],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copies in place, so that a captured or compiled step keeps its tensors."""
        mine = self.state_dict()
        self.steps.copy_(state["steps"])
        for name in ("momentum", "square"):
            for own, saved in zip(mine[name], state[name], strict=True):
                own.copy_(saved)


@torch.no_grad()
def clip_gradients(gradients: Sequence[Tensor], limit: Tensor) -> Tensors:
    """Gradients scaled so that the norm of each is at most `limit` [] (as DINO's authors do)."""
    norms = torch.stack(torch._foreach_norm(list(gradients)))
    return torch._foreach_mul(list(gradients), list((limit / norms.clamp(min=1e-12)).clamp(max=1).unbind()))
