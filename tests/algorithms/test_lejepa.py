"""LeJEPA and VISReg against their papers and their authors' code, and the traps of their kind."""

import cmath
import math
from statistics import NormalDist

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from algorithms.encoders import build_encoder
from algorithms.lejepa import LeJEPA, invariance, random_directions, sigreg, visreg
from algorithms.method import Setting
from bench.search.space import load


def lejepa(image_size: int = 16, **changes) -> LeJEPA:
    torch.manual_seed(0)
    hyperparameters = {
        "regularizer": "sigreg",
        "sigreg_weight": 0.1,
        "visreg_weight": 0.6,
        "directions": 8,
        "projector_hidden": 16,
        "projector_width": 8,
        "global_crops": 2,
        "local_crops": 2,
    }
    setting = Setting(images=64, image_size=image_size, batch_size=8, epochs=4)
    return LeJEPA(setting, build_encoder("resnet8", image_size), **hyperparameters | changes)


def crops(method: LeJEPA) -> list[torch.Tensor]:
    return [torch.randn(8, 3, view.size, view.size) for view in method.views]


def embeddings(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def directions(width: int, count: int) -> torch.Tensor:
    return F.normalize(embeddings(width, count), dim=0)


def epps_pulley(x: list[float]) -> float:
    """The statistic of a sample: the trapezoidal rule from -3 to 3 on twice the 16 intervals."""
    step = 3 / 16
    found = 0.0
    for place in range(-16, 17):
        t = place * step
        empirical = sum(cmath.exp(1j * t * value) for value in x) / len(x)
        difference = abs(empirical - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)
        found += difference * step * (0.5 if abs(place) == 16 else 1)
    return len(x) * found


def slow_visreg(z: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
    """Equations 1, 2, 5 and 6 with loops; the deviations by which embeddings are divided are constants."""
    views, batch, width = z.shape
    scale = shape = centre = torch.zeros((), dtype=torch.float64)
    for v in range(views):
        columns = []
        for d in range(width):
            mean = sum(z[v, i, d] for i in range(batch)) / batch
            deviation = (sum((z[v, i, d] - mean) ** 2 for i in range(batch)) / batch).sqrt()
            scale = scale + (1 - deviation) ** 2 / (views * width)
            centre = centre + mean**2 / (views * width)
            columns.append([(z[v, i, d] - mean) / deviation.item() for i in range(batch)])
        for s in range(lines.shape[1]):
            x = [sum(columns[d][i] * lines[d, s] for d in range(width)) for i in range(batch)]
            for rank, value in enumerate(sorted(x, key=torch.Tensor.item), start=1):
                quantile = NormalDist().inv_cdf(rank / (batch + 1))
                shape = shape + (value - quantile) ** 2 / (views * lines.shape[1] * batch)
    return scale + shape + centre


def test_sigreg_is_the_mean_epps_pulley_statistic_of_every_view_on_every_direction():
    z, lines = embeddings(3, 7, 4), directions(4, 5)
    found = [epps_pulley((z[v] @ lines[:, s]).tolist()) for v in range(3) for s in range(5)]
    assert sigreg(z, lines).item() == pytest.approx(sum(found) / len(found), rel=1e-9)


def test_views_are_compared_with_the_gaussian_one_by_one_and_not_as_one_sample():
    sample, line = embeddings(128).sort().values, torch.ones(1, 1, dtype=torch.float64)
    halves = sample.view(2, 64, 1)  # as one sample they are Gaussian, either by itself is not
    assert sigreg(halves, line) > 5 * sigreg(sample.view(1, 128, 1), line)


@pytest.mark.parametrize("batch", [64, 512])
def test_sigreg_of_gaussian_embeddings_is_what_chance_leaves_whatever_the_batch(batch):
    # E |empirical - gaussian|^2 = (1 - exp(-t^2)) / B, whose integral with the window is sqrt(2 pi) - sqrt(2 pi / 3).
    found = sigreg(embeddings(8, batch, 16), directions(16, 128)).item()
    assert found == pytest.approx(math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3), rel=0.1)


@pytest.mark.parametrize("regularizer", [sigreg, visreg])
def test_collapsed_embeddings_cost_much_more_than_gaussian_ones(regularizer):
    z, lines = embeddings(2, 256, 16), directions(16, 64)
    gaussian = regularizer(z, lines)
    all_the_same, in_a_line, too_near = z[:, :1].expand(z.shape), z[:, :, :1].expand(z.shape), 0.1 * z
    for collapsed in (all_the_same, in_a_line, too_near):
        assert regularizer(collapsed, lines) > 5 * gaussian


@pytest.mark.parametrize("regularizer", [sigreg, visreg])
def test_the_order_of_the_batch_does_not_matter(regularizer):
    z, lines = embeddings(2, 32, 4), directions(4, 16)
    order = torch.randperm(32)
    torch.testing.assert_close(regularizer(z[:, order], lines), regularizer(z, lines))
    torch.testing.assert_close(invariance(z[:, order], 2), invariance(z, 2))


def test_the_gradient_of_sigreg_is_that_of_the_statistic():
    lines = directions(3, 4)
    assert gradcheck(lambda z: sigreg(z, lines), (embeddings(2, 5, 3).requires_grad_(),))


def test_visreg_and_its_gradient_are_those_of_its_equations():
    lines = directions(4, 5)
    fast, slow = (embeddings(2, 7, 4).requires_grad_() for _ in range(2))
    found, expected = visreg(fast, lines), slow_visreg(slow, lines)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-4, atol=1e-6)


