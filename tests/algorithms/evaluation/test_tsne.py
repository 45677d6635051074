"""The map, and how far it can be trusted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.evaluation.tsne import principal, trustworthiness, tsne

manifold = pytest.importorskip("sklearn.manifold")


def rows(count: int, width: int = 16, groups: int = 5, noise: float = 0.7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    centres = torch.randn(groups, width, generator=generator)
    made = centres[torch.arange(count) % groups] + noise * torch.randn(count, width, generator=generator)
    return F.normalize(made, dim=1)


@settings(max_examples=15, deadline=None)
@given(st.integers(12, 60), st.integers(1, 5))
def test_trustworthiness_is_scikit_learns(count, k):
    found, places = rows(count), torch.randn(count, 2, generator=torch.Generator().manual_seed(k))
    expected = manifold.trustworthiness(found.double().numpy(), places.numpy(), n_neighbors=k, metric="cosine")
    assert trustworthiness(found, places, k) == pytest.approx(expected, abs=1e-6)


def test_a_map_is_as_good_as_scikit_learns_better_than_two_components_and_the_same_again():
    found = rows(150)
    made = tsne(found)
    theirs = manifold.TSNE(init="pca", metric="cosine", random_state=0, max_iter=500).fit_transform(found.numpy())
    assert trustworthiness(found, made) > trustworthiness(found, torch.from_numpy(theirs)) - 0.03
    assert trustworthiness(found, made) > trustworthiness(found, principal(found)) + 0.03
    assert torch.equal(made, tsne(found))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", ["alike", "zero", "one number"])
def test_every_number_of_rows_has_a_map(count, kind):
    found = {"alike": torch.full((count, 4), 0.5), "zero": torch.zeros(count, 4), "one number": torch.ones(count, 1)}
    made = tsne(found[kind], iterations=30)
    assert made.shape == (count, 2)
    assert torch.isfinite(made).all()
    assert 0 <= trustworthiness(found[kind], made) <= 1


def test_principal_components_are_those_of_numpy_up_to_sign():
    found = rows(30).double()
    centred = found - found.mean(0)
    left, size, _ = np.linalg.svd(centred.numpy(), full_matrices=False)
    np.testing.assert_allclose(principal(found).abs(), np.abs(left * size)[:, :2], atol=1e-5)
