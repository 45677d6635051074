"""K-means beside the labels, against scikit-learn's measures."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from algorithms.evaluation import clustering
from algorithms.evaluation.clustering import figures, mutual_information, rand_index
from tests.algorithms.evaluation.test_linear import clusters


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_measures_are_scikit_learn_s(pairs):
    one, other = (torch.tensor(side) for side in zip(*pairs, strict=True))
    counts = torch.bincount(one * 4 + other, minlength=16).view(4, 4).double()
    assert mutual_information(counts) == pytest.approx(normalized_mutual_info_score(one, other), abs=1e-9)
    assert rand_index(counts) == pytest.approx(adjusted_rand_score(one, other), abs=1e-9)


def test_classes_that_lie_apart_are_found_and_noise_is_none():
    apart, labels = clusters(90, apart=20.0)
    assert figures(apart, labels, 3) == {"nmi": pytest.approx(1), "ari": pytest.approx(1)}
    noise = figures(torch.randn(300, 4, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3, 3)
    assert abs(noise["ari"]) < 0.05
    assert noise["nmi"] < 0.05


def test_it_draws_no_random_numbers_and_says_the_same_again():
    features, labels = clusters(60)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = figures(features, labels, 3)
    assert torch.equal(torch.rand(3), expected)
    assert figures(features, labels, 3) == first


def test_of_many_images_some_are_clustered_and_many_classes_are_not(monkeypatch):
    monkeypatch.setattr(clustering, "MOST", 30)
    features, labels = clusters(90)
    assert figures(features, labels, 3) == figures(features[::3], labels[::3], 3)
    assert figures(features, labels, clustering.MOST_CLASSES + 1) == {}


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_images_than_classes_are_clustered(count: int):
    found = figures(torch.randn(count, 4), torch.arange(count), 5)
    assert all(0 <= value <= 1 for value in found.values())
