"""ReLIC against the objective of section 2.3 and the traps of its kind."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import info_nce
from algorithms.relic import ReLIC, relic

SETTING = Setting(images=64, image_size=16, batch_size=8, epochs=4)


def draw(count: int, *shape: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(count)]


def distribution(query: torch.Tensor, keys: torch.Tensor, temperature: float) -> list[float]:
    """p(j | x_i), j over the batch."""
    scores = [
        math.exp(float(query @ key) / math.sqrt(float(query @ query) * float(key @ key)) / temperature) for key in keys
    ]
    return [score / sum(scores) for score in scores]


@given(st.integers(2, 6), st.floats(0.1, 2), st.floats(0, 10), st.integers(0, 10**6))
def test_the_loss_is_contrast_plus_divergence_of_full_distributions(batch, temperature, weight, seed):
    first, second, target_first, target_second = draw(4, batch, 5, seed=seed)
    expected = 0.0
    for i in range(batch):
        ab = distribution(first[i], target_second, temperature)
        ba = distribution(second[i], target_first, temperature)
        for p, q in ((ab, ba), (ba, ab)):
            divergence = sum(p[j] * math.log(p[j] / q[j]) for j in range(batch))
            expected += (-math.log(p[i]) + weight * divergence) / (2 * batch)
    found = relic(first, second, target_first, target_second, temperature, weight)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_the_gradient_is_that_of_the_loss():
    inputs = [z.requires_grad_() for z in draw(4, 4, 3)]
    assert gradcheck(lambda *z: relic(*z, 0.3, 0.7), inputs)


def test_the_divergence_compares_more_than_the_diagonals():
    """Two row distributions with the same diagonal differ elsewhere."""
    first, second = torch.eye(3), torch.eye(3)
    keys = torch.tensor([[0.0, 0.8, 0.6], [0.6, 0.0, 0.8], [0.8, 0.6, 0.0]])
    swapped = torch.tensor([[0.0, 0.6, 0.8], [0.8, 0.0, 0.6], [0.6, 0.8, 0.0]])
    with_penalty = relic(first, second, swapped, keys, 0.1, 1.0)
    without = relic(first, second, swapped, keys, 0.1, 0.0)
    assert with_penalty - without > 0.1


def test_without_the_penalty_it_is_symmetric_info_nce():
    first, second, target_first, target_second = draw(4, 6, 5)
    expected = (info_nce(first, target_second, 0.2) + info_nce(second, target_first, 0.2)) / 2
    torch.testing.assert_close(relic(first, second, target_first, target_second, 0.2, 0.0), expected)


def test_half_precision_is_raised_before_the_softmax():
    halves = [z.bfloat16() for z in draw(4, 16, 8)]
    found = relic(*halves, 0.05, 1.0)
    assert found.dtype == torch.float32
    assert found == relic(*[z.float() for z in halves], 0.05, 1.0)


def method(momentum: float = 0.5) -> ReLIC:
    torch.manual_seed(0)
    return ReLIC(
        SETTING,
        build_encoder("resnet8", 16),
        temperature=0.2,
        invariance_weight=1.0,
        ema_momentum=momentum,
        projector_hidden=16,
        projector_width=8,
    )


def test_queries_meet_the_targets_of_the_other_view_all_normalised_by_their_own_batch():
    relic_method, (first, second) = method(), [torch.randn(8, 3, 16, 16) for _ in range(2)]
    with torch.no_grad():
        for parameter in relic_method.target.parameters():
            parameter *= 1.5
        queries = [relic_method.online(view) for view in (first, second)]
        targets = [relic_method.target(view) for view in (first, second)]
    expected = relic(*queries, *targets, 0.2, 1.0)
    assert relic_method.loss([first, second], torch.arange(8)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert relic(*queries, *targets[::-1], 0.2, 1.0).item() != pytest.approx(expected.item(), rel=1e-2)


def test_no_gradient_reaches_the_target():
    relic_method = method()
    relic_method.loss([torch.randn(8, 3, 16, 16) for _ in range(2)], torch.arange(8)).backward()
    assert all(parameter.grad is None for parameter in relic_method.target.parameters())
    assert all(parameter.grad is not None for parameter in relic_method.online.parameters())


def test_the_target_moves_with_the_global_step():
    relic_method = method()
    with torch.no_grad():
        for parameter in relic_method.online.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in relic_method.target.parameters()]
    relic_method.after_step(torch.tensor(0.5))
    for new, old in zip(relic_method.target.parameters(), before, strict=True):
        torch.testing.assert_close(new, old + 0.25)
    relic_method.after_step(torch.tensor(1.0))
    for new, old in zip(relic_method.target.parameters(), before, strict=True):
        torch.testing.assert_close(new, old + 0.25)
