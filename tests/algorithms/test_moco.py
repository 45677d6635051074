import math

import pytest
import torch
import torch.nn.functional as F

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.moco import MoCo
from algorithms.parts.heads import SplitBatchNorm


def make(**changes) -> MoCo:
    torch.manual_seed(0)
    setting = Setting(images=128, image_size=16, batch_size=16, epochs=2)
    given = {
        "temperature": 0.1,
        "ema_momentum": 0.99,
        "queue_length": 32,
        "projector_width": 8,
        "symmetric": False,
    }
    return MoCo(setting, build_encoder("resnet8", 16), **given | changes)


def batch():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 16, 16, generator=generator) for _ in range(2)], torch.arange(16)


def slow(queries, keys, negatives, temperature):
    """Eq. 1, query by query."""
    total = 0.0
    for q, k in zip(queries.double(), keys.double(), strict=True):
        q, k = q / q.norm(), k / k.norm()
        positive = math.exp(float(q @ k) / temperature)
        others = sum(math.exp(float(q @ n) / temperature) for n in negatives.double())
        total -= math.log(positive / (positive + others)) / len(queries)
    return total


@torch.no_grad()
@pytest.mark.parametrize("symmetric", [False, True])
def test_loss_is_equation_1_against_the_queue_as_it_was_before_the_batch(symmetric):
    method = make(symmetric=symmetric).eval()  # no batch statistics, so that the order of the keys does not matter
    (first, second), index = batch()
    queue = method.queue.contents()
    expected = slow(method.online(first), method.target(second), queue, 0.1)
    if symmetric:
        expected += slow(method.online(second), method.target(first), queue, 0.1)
    assert method.loss([first, second], index).item() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_query_is_not_compared_with_earlier_keys_of_its_own_image(symmetric):
    method = make(symmetric=symmetric).eval()
    (first, second), index = batch()
    method.loss([first, second], index)
    queue, images = method.queue.contents(), method.queue.images.clone()
    assert images.tolist() == [*range(16), *(range(16) if symmetric else [-1] * 16)]
    index = index.flip(0) + 8  # the first 8 queries are of new images
    expected = 0.0
    for queries, keys in ((first, second), (second, first))[: 1 + symmetric]:
        rows = zip(method.online(queries), method.target(keys), index, strict=True)
        expected += sum(slow(q[None], k[None], queue[images != own], 0.1) for q, k, own in rows) / 16
    assert method.loss([first, second], index).item() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_keys_of_every_used_view_enter_the_queue(symmetric):
    method = make(symmetric=symmetric).eval()
    (first, second), index = batch()
    before = method.queue.contents()
    method.loss([first, second], index)
    later = F.normalize(method.target(first), dim=1) if symmetric else before[16:]
    torch.testing.assert_close(method.queue.keys, torch.cat([F.normalize(method.target(second), dim=1), later]))


def test_keys_return_in_the_order_of_their_images_though_computed_in_another():
    method = make()
    seen = []
    method.target.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    (view, _), _ = batch()
    method.target.eval()
    with torch.no_grad():
        expected = method.target(view)
    torch.testing.assert_close(method.keys(view), expected)
    assert not torch.equal(seen[1], view)
    assert torch.equal(seen[1].flatten().sort().values, view.flatten().sort().values)


def test_both_encoders_split_batch_statistics():
    method = make()
    for network in (method.online, method.target):
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms
        assert all(isinstance(m, SplitBatchNorm) for m in norms)


def test_no_gradient_reaches_the_target_or_the_queue():
    method = make(symmetric=True)
    method.loss(*batch()).backward()
    assert all(parameter.grad is None for parameter in method.target.parameters())
    assert all(parameter.grad is not None for parameter in method.online.parameters())
    assert not method.queue.keys.requires_grad


def test_the_target_starts_as_a_copy_and_moves_by_1_minus_momentum():
    method = make(ema_momentum=0.9)
    for mine, theirs in zip(method.target.parameters(), method.online.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        theirs.data += 1
    before = [parameter.clone() for parameter in method.target.parameters()]
    method.after_step(torch.tensor(0.5))
    for old, new in zip(before, method.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)


def test_the_head_is_linear_and_the_target_runs_in_train_mode():
    method = make().train()
    assert isinstance(method.online[1], torch.nn.Linear)
    assert method.target.training


@pytest.mark.parametrize(("given", "effective"), [(4096, 128), (40, 32), (1, 16)])
def test_batch_size_divides_the_queue_which_is_no_longer_than_there_are_images(given, effective):
    found = MoCo.effective({"queue_length": given, "projector_width": 8}, width=64, images=128, batch_size=16)
    assert found == {"queue_length": effective, "projector_width": 8}
    assert len(make(**found).queue.keys) == effective
