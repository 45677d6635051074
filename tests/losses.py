"""Are the losses those of others? Ours beside lightly's and stable-pretraining's, of the same numbers, in one run.

    pip install -e '.[peers]' stable-pretraining
    python -m tests.losses

A dash stands where a library is not there or has no such loss. Exits with 1 where a loss differs by more than a
thousandth from what a peer has, but for the difference that is named beside it.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms import barlow, dcl, lejepa, nnclr, vicreg
from algorithms.parts import losses

TOLERANCE = 1e-3
LIGHTLY, STABLE = "lightly.loss", "stable_pretraining.losses"
BATCH, WIDTH = 64, 32


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FIRST, SECOND = numbers(BATCH, WIDTH), numbers(BATCH, WIDTH, seed=1) + 0.5 * numbers(BATCH, WIDTH)
VIEWS = torch.stack([FIRST, SECOND, numbers(BATCH, WIDTH, seed=2)])


def from_module(module: str, name: str, *arguments: object, **keywords: object) -> Callable[..., Tensor]:
    """A peer's loss."""
    made: Callable[..., Tensor] = getattr(importlib.import_module(module), name)(*arguments, **keywords)
    return made


@dataclass(frozen=True)
class Compared:
    """A loss here, and those of peers, each of the same numbers; `factor` is by how much ours must be multiplied to be
    theirs, for the reason `why`."""

    name: str
    ours: Callable[[], Tensor]
    lightly: Callable[[], Tensor] | None = None
    stable: Callable[[], Tensor] | None = None
    factor: float = 1.0
    why: str = ""


def seeded(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The same with the random directions that every contender draws first."""

    def run() -> Tensor:
        torch.manual_seed(0)
        return loss()

    return run


def sigreg() -> Tensor:
    return lejepa.sigreg(VIEWS, lejepa.random_directions(WIDTH, 256, VIEWS.device))


def sliced(module: str) -> Tensor:
    """The statistic of stable-pretraining, with the directions of `seeded`: it draws from a generator of its own."""
    each = [from_module(module, "SlicedEppsPulley", 256)(view) for view in VIEWS]
    return torch.stack(each).mean()


def nearest_in_stable() -> Tensor:
    found = importlib.import_module("stable_pretraining.methods.nnclr")
    keys = F.normalize(numbers(200, WIDTH, seed=3), dim=1)
    targets = found._nearest_neighbour(FIRST, keys)
    return from_module(STABLE + ".joint_embedding", "InfoNCELoss", 0.2)(SECOND, targets, torch.arange(BATCH))


def nearest_here() -> Tensor:
    keys = F.normalize(numbers(200, WIDTH, seed=3), dim=1)
    neighbours = nnclr.nearest(FIRST, keys, torch.zeros(BATCH, 200, dtype=torch.bool))
    return losses.info_nce(SECOND, neighbours, 0.2)


COMPARED = [
    Compared(
        "simclr",
        lambda: losses.nt_xent(FIRST, SECOND, 0.5),
        lambda: from_module(LIGHTLY, "NTXentLoss", temperature=0.5)(FIRST, SECOND),
        lambda: from_module(STABLE, "NTXEntLoss", temperature=0.5)(FIRST, SECOND),
    ),
    Compared(
        "byol, one view",
        lambda: losses.negative_cosine(FIRST, SECOND),
        lambda: from_module(LIGHTLY, "NegativeCosineSimilarity")(FIRST, SECOND),
        lambda: from_module(STABLE, "NegativeCosineSimilarity")(FIRST, SECOND),
    ),
    Compared(
        "barlow",
        lambda: barlow.barlow_twins(FIRST, SECOND, 0.005),
        lambda: from_module(LIGHTLY, "BarlowTwinsLoss", 0.005)(FIRST, SECOND),
        lambda: from_module(STABLE, "BarlowTwinsLoss", 0.005)(FIRST, SECOND),
    ),
    Compared(
        "vicreg",
        lambda: vicreg.vicreg(FIRST, SECOND, 25.0, 12.5, 1.0),
        lambda: from_module(LIGHTLY, "VICRegLoss", 25.0, 25.0, 1.0)(FIRST, SECOND),
        lambda: from_module(STABLE, "VICRegLoss", 25.0, 12.5, 1.0)(FIRST, SECOND),
    ),
    Compared(
        "nnclr",
        nearest_here,
        None,
        nearest_in_stable,
    ),
    Compared(
        "dcl",
        lambda: dcl.decoupled(FIRST, SECOND, 0.1),
        lambda: from_module(LIGHTLY, "DCLLoss", 0.1)(FIRST, SECOND),
    ),
    Compared(
        "lejepa, SIGReg",
        seeded(sigreg),
        seeded(lambda: from_module(LIGHTLY, "SIGReg", num_vectors=256)(VIEWS)),
        lambda: sliced("stable_pretraining.methods.lejepa"),
    ),
]
