import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.barlow import BarlowTwins, barlow_twins
from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.training.recipe import effective_hyperparameters
from bench.search.space import load


def draw(batch, width, seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, width, dtype=torch.float64, generator=generator)
    return 3 * first + 1, first + 0.5 * torch.randn(batch, width, dtype=torch.float64, generator=generator)


def slow(first, second, weight):
    """Eq. 1 and 2, entry by entry."""
    batch, width = first.shape
    a, b = ([[float(v) for v in row] for row in z.T] for z in (first, second))

    def standardised(values):
        mean = sum(values) / batch
        deviation = (sum((v - mean) ** 2 for v in values) / batch + 1e-5) ** 0.5
        return [(v - mean) / deviation for v in values]

    a, b = [standardised(v) for v in a], [standardised(v) for v in b]
    total = 0.0
    for i in range(width):
        for j in range(width):
            c = sum(x * y for x, y in zip(a[i], b[j], strict=True)) / batch
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


@given(st.integers(2, 9), st.integers(1, 6), st.floats(0.0005, 1), st.integers(0, 1000))
def test_loss_is_equation_1(batch, width, weight, seed):
    first, second = draw(batch, width, seed)
    assert barlow_twins(first, second, weight).item() == pytest.approx(slow(first, second, weight), abs=1e-5)


def test_gradient_of_the_loss():
    first, second = draw(5, 3, 0)
    assert torch.autograd.gradcheck(
        lambda a, b: barlow_twins(a, b, 0.05), (first.requires_grad_(), second.requires_grad_())
    )


def test_only_dimensions_are_standardised_not_rows():
    first, second = draw(20, 4, 3)
    loss = barlow_twins(first, second, 0.1)
    # The scale and place of a dimension change nothing; the scale of a row does.
    torch.testing.assert_close(barlow_twins(first * 7 + 2, second, 0.1), loss, rtol=1e-4, atol=1e-5)
    rows = torch.linspace(0.2, 3, 20, dtype=torch.float64)[:, None]
    assert abs(barlow_twins(first * rows, second, 0.1) - loss) > 0.01


def test_equal_decorrelated_views_cost_nothing():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert barlow_twins(signs, signs, 0.5).item() == pytest.approx(0, abs=1e-6)
    assert barlow_twins(signs, -signs, 0.5).item() == pytest.approx(8, abs=1e-3)


def test_a_constant_dimension_has_a_finite_gradient():
    first = torch.cat([torch.randn(6, 2), torch.ones(6, 1)], 1).requires_grad_()
    (gradient,) = torch.autograd.grad(barlow_twins(first, torch.randn(6, 3), 0.1), first)
    assert torch.isfinite(gradient).all()


def test_loss_is_float32_for_half_precision_projections():
    first = torch.randn(8, 4, dtype=torch.bfloat16)
    assert barlow_twins(first, first, 0.1).dtype == torch.float32


def barlow(redundancy: float, projector_width: int) -> BarlowTwins:
    setting = Setting(images=64, image_size=16, batch_size=8, epochs=2)
    return BarlowTwins(
        setting,
        build_encoder("resnet8", 16),
        redundancy=redundancy,
        loss_scale=0.1,
        projector_hidden=32,
        projector_width=projector_width,
    )


@given(st.floats(1, 100), st.integers(1, 6))
def test_redundancy_balances_the_sums_of_equation_1_alike_at_every_width(redundancy: float, copies: int):
    """A projection that repeats each of its 4 dimensions n times has n as many terms on the diagonal and n^2 as many in
    all: with their share of lambda in it, both sums grow as n."""
    first, second = draw(20, 4, 1)
    correlation = torch.corrcoef(torch.cat([first, second], 1).T)[:4, 4:]
    diagonal = (1 - correlation.diagonal()).square().sum().item()
    rest = (correlation.square().sum() * copies - correlation.diagonal().square().sum()).item()
    weight = barlow(redundancy, 4 * copies).redundancy_weight.double()
    found = barlow_twins(first.repeat(1, copies), second.repeat(1, copies), weight).item()
    assert found == pytest.approx(copies * (diagonal + redundancy / (4 * copies) * rest), rel=1e-4)


def test_solo_learns_redundancy_is_its_lambda_at_its_width_and_holds_when_a_small_encoder_narrows_the_projector():
    published = load("barlow", 32).published
    assert published["redundancy"] / published["projector_width"] == pytest.approx(0.0051)
    narrow = effective_hyperparameters(BarlowTwins, published, width=64, images=50_000)
    assert narrow["redundancy"] == published["redundancy"]
    assert narrow["projector_width"] == 512
    assert barlow(narrow["redundancy"], 512).redundancy_weight.item() == pytest.approx(4 * 0.0051)


def test_the_projector_has_three_layers_and_the_views_differ_in_solarization():
    method = barlow(redundancy=0.08, projector_width=16)
    widths = [m.weight.shape for m in method.projector if isinstance(m, torch.nn.Linear)]
    assert widths == [(32, 64), (32, 32), (16, 32)]
    assert [view.solarize for view in method.views] == [0, 0.2]
    views = [torch.randn(8, 3, 16, 16) for _ in range(2)]
    projections = [method.projector(method.encoder(view)) for view in views]
    expected = 0.1 * barlow_twins(*projections, 0.005)
    torch.testing.assert_close(method.loss(views, torch.arange(8)), expected)
