"""Decoupled contrastive learning against its paper and beside SimCLR."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.dcl import DCL, decoupled
from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import nt_xent
from algorithms.simclr import SimCLR
from bench.search.space import load


def draw(batch: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, width, dtype=torch.float64, generator=generator)
    return 3 * first, first + 0.5 * torch.randn(batch, width, dtype=torch.float64, generator=generator)


def slow(first, second, temperature):
    """View by view, image by image."""
    views = [[[float(x) for x in row] for row in z] for z in (first, second)]

    def cosine(a, b):
        length = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / length

    batch = len(first)
    losses = []
    for k in (0, 1):
        for i in range(batch):
            own, other = views[k][i], views[1 - k][i]
            negatives = sum(
                math.exp(cosine(own, views[m][j]) / temperature) for m in (0, 1) for j in range(batch) if j != i
            )
            losses.append(-cosine(own, other) / temperature + math.log(negatives))
    return sum(losses) / len(losses)


@given(st.integers(2, 6), st.integers(2, 5), st.floats(0.05, 2), st.integers(0, 1000))
def test_the_loss_is_the_papers(batch, width, temperature, seed):
    first, second = draw(batch, width, seed)
    assert decoupled(first, second, temperature).item() == pytest.approx(slow(first, second, temperature), abs=1e-9)


def test_gradient_of_the_loss():
    first, second = draw(4, 3, 0)
    assert torch.autograd.gradcheck(
        lambda a, b: decoupled(a, b, 0.3), (first.requires_grad_(), second.requires_grad_())
    )


def test_the_positive_pair_is_not_in_the_denominator():
    """Moving an image's views together changes the loss by the pair's own cosine alone, and below 0."""
    first, second = torch.eye(8)[:4], torch.eye(8)[:4]
    apart = torch.eye(8)[4:]
    # All cosines between images are 0: the sum over 6 views is 6.
    assert decoupled(first, apart, 0.1).item() == pytest.approx(math.log(6), rel=1e-5)
    assert decoupled(first, second, 0.1).item() == pytest.approx(math.log(6) - 10, rel=1e-5)


def test_a_pair_that_is_alike_still_pulls_at_full_strength_in_a_small_batch_where_nt_xent_gives_up():
    """The coupling of negatives and positives: NT-Xent's gradient vanishes where the pair is told apart already."""
    pair = torch.tensor([[1.0, 0.1, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    other = torch.tensor([[1.0, -0.1, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def pull(loss):
        first = pair.clone().requires_grad_()
        return torch.autograd.grad(loss(first, other, 0.1), first)[0][0].norm().item()

    assert pull(decoupled) > 100 * pull(nt_xent)


def test_the_loss_is_float32_and_finite_for_half_precision_projections():
    first = torch.randn(8, 4).bfloat16()
    found = decoupled(first, first, 0.05)
    assert found.dtype == torch.float32
    assert torch.isfinite(found)


def test_heads_and_views_are_simclrs_and_the_loss_is_decoupled():
    setting = Setting(images=64, image_size=16, batch_size=8, epochs=2)
    made = []
    for method in (DCL, SimCLR):
        torch.manual_seed(0)
        made.append(method(setting, build_encoder("resnet8", 16), temperature=0.3, projector_width=8))
    ours, simclr = made
    assert ours.views == simclr.views
    views = [torch.randn(8, 3, 16, 16) for _ in range(2)]
    z = simclr.projector(simclr.encoder(torch.cat(views)))
    torch.testing.assert_close(ours.loss(views, torch.arange(8)), decoupled(*z.chunk(2), 0.3))
    assert ours.contrasts_with == simclr.contrasts_with


def test_the_recipe_is_lightlys():
    # cifar10_benchmark.py: lr=6e-2 for 128 images, weight_decay=5e-4, DCLLoss() with its temperature of 0.1
    wanted = {
        "learning_rate": 0.12,
        "weight_decay": 5e-4,
        "temperature": 0.1,
        "projector_width": 128,
        "batch_size": 128,
    }
    assert load("dcl", 32).published.items() >= wanted.items()
