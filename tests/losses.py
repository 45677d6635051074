"""Are the losses those of others? Ours beside lightly's and stable-pretraining's, of the same numbers, in one run.

    pip install -e '.[peers]' stable-pretraining
    python -m tests.losses

A dash stands where a library is not there or has no such loss. Exits with 1 where a peer's loss differs by more than a
thousandth and the reason is not known.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms import barlow, dcl, ibot, lejepa, mae, nnclr, vicreg
from algorithms.parts import losses

TOLERANCE = 1e-3
LIGHTLY, STABLE = "lightly.loss", "stable_pretraining.losses"
BATCH, WIDTH, DIRECTIONS, PATCH = 64, 32, 256, 4
Loss = Callable[[], Tensor]


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FIRST = numbers(BATCH, WIDTH, seed=0)
SECOND = FIRST / 2 + numbers(BATCH, WIDTH, seed=1)
VIEWS = torch.stack([FIRST, SECOND, numbers(BATCH, WIDTH, seed=2)])
KEYS = F.normalize(numbers(200, WIDTH, seed=3), dim=1)
STUDENT, TEACHER = (F.normalize(numbers(4, BATCH, WIDTH, seed=seed), dim=2) for seed in (4, 5))
"""Scores [V, B, K] of four views."""
CENTRE = 0.1 * numbers(WIDTH, seed=6)
HIDDEN = (torch.arange(16) < torch.arange(1, BATCH + 1)[:, None] % 8 + 1).view(BATCH, 4, 4)
"""Which of an image's 4 x 4 patches are hidden: from 1 to 8 of them."""
IMAGES = numbers(BATCH, 3, 16, 16, seed=7)
PIXELS = numbers(BATCH, 16, 3 * PATCH**2, seed=8)


@dataclass(frozen=True)
class Compared:
    """A loss here and those of peers, and why theirs differ where they do."""

    name: str
    ours: Loss
    lightly: Loss | None = None
    stable: Loss | None = None
    why: str = ""


def seeded(loss: Loss) -> Loss:
    """The same, with the random directions that it draws."""

    def run() -> Tensor:
        torch.manual_seed(0)
        return loss()

    return run


def of(module: str, name: str, *arguments: object, **keywords: object) -> Callable[..., Tensor]:
    """A peer's loss."""
    made: Callable[..., Tensor] = getattr(importlib.import_module(module), name)(*arguments, **keywords)
    return made


def directions() -> Tensor:
    return lejepa.random_directions(WIDTH, DIRECTIONS, VIEWS.device)


def sliced() -> Tensor:
    """stable-pretraining's statistic, whose directions are those of `seeded`."""
    return torch.stack(
        [of("stable_pretraining.methods.lejepa", "SlicedEppsPulley", DIRECTIONS)(v) for v in VIEWS]
    ).mean()


def visreg_of_lightly() -> Tensor:
    parts = importlib.import_module(f"{LIGHTLY}.visreg_loss")
    shape: Tensor = parts.visreg_shape_loss(VIEWS, DIRECTIONS)
    return shape + parts.visreg_scale_loss(VIEWS) + parts.visreg_center_loss(VIEWS)


def nearest_of_stable() -> Tensor:
    nearest = importlib.import_module("stable_pretraining.methods.nnclr")._nearest_neighbour(FIRST, KEYS)
    return of(f"{STABLE}.joint_embedding", "InfoNCELoss", 0.2)(SECOND, nearest, torch.arange(BATCH))


def nearest_here() -> Tensor:
    neighbours = nnclr.nearest(FIRST, KEYS, torch.zeros(BATCH, len(KEYS), dtype=torch.bool))
    return losses.info_nce(neighbours, SECOND, 0.2)


def dino_of_lightly() -> Tensor:
    loss = of(LIGHTLY, "DINOLoss", WIDTH, teacher_temp=0.04, warmup_teacher_temp=0.04)
    loss.center.copy_(CENTRE.view(1, 1, WIDTH))
    return loss(list(TEACHER[:2]), list(STUDENT))


def patches_of_lightly() -> Tensor:
    loss = of(LIGHTLY, "IBOTPatchLoss", WIDTH)
    loss.center.value.copy_(CENTRE)
    hidden = HIDDEN.flatten(1)
    return loss(patch_scores(9)[hidden], patch_scores(10)[hidden], HIDDEN)


def patch_scores(seed: int) -> Tensor:
    return F.normalize(numbers(BATCH, 16, WIDTH, seed=seed), dim=2)


