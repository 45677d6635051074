"""Shared losses against slow transcriptions of their equations, sample by sample in double precision."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from algorithms.barlow import barlow_twins
from algorithms.parts.losses import cross_view_entropy, info_nce, negative_cosine, nt_xent, sinkhorn
from algorithms.pirl import noise_contrastive


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def cross_entropy_of(scores: list[float], right: int) -> float:
    return -math.log(math.exp(scores[right]) / sum(math.exp(score) for score in scores))


batches = st.tuples(st.integers(2, 7), st.integers(2, 5), st.floats(0.05, 2.0), st.integers(0, 10**6))


@given(batches)
def test_info_nce_has_the_other_keys_of_the_batch_as_negatives(case):
    batch, width, temperature, seed = case
    queries, keys = draw(batch, width, seed=seed), draw(batch, width, seed=seed + 1)
    expected = sum(
        cross_entropy_of([cosine(queries[i], keys[j]) / temperature for j in range(batch)], i) for i in range(batch)
    )
    assert info_nce(queries, keys, temperature).item() == pytest.approx(expected / batch, rel=1e-5)


@given(batches)
def test_info_nce_with_a_queue_has_its_rows_as_the_only_negatives(case):
    batch, width, temperature, seed = case
    queries, keys = draw(batch, width, seed=seed), draw(batch, width, seed=seed + 1)
    queue = F.normalize(draw(9, width, seed=seed + 2), dim=1)
    expected = 0.0
    for query, key in zip(queries, keys, strict=True):
        scores = [cosine(query, key)] + [cosine(query, negative) for negative in queue]
        expected += cross_entropy_of([score / temperature for score in scores], 0)
    found = info_nce(queries, keys, temperature, queue)
    assert found.item() == pytest.approx(expected / batch, rel=1e-5)


@given(batches)
def test_nt_xent_sums_over_all_views_but_the_view_itself(case):
    batch, width, temperature, seed = case
    first, second = draw(batch, width, seed=seed), draw(batch, width, seed=seed + 1)
    views = [*first, *second]
    expected = 0.0
    for i in range(2 * batch):
        others = [j for j in range(2 * batch) if j != i]
        scores = [cosine(views[i], views[j]) / temperature for j in others]
        expected += cross_entropy_of(scores, others.index((i + batch) % (2 * batch)))
    found = nt_xent(first, second, temperature)
    assert found.item() == pytest.approx(expected / (2 * batch), rel=1e-5)


def test_nt_xent_of_a_pair_has_no_negative_left():
    assert nt_xent(draw(1, 4), draw(1, 4, seed=1), 0.5).item() == pytest.approx(0)


def test_negative_cosine_is_the_mean_over_rows():
    a, b = draw(6, 4), draw(6, 4, seed=1)
    expected = -sum(cosine(x, y) for x, y in zip(a, b, strict=True)) / 6
    assert negative_cosine(a, b).item() == pytest.approx(expected, rel=1e-5)


@given(st.integers(2, 4), st.integers(2, 5), st.integers(2, 6), st.integers(0, 10**6))
def test_cross_view_entropy_leaves_out_pairs_of_the_same_view(views, batch, count, seed):
    logits = draw(views, batch, count, seed=seed)
    targets = F.softmax(draw(2, batch, count, seed=seed + 1), dim=2)
    expected = []
    for target in range(2):
        for view in range(views):
            if view == target:
                continue
            for i in range(batch):
                total = sum(math.exp(score) for score in logits[view, i])
                expected.append(
                    -sum(
                        float(targets[target, i, k]) * math.log(math.exp(logits[view, i, k]) / total)
                        for k in range(count)
                    )
                )
    found = cross_view_entropy(logits, targets)
    assert found.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_gradients_are_those_of_the_losses():
    a, b = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    negatives = F.normalize(draw(5, 3, seed=2), dim=1)
    assert gradcheck(lambda a, b: info_nce(a, b, 0.3), (a, b))
    assert gradcheck(lambda a, b: info_nce(a, b, 0.3, negatives), (a, b))
    assert gradcheck(lambda a, b: nt_xent(a, b, 0.3), (a, b))
    assert gradcheck(negative_cosine, (a, b))
    targets = F.softmax(draw(2, 4, 3, seed=3), dim=2)
    assert gradcheck(lambda z: cross_view_entropy(z, targets), (draw(3, 4, 3, seed=4).requires_grad_(),))


def test_losses_compute_in_full_precision_under_autocast():
    a, b = draw(64, 32).float(), draw(64, 32, seed=1).float()
    bank, own = F.normalize(draw(48, 32, seed=2).float(), dim=1), torch.zeros(64, 48, dtype=torch.bool)
    targets = F.softmax(draw(2, 64, 32, seed=3).float() / 0.05, dim=2)
    for loss in (
        lambda: info_nce(a, b, 0.05),
        lambda: info_nce(a, b, 0.05, bank),
        lambda: nt_xent(a, b, 0.05),
        lambda: negative_cosine(a, b),
        lambda: cross_view_entropy(draw(3, 64, 32, seed=4).float() / 0.05, targets),
        lambda: noise_contrastive(a, F.normalize(b, dim=1), bank, own, 0.05),
        lambda: barlow_twins(a, b, 0.005),
    ):
        exact = loss()
        with torch.autocast("cpu", torch.bfloat16):
            assert loss() == exact
    halves = info_nce(a.bfloat16(), b.bfloat16(), 0.05)
    assert halves.dtype == torch.float32
    assert halves == info_nce(a.bfloat16().float(), b.bfloat16().float(), 0.05)


# ------------------------------------------------------------------------------------------------------- Sinkhorn-Knopp


def slow_sinkhorn(scores: torch.Tensor, epsilon: float, iterations: int) -> list[list[float]]:
    """The authors' listing: prototypes' rows to 1 / K, samples' columns to 1 / B, in turn; then columns to 1."""
    samples, prototypes = scores.shape
    q = [[math.exp(float(scores[i, k]) / epsilon) for i in range(samples)] for k in range(prototypes)]
    for _ in range(iterations):
        for k in range(prototypes):
            total = sum(q[k])
            q[k] = [value / total / prototypes for value in q[k]]
        for i in range(samples):
            total = sum(q[k][i] for k in range(prototypes))
            for k in range(prototypes):
                q[k][i] = q[k][i] / total / samples
    return [[q[k][i] * samples for k in range(prototypes)] for i in range(samples)]


