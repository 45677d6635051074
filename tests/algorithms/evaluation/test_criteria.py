"""The label-free criteria against slow transcriptions of their papers' formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from algorithms.encoders import build_encoder
from algorithms.evaluation import criteria
from algorithms.evaluation.features import raw_features
from algorithms.evaluation.metrics import CRITERIA, FEATURE_STD
from algorithms.images.augmentation import OFF
from algorithms.images.store import ResidentImages

ROWS = {
    "rankme": criteria.rankme,
    "alpha_req": criteria.alpha_req,
    "cluster_learnability": criteria.cluster_learnability,
}
VIEWS = {
    "lidar": criteria.lidar,
    "instance_accuracy": criteria.instance_accuracy,
    "instance_rank": lambda views: criteria.instance_rank(views, views.mean(1), views.mean(1)),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uneven(rows: int, width: int, seed: int = 0) -> Tensor:
    """Features whose directions differ in size, as an encoder's do."""
    return normal(rows, width, seed=seed) * torch.arange(1, width + 1).pow(-0.7) + 0.3


def seen(images: int, views: int, width: int, seed: int = 0) -> Tensor:
    """Views that lie about their image."""
    return uneven(images, width, seed)[:, None] + 0.3 * normal(images, views, width, seed=seed + 1)


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed=9)).Q


@given(rows=st.integers(1, 60), width=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_rankme_is_equation_1_of_its_paper(rows: int, width: int, seed: int):
    features = uneven(rows, width, seed)
    sigma = np.linalg.svd(features.double().numpy(), compute_uv=False)
    entropy = 0.0
    for value in sigma:
        share = value / sum(abs(sigma)) + 1e-7
        entropy -= share * math.log(share)
    assert criteria.rankme(features) == pytest.approx(math.exp(entropy), rel=1e-5)


@pytest.mark.parametrize("width", [100, 130, 256])
def test_alpha_req_is_the_fit_of_its_authors(width: int):
    """Least squares of log eigenvalue by minus log place, each weighted by 1 / place, at the places 11 to 100."""
    features = uneven(400, width)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(features.double().numpy().T)))[::-1]
    place = np.arange(11, 101)
    x = np.stack([-np.log(place), np.ones(len(place))], 1)
    weight = 1 / place[:, None]
    slope = np.linalg.solve(x.T @ (x * weight), (weight * x).T @ np.log(eigenvalues[10:100] / eigenvalues.sum()))[0]
    assert criteria.alpha_req(features) == pytest.approx(slope, rel=1e-9)


@given(alpha=st.floats(0.2, 3), width=st.integers(8, 150))
@settings(max_examples=20)
def test_alpha_req_finds_a_power_law_also_where_there_are_few_eigenvalues(alpha: float, width: int):
    directions = torch.linalg.qr(F.pad(normal(300, width).double(), (1, 0), value=1.0)).Q[:, 1:]  # of mean 0
    features = directions * torch.arange(1, width + 1).double().pow(-alpha / 2)
    assert criteria.alpha_req(features) == pytest.approx(alpha, abs=1e-6)


@given(images=st.integers(2, 20), views=st.integers(2, 6), width=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_lidar_is_equations_1_to_4_of_its_paper(images: int, views: int, width: int, seed: int):
    features = seen(images, views, width, seed)
    found = features.double().numpy()
    means = [image.mean(0) for image in found]
    between, within = np.zeros((width, width)), np.zeros((width, width))
    for image, mean in zip(found, means, strict=True):
        between += np.outer(mean - np.mean(means, 0), mean - np.mean(means, 0)) / (images - 1)
        for view in image:
            within += np.outer(view - mean, view - mean) / (images * (views - 1))
    within += 1e-4 * np.eye(width)
    eigenvalues = np.linalg.eigvals(np.linalg.inv(within) @ between).real.clip(0)  # those of the symmetric product
    shares = eigenvalues / eigenvalues.sum() + 1e-7
    assert criteria.lidar(features) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-5)


def test_cluster_learnability_is_how_often_the_nearest_of_the_other_half_has_the_cluster():
    features = F.normalize(uneven(90, 6), dim=1)
    shares = []
    for seed in range(criteria.CLUSTERINGS):
        generator = torch.Generator().manual_seed(seed)
        cluster = criteria.k_means(features, 9, generator).tolist()
        order = torch.randperm(90, generator=generator).tolist()
        for known, asked in ((order[:45], order[45:]), (order[45:], order[:45])):
            nearest = [max(known, key=lambda other, one=one: float(features[one] @ features[other])) for one in asked]
            right = [cluster[near] == cluster[one] for near, one in zip(nearest, asked, strict=True)]
            shares.append(sum(right) / len(right))
    assert criteria.cluster_learnability(3 * features) == pytest.approx(sum(shares) / len(shares), abs=1e-6)


def test_k_means_finds_clusters_that_lie_apart_and_every_row_is_nearest_to_the_mean_of_its_own():
    truth = torch.arange(60) % 6
    features = 20 * normal(6, 5)[truth] + normal(60, 5, seed=1)
    found = criteria.k_means(features, 6, torch.Generator().manual_seed(0))
    assert len({*zip(truth.tolist(), found.tolist(), strict=True)}) == 6
    means = torch.stack([features[found == cluster].mean(0) for cluster in range(6)])
    assert torch.equal(torch.cdist(features, means).argmin(1), found)