def test_the_gradient_at_collapse_fades_with_sigreg_and_stays_with_visreg():
    lines = directions(8, 64)

    def gradient(regularizer, size):
        z = (size * embeddings(1, 64, 8)).requires_grad_()
        regularizer(z, lines).backward()
        return z.grad.norm()

    assert gradient(sigreg, 1e-3) < 0.01 * gradient(sigreg, 0.3)
    assert gradient(visreg, 1e-3) > 0.5 * gradient(visreg, 0.3)


@pytest.mark.parametrize("regularizer", [sigreg, visreg])
def test_embeddings_that_are_all_the_same_have_a_finite_gradient(regularizer):
    z = torch.ones(2, 8, 4, requires_grad=True)
    regularizer(z, directions(4, 8).float()).backward()
    assert z.grad.isfinite().all()


def test_every_view_is_drawn_to_the_mean_of_the_global_ones_which_are_views_as_well():
    z = embeddings(4, 3, 5)
    expected = 0.0
    for v in range(4):
        for i in range(3):
            for d in range(5):
                expected += float(z[v, i, d] - (z[0, i, d] + z[1, i, d]) / 2) ** 2 / 60
    assert invariance(z, 2).item() == pytest.approx(expected)


def test_no_gradient_is_stopped():
    # Unlike of a stopped mean: a shift of the global views alone is felt by what the local ones are drawn to.
    assert gradcheck(lambda z: invariance(z, 2), (embeddings(4, 3, 5).requires_grad_(),))
    method = lejepa()
    method.loss(crops(method), torch.arange(8)).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


@pytest.mark.parametrize(("regularizer", "weight"), [("sigreg", 0.1), ("visreg", 0.6)])
def test_the_loss_weighs_the_regularizer_of_all_views_against_their_invariance(regularizer, weight):
    method = lejepa(regularizer=regularizer)
    views = crops(method)
    with torch.no_grad():
        torch.manual_seed(5)
        found = method.loss(views, torch.arange(8))
        torch.manual_seed(5)
        lines = random_directions(8, 8, torch.device("cpu"))
        features = torch.cat([method.encoder(torch.cat(views[:2])), method.encoder(torch.cat(views[2:]))])
        z = method.projector(features).unflatten(0, (4, 8)).double()
    regularized = {"sigreg": sigreg, "visreg": visreg}[regularizer](z, lines.double())
    assert found.item() == pytest.approx(((1 - weight) * invariance(z, 2) + weight * regularized).item(), rel=1e-4)


def test_directions_are_of_length_1_and_new_in_every_step_and_follow_from_the_seed():
    lines = random_directions(16, 8, torch.device("cpu"))
    torch.testing.assert_close(lines.norm(dim=0), torch.ones(8))
    method = lejepa()
    views = crops(method)
    torch.manual_seed(3)
    first, second = (method.loss(views, torch.arange(8)).item() for _ in range(2))
    torch.manual_seed(3)
    assert first != second
    assert [method.loss(views, torch.arange(8)).item() for _ in range(2)] == [first, second]


def test_the_statistic_is_computed_in_full_precision_under_autocast():
    z, lines = embeddings(2, 64, 8).float(), directions(8, 16).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sigreg(z, lines), sigreg(z, lines).float())
        found = sigreg(z.bfloat16(), lines)
    torch.testing.assert_close(found, sigreg(z.bfloat16().float(), lines))


def test_an_unknown_regularizer_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^LeJEPA has no regularizer 'sig'; it has sigreg, visreg\.$"):
        lejepa(regularizer="sig")


def test_views_are_those_of_the_readme_on_large_images_and_of_minimal_md_on_small_ones():
    large = lejepa(224, global_crops=2, local_crops=6).views
    assert [(view.size, view.scale) for view in large] == [(224, (0.3, 1.0))] * 2 + [(96, (0.05, 0.3))] * 6
    assert all(view.blur == 0.5 for view in large)
    small = lejepa(32, global_crops=4, local_crops=0).views
    assert [(view.size, view.scale, view.blur) for view in small] == [(32, (0.08, 1.0), 0.0)] * 4
    assert all((view.jitter, view.solarize) == ((0.4, 0.4, 0.2, 0.1), 0.2) for view in (*large, *small))


def test_the_recipe_is_the_authors_for_resnets_and_for_vision_transformers():
    minimal = {"regularizer": "sigreg", "sigreg_weight": 0.02, "global_crops": 4, "local_crops": 0, "directions": 256}
    resnet, transformer = load("lejepa", 32).published, load("lejepa", 32, transformer=True).published
    assert resnet.items() >= (minimal | {"learning_rate": 5e-4, "weight_decay": 5e-4, "projector_width": 16}).items()
    assert transformer.items() >= (minimal | {"learning_rate": 2e-3, "weight_decay": 5e-2}).items()
    assert resnet["visreg_weight"] == 0.6
    assert load("lejepa", 224).published.items() >= {"global_crops": 2, "local_crops": 6, "visreg_weight": 0.9}.items()