@given(st.integers(2, 6), st.integers(2, 5), st.floats(0.02, 1.0), st.integers(1, 10), st.integers(0, 10**6))
def test_sinkhorn_is_the_authors_listing(samples, prototypes, epsilon, iterations, seed):
    scores = torch.tanh(draw(samples, prototypes, seed=seed))
    expected = torch.tensor(slow_sinkhorn(scores, epsilon, iterations), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, epsilon, iterations), expected, rtol=1e-5, atol=1e-9)


@given(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), st.integers(0, 10**6))
def test_sinkhorn_gives_every_prototype_the_same_mass(dtype, seed):
    scores = (0.5 * draw(96, 8, seed=seed)).clamp(-1, 1).to(dtype)
    codes = sinkhorn(scores, 0.1, 200)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.sum(1), torch.ones(96))
    torch.testing.assert_close(codes.sum(0), torch.full((8,), 96 / 8), rtol=1e-2, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sinkhorn_survives_scores_whose_exponentials_overflow_or_vanish(dtype):
    scores = torch.tensor([[1.0, -1.0, 0.0], [1.0, -1.0, 0.5], [-1.0, -1.0, 1.0]], dtype=dtype)
    codes = sinkhorn(scores, 0.005, 500)  # exp(1 / 0.005) is beyond float32, exp(-1 / 0.005) below it
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(0), torch.ones(3), rtol=0.05, atol=0)


def test_sinkhorn_passes_no_gradient():
    assert not sinkhorn(draw(4, 3).requires_grad_(), 0.1, 3).requires_grad
