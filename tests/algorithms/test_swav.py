"""SwAV against eq. 1-6 and the traps of its kind."""

import math

import pytest
import torch
import torch.nn.functional as F

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import sinkhorn
from algorithms.swav import SwAV
from bench.search.space import load
from tests.algorithms.phases import frozen_steps


def swav(*, queue_length: int = 16, local_crops: int = 2, images: int = 64, epochs: int = 10, **changes) -> SwAV:
    torch.manual_seed(0)
    hyperparameters = {
        "temperature": 0.1,
        "prototypes": 12,
        "epsilon": 0.05,
        "sinkhorn_iterations": 3,
        "projector_hidden": 16,
        "projector_width": 8,
        "queue_start": 0.3,
        "frozen_share": 0.1,
    }
    return SwAV(
        Setting(images=images, image_size=16, batch_size=8, epochs=epochs),
        build_encoder("resnet8", 16),
        queue_length=queue_length,
        local_crops=local_crops,
        **hyperparameters | changes,
    )


def crops(method: SwAV) -> list[torch.Tensor]:
    return [torch.randn(8, 3, view.size, view.size) for view in method.views]


def scores_of(method: SwAV, views: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [V, B, D] and their cosines with the prototypes [V, B, K], transcribed; crops of one size are one
    batch for the encoder, all crops for the projector."""
    found = [method.encoder(torch.cat(views[:2])), method.encoder(torch.cat(views[2:]))]
    z = F.normalize(method.projector(torch.cat(found)), dim=1).unflatten(0, (len(views), 8)).double()
    return z, z @ F.normalize(method.prototypes.weight.double(), dim=1).T


@pytest.mark.parametrize("queued", [False, True])
def test_the_loss_is_the_swapped_prediction_of_eq_6(queued):
    method = swav()
    method.before_epoch(3 if queued else 1, lambda: ())
    views = crops(method)
    with torch.no_grad():
        _, scores = scores_of(method, views)
    total, terms = 0.0, 0
    for target in (0, 1):
        rows = scores[target]
        if queued:
            old = method.queues[target].keys.double()
            rows = torch.cat([rows, old @ F.normalize(method.prototypes.weight.detach().double(), dim=1).T])
        # The codes are those of this batch's rows.
        codes = sinkhorn(rows, 0.05, 3)[:8]
        for view in range(len(views)):
            if view == target:
                continue
            for i in range(8):
                exponents = [math.exp(float(score) / 0.1) for score in scores[view, i]]
                total -= sum(float(codes[i, k]) * math.log(exponents[k] / sum(exponents)) for k in range(12))
            terms += 1
    found = method.loss(views, torch.arange(8))
    assert found.item() == pytest.approx(total / terms / 8, rel=1e-4)


def test_codes_pass_no_gradient():
    """The gradient is that of fixed codes."""
    method = swav(queue_length=0, frozen_share=0.0)
    views = crops(method)
    loss = method.loss(views, torch.arange(8))
    gradient = torch.autograd.grad(loss, method.prototypes.weight)[0]
    _, scores = scores_of(method, views)
    codes = [sinkhorn(scores[view], 0.05, 3).detach() for view in (0, 1)]
    terms = [
        -(codes[target] * F.log_softmax(scores[view] / 0.1, dim=1)).sum(1).mean()
        for target in (0, 1)
        for view in range(4)
        if view != target
    ]
    expected = torch.autograd.grad(torch.stack(terms).mean(), method.prototypes.weight)[0]
    torch.testing.assert_close(gradient, expected.float(), rtol=1e-3, atol=1e-6)


def test_the_encoder_learns_from_every_crop():
    method = swav()
    views = [view.requires_grad_() for view in crops(method)]
    method.loss(views, torch.arange(8)).backward()
    assert all(view.grad.abs().sum() > 0 for view in views)
    assert all(parameter.grad is not None for parameter in method.encoder.parameters())


def test_prototypes_are_frozen_at_first_and_then_learn():
    method = swav(frozen_share=0.1)
    for progress, frozen in ((0.0, True), (0.05, True), (0.1, False), (1.0, False)):
        if progress:
            method.after_step(torch.tensor(progress))
        method.prototypes.weight.grad = None
        method.loss(crops(method), torch.arange(8)).backward()
        assert bool(method.prototypes.weight.grad.any()) is not frozen


def test_prototypes_are_frozen_for_a_tenth_of_a_short_training_where_the_share_would_be_a_step():
    method = swav(frozen_share=0.001)
    steps = method.setting.steps
    assert frozen_steps(method) == [True] * (steps // 10) + [False] * (steps - steps // 10)


def test_each_global_view_has_a_queue_of_its_own_written_after_its_codes():
    method = swav()
    method.before_epoch(3, lambda: ())
    before = [queue.keys.clone() for queue in method.queues]
    views = crops(method)
    with torch.no_grad():
        z, _ = scores_of(method, views)
    method.loss(views, torch.arange(8))
    for view, queue in enumerate(method.queues):
        torch.testing.assert_close(queue.keys[:8].double(), z[view], rtol=1e-4, atol=1e-5)
        assert torch.equal(queue.keys[8:], before[view][8:])


@pytest.mark.parametrize(("epoch", "used"), [(0, False), (2, False), (3, True), (9, True)])
def test_the_queue_joins_when_its_share_of_the_epochs_is_done(epoch, used):
    method = swav(queue_start=0.3)
    method.before_epoch(epoch, lambda: ())
    assert method.queue_used is used


def test_a_queue_is_full_of_embeddings_before_it_is_used():
    given = {"queue_length": 10_000, "projector_hidden": 16, "projector_width": 8}
    method = swav(queue_start=0.0, **SwAV.effective(given, width=64, images=64, batch_size=8))
    method.before_epoch(0, lambda: ())
    assert not method.queue_used
    assert len(method.queues[0].keys) <= method.setting.images  # one epoch fills it
    method.before_epoch(1, lambda: ())
    assert method.queue_used


def test_without_a_queue_codes_come_from_the_batch_alone():
    method = swav(queue_length=0)
    method.before_epoch(5, lambda: ())
    assert not method.queue_used
    assert torch.isfinite(method.loss(crops(method), torch.arange(8)))


@pytest.mark.parametrize("local_crops", [0, 2])
def test_local_crops_are_as_many_as_asked_for_and_may_be_none(local_crops):
    method = swav(local_crops=local_crops)
    assert [view.size for view in method.views] == [16] * 2 + [9] * local_crops
    loss = method.loss(crops(method), torch.arange(8))
    loss.backward()
    assert torch.isfinite(loss)
    assert method.encoder[0][0].weight.grad.any()


def test_the_published_recipe_is_solo_learns_for_cifar():
    # scripts/pretrain/cifar/swav.yaml: each number; solo/methods/swav.py: sk_epsilon 0.05, sk_iters 3
    wanted = {"temperature": 0.1, "prototypes": 3000, "epsilon": 0.05, "sinkhorn_iterations": 3, "local_crops": 0}
    wanted |= {"projector_hidden": 2048, "projector_width": 128, "queue_length": 3840, "queue_start": 50 / 1000}
    wanted |= {"frozen_share": 2 / 1000, "learning_rate": 0.6, "weight_decay": 1e-6, "batch_size": 256}
    wanted |= {"optimizer": "larc", "trust_coefficient": 0.02, "warmup": 10 / 1000}
    space = load("swav", 32)
    assert space.published == wanted
    assert {"lars", "larc"} == set(space.choices["optimizer"])
    assert space.entries["temperature"]["high"] == 1.0
