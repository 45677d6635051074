"""VICReg against equations 1 to 6 of its paper and the traps of its kind."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.training.recipe import effective_hyperparameters
from algorithms.vicreg import VICReg, vicreg
from bench.search.space import load


def draw(batch: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some dimensions of these spread less than 1 and some more."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.3, 1.8, width, dtype=torch.float64)
    first = spread * torch.randn(batch, width, dtype=torch.float64, generator=generator) + 2
    return first, first + 0.5 * torch.randn(batch, width, dtype=torch.float64, generator=generator)


def covariance(a: list[float], b: list[float]) -> float:
    n, mean_a, mean_b = len(a), sum(a) / len(a), sum(b) / len(b)
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (n - 1)


def slow(first, second, invariance, variance, weight):
    """Eq. 1 to 6, entry by entry."""
    batch, width = first.shape
    s = sum(float(first[i, j] - second[i, j]) ** 2 for i in range(batch) for j in range(width)) / batch / width
    v = c = 0.0
    for z in (first, second):
        dimensions = [[float(value) for value in column] for column in z.T]
        v += sum(max(0.0, 1 - (covariance(z_j, z_j) + 1e-4) ** 0.5) for z_j in dimensions) / width
        for i in range(width):
            c += sum(covariance(dimensions[i], dimensions[j]) ** 2 for j in range(width) if j != i) / width
    return invariance * s + variance * v + weight * c


@given(st.integers(2, 9), st.integers(1, 6), st.floats(0, 30), st.floats(0, 30), st.floats(0, 5), st.integers(0, 1000))
def test_loss_is_equation_6(batch, width, invariance, variance, weight, seed):
    first, second = draw(batch, width, seed)
    weights = (invariance, variance, weight)
    assert vicreg(first, second, *weights).item() == pytest.approx(slow(first, second, *weights), rel=1e-9, abs=1e-9)


def test_gradient_of_the_loss():
    first, second = draw(5, 3, 0)
    assert torch.autograd.gradcheck(
        lambda a, b: vicreg(a, b, 25.0, 25.0, 1.0), (first.requires_grad_(), second.requires_grad_())
    )


def test_a_constant_dimension_has_a_finite_gradient_because_epsilon_is_under_the_root():
    first = torch.cat([torch.randn(6, 2), torch.ones(6, 1)], 1).requires_grad_()
    (gradient,) = torch.autograd.grad(vicreg(first, torch.randn(6, 3), 25.0, 25.0, 1.0), first)
    assert torch.isfinite(gradient).all()


def test_a_dimension_that_spreads_more_than_1_costs_no_variance():
    first, _ = draw(50, 1, 0)
    wide = first / first.std(0) * 1.5
    assert vicreg(wide, wide, 0.0, 1.0, 0.0).item() == 0
    assert vicreg(wide / 3, wide / 3, 0.0, 1.0, 0.0).item() == pytest.approx(2 * 0.5, abs=1e-3)


def test_the_mean_of_the_embeddings_costs_nothing():
    first, second = draw(20, 4, 3)
    torch.testing.assert_close(vicreg(first + 9, second + 9, 25, 25, 1), vicreg(first, second, 25, 25, 1))


def test_the_loss_is_float32_under_autocast():
    """Variances of bfloat16 would be sums of its eight bits."""
    first, second = (z.bfloat16() for z in draw(64, 8, 0))
    with torch.autocast("cpu", torch.bfloat16):
        found = vicreg(first, second, 25.0, 25.0, 1.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(slow(first.double(), second.double(), 25.0, 25.0, 1.0), rel=1e-5)


def make(redundancy: float = 16.0, projector_width: int = 16, image_size: int = 16) -> VICReg:
    torch.manual_seed(0)
    return VICReg(
        Setting(images=64, image_size=image_size, batch_size=8, epochs=2),
        build_encoder("resnet8", image_size),
        invariance=25.0,
        variance=20.0,
        redundancy=redundancy,
        projector_hidden=32,
        projector_width=projector_width,
    )


@given(st.floats(1, 10_000), st.integers(1, 6))
def test_redundancy_balances_the_terms_alike_at_every_width(redundancy: float, copies: int):
    """Of an embedding that repeats each of its 4 dimensions n times, invariance and variance stay, and the sum of all
    squares of the covariance matrix, over the width, grows as n: with their share of nu, it stays too."""
    first, _ = draw(20, 4, 1)
    matrix = torch.cov(first.T)
    everything, on_diagonal = matrix.square().sum().item(), matrix.diagonal().square().sum().item()
    weight = make(redundancy, 4 * copies).covariance_weight.double()
    wide = first.repeat(1, copies)
    expected = 2 * redundancy / 16 * (everything - on_diagonal / copies)
    assert vicreg(wide, wide, 25.0, 0.0, weight).item() == pytest.approx(expected, rel=1e-4)


def test_solo_learns_redundancy_is_nu_1_at_its_width_and_holds_when_a_small_encoder_narrows_the_expander():
    published = load("vicreg", 32).published
    assert published["redundancy"] / published["projector_width"] == 1
    assert (
        published.items() >= {"invariance": 25.0, "variance": 25.0, "learning_rate": 0.3, "weight_decay": 1e-4}.items()
    )
    narrow = effective_hyperparameters(VICReg, published, width=64, images=50_000)
    assert narrow["redundancy"] == published["redundancy"]
    assert narrow["projector_width"] == 512
    assert make(narrow["redundancy"], 512).covariance_weight.item() == 4


def test_the_expander_has_three_layers_and_both_views_pass_it_one_by_one():
    method = make()
    widths = [layer.weight.shape for layer in method.projector if isinstance(layer, torch.nn.Linear)]
    assert widths == [(32, 64), (32, 32), (16, 32)]
    assert isinstance(method.projector[-1], torch.nn.Linear)
    views = [torch.randn(8, 3, 16, 16) for _ in range(2)]
    first, second = (method.projector(method.encoder(view)) for view in views)
    torch.testing.assert_close(method.loss(views, torch.arange(8)), vicreg(first, second, 25.0, 20.0, 1.0))


def test_both_branches_get_gradients():
    first, second = (z.requires_grad_() for z in draw(8, 4, 0))
    gradients = torch.autograd.grad(vicreg(first, second, 25.0, 0.0, 0.0), (first, second))
    torch.testing.assert_close(gradients[0], -gradients[1])
    assert gradients[0].any()


def test_views_are_solo_learns_on_small_images_and_byols_on_large_ones():
    small, other = make().views
    assert small == other
    assert (small.scale, small.jitter) == ((0.2, 1.0), (0.4, 0.4, 0.2, 0.1))
    assert (small.solarize, small.blur, small.grayscale, small.jitter_probability) == (0.1, 0.0, 0.2, 0.8)
    large = make(image_size=96).views
    assert [(view.scale, view.blur, view.solarize) for view in large] == [
        ((0.08, 1.0), 1.0, 0.0),
        ((0.08, 1.0), 0.1, 0.2),
    ]