def patches_here() -> Tensor:
    targets = F.softmax((patch_scores(9) - CENTRE) / 0.04, dim=2)
    return ibot.masked_entropy(patch_scores(10) / 0.1, targets, HIDDEN.flatten(1))


def pixels_here() -> Tensor:
    patches = F.unfold(IMAGES, PATCH, stride=PATCH).transpose(1, 2)
    return mae.pixel_error(PIXELS[:, 8:], patches[:, 8:])


def pixels_of_stable() -> Tensor:
    return of(STABLE, "MAELoss", patch_size=PATCH)(PIXELS, IMAGES, (torch.arange(16) >= 8).float().expand(BATCH, 16))


COMPARED = (
    Compared(
        "simclr (NT-Xent)",
        lambda: losses.nt_xent(FIRST, SECOND, 0.5),
        lambda: of(LIGHTLY, "NTXentLoss", temperature=0.5)(FIRST, SECOND),
        lambda: of(STABLE, "NTXEntLoss", temperature=0.5)(FIRST, SECOND),
    ),
    Compared(
        "simsiam, byol, fastsiam (cosine)",
        lambda: losses.negative_cosine(FIRST, SECOND),
        lambda: of(LIGHTLY, "NegativeCosineSimilarity")(FIRST, SECOND),
        lambda: of(STABLE, "NegativeCosineSimilarity")(FIRST, SECOND),
    ),
    Compared(
        "barlow",
        lambda: barlow.barlow_twins(FIRST, SECOND, 0.005),
        lambda: of(LIGHTLY, "BarlowTwinsLoss", 0.005)(FIRST, SECOND),
        lambda: of(STABLE, "BarlowTwinsLoss", 0.005)(FIRST, SECOND),
        "stable-pretraining standardises by the unbiased deviation",
    ),
    Compared(
        "dino",
        lambda: losses.cross_view_entropy(STUDENT / 0.1, F.softmax((TEACHER[:2] - CENTRE) / 0.04, dim=2)),
        dino_of_lightly,
    ),
    Compared(
        "vicreg",
        lambda: vicreg.vicreg(FIRST, SECOND, 25.0, 12.5, 1.0),
        lambda: of(LIGHTLY, "VICRegLoss", 25.0, 25.0, 1.0)(FIRST, SECOND),
        lambda: of(STABLE, "VICRegLoss", 25.0, 25.0, 1.0)(FIRST, SECOND),
        "both halve the variance term, so ours has half its weight here",
    ),
    Compared("nnclr", nearest_here, None, nearest_of_stable, "ours has the neighbours as queries, as the paper"),
    Compared(
        "dcl",
        lambda: dcl.decoupled(FIRST, SECOND, 0.1),
        lambda: of(LIGHTLY, "DCLLoss", 0.1)(FIRST, SECOND),
    ),
    Compared(
        "lejepa (SIGReg)",
        seeded(lambda: lejepa.sigreg(VIEWS, directions())),
        seeded(lambda: of(LIGHTLY, "SIGReg", num_vectors=DIRECTIONS)(VIEWS)),
        sliced,
    ),
    Compared("lejepa (VISReg)", seeded(lambda: lejepa.visreg(VIEWS, directions())), seeded(visreg_of_lightly)),
    Compared("ibot (patches)", patches_here, patches_of_lightly),
    Compared("ibot (KoLeo)", lambda: losses.koleo(FIRST), lambda: of(LIGHTLY, "KoLeoLoss")(FIRST)),
    Compared("mae", pixels_here, None, pixels_of_stable),
)


def value(loss: Loss | None, library: str) -> float | None:
    if loss is None:
        return None
    try:
        version(library)
    except PackageNotFoundError:
        return None
    return loss().item()


def lines() -> Iterator[tuple[str, bool]]:
    """The table's rows, and whether each is right."""
    for one in COMPARED:
        ours = one.ours().item()
        peers = (value(one.lightly, "lightly"), value(one.stable, "stable-pretraining"))
        off = max((abs(theirs / ours - 1) for theirs in peers if theirs is not None), default=None)
        shown = (f"{ours:.5f}", *("—" if theirs is None else f"{theirs:.5f}" for theirs in peers))
        cells = (one.name, *shown, "—" if off is None else f"{off:.1e}", one.why)
        yield f"| {' | '.join(cells)} |", off is None or off <= TOLERANCE or bool(one.why)


def main() -> int:
    print("| loss | ours | lightly | stable-pretraining | greatest difference | note |\n|---|--:|--:|--:|--:|---|")
    right = []
    for line, as_theirs in lines():
        print(line, flush=True)
        right.append(as_theirs)
    return int(not all(right))


if __name__ == "__main__":
    sys.exit(main())