@given(images=st.integers(2, 12), views=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_instance_accuracy_is_how_often_the_nearest_other_view_is_of_the_same_image(images: int, views: int, seed: int):
    features = F.normalize(seen(images, views, 5, seed), dim=2)
    rows = [(image, row) for image, of_image in enumerate(features) for row in of_image]
    right = 0
    for one, (image, row) in enumerate(rows):
        others = [(float(row @ other), its) for two, (its, other) in enumerate(rows) if two != one]
        right += max(others)[1] == image
    assert criteria.instance_accuracy(2 * features) == pytest.approx(right / len(rows))


def test_instance_rank_is_the_geometric_mean_of_the_own_images_place():
    bank, views = F.normalize(uneven(40, 6), dim=1), F.normalize(seen(40, 3, 6), dim=2)[:7]
    logarithms = [
        math.log(1 + sum(bool(view @ other > view @ bank[image] + 1e-6) for other in bank))
        for image, of_image in enumerate(views)
        for view in of_image
    ]
    expected = math.exp(sum(logarithms) / len(logarithms))
    assert criteria.instance_rank(views, bank[:7], bank) == pytest.approx(expected, rel=1e-5)
    assert criteria.instance_rank(views, bank[:7], bank[7:]) <= expected  # the others alone


def test_a_view_that_is_its_image_has_the_first_place():
    bank = uneven(50, 8)
    assert criteria.instance_rank(bank[:5, None].expand(-1, 4, -1), bank[:5], bank) == 1


@pytest.mark.parametrize("name", [*ROWS, *VIEWS])
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_a_rotation_of_the_features_changes_nothing(name: str, seed: int):
    features = uneven(60, 8, seed) if name in ROWS else seen(30, 4, 8, seed)
    of = (ROWS | VIEWS)[name]
    assert of(features @ rotation(8)) == pytest.approx(of(features), rel=1e-3, abs=0.02)


@pytest.mark.parametrize("name", ["rankme", "alpha_req", *VIEWS])
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_order_of_the_images_changes_nothing(name: str, seed: int):
    features = uneven(60, 8, seed) if name in ROWS else seen(30, 4, 8, seed)
    of, order = (ROWS | VIEWS)[name], torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    assert of(features[order]) == pytest.approx(of(features), rel=1e-4)


@pytest.mark.parametrize("name", ["rankme", "alpha_req", "cluster_learnability", "instance_accuracy", "instance_rank"])
@pytest.mark.parametrize("scale", [1e-3, 8.0, 1e4])
def test_the_scale_of_the_features_changes_nothing_but_lidar(name: str, scale: float):
    features = uneven(60, 8) if name in ROWS else seen(30, 4, 8)
    of = (ROWS | VIEWS)[name]
    assert of(scale * features) == pytest.approx(of(features), rel=1e-3, abs=0.02)


@pytest.mark.parametrize("name", [*ROWS, *VIEWS])
def test_half_precision_is_enough(name: str):
    features = uneven(200, 16) if name in ROWS else seen(40, 5, 16)
    of = (ROWS | VIEWS)[name]
    assert of(features.half()) == pytest.approx(of(features), rel=0.02, abs=0.02)


@pytest.mark.parametrize("name", [*ROWS, *VIEWS])
@pytest.mark.parametrize("rows", [1, 2, 3, 30])
@pytest.mark.parametrize("kind", ["constant", "zero", "random"])
@pytest.mark.parametrize("width", [1, 50])
def test_degenerate_features_have_figures(name: str, rows: int, kind: str, width: int):
    features = {"constant": torch.ones(rows, width), "zero": torch.zeros(rows, width), "random": uneven(rows, width)}
    found = (ROWS | VIEWS)[name](features[kind] if name in ROWS else features[kind][:, None].expand(-1, 3, -1))
    assert not math.isnan(found)
    if kind != "random" and name in ("rankme", "lidar"):
        assert found == pytest.approx(1, abs=1e-3)


def judged(encoder: nn.Module, count: int) -> dict[str, float]:
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    store = ResidentImages.of(pixels)
    return criteria.criteria(encoder, store, raw_features(encoder, store))


@pytest.mark.parametrize("count", [1, 2, 150])
def test_all_criteria_of_an_encoder_have_the_names_of_metrics_and_are_finite(count: int):
    found = judged(build_encoder("resnet8", 8), count)
    assert all(math.isfinite(value) for value in found.values())
    expected = {metric.name for metric in CRITERIA if metric is not FEATURE_STD}
    assert found.keys() == expected if count > 2 else found.keys() <= expected


def test_each_call_has_the_same_figures_and_leaves_random_numbers_and_mode_alone():
    encoder = build_encoder("resnet8", 8).train()
    torch.manual_seed(5)
    first, drawn = judged(encoder, 40), torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert judged(encoder, 40) == first
    assert encoder.training


def test_features_that_are_not_finite_have_no_figures():
    encoder = build_encoder("resnet8", 8)
    with torch.no_grad():
        next(encoder.parameters()).fill_(math.nan)
    assert judged(encoder, 30) == {}


def test_the_views_that_criteria_look_at_are_those_of_an_augmentation_where_there_is_one():
    """An encoder that tells how bright the left half is sees no difference between views that are never mirrored."""

    class Left(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[..., : images.shape[-1] // 2].mean((1, 2, 3))[:, None]

    pixels = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    store, places = ResidentImages.of(pixels), torch.arange(30)
    still = criteria.view_features(Left(), store, places, OFF)
    assert (still - still[:, :1]).abs().max() == 0
    mirrored = criteria.view_features(Left(), store, places, replace(OFF, horizontal_flip_probability=0.5))
    assert (mirrored - mirrored[:, :1]).abs().max() > 0.1
