"""BYOL against eq. 2 and the traps of its kind."""

import pytest
import torch
from torch.autograd import gradcheck

from algorithms.byol import BYOL
from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import negative_cosine

SETTING = Setting(images=64, image_size=16, batch_size=8, epochs=4)


def byol(momentum: float = 0.9) -> BYOL:
    torch.manual_seed(0)
    return BYOL(
        SETTING,
        build_encoder("resnet8", 16),
        ema_momentum=momentum,
        projector_hidden=16,
        projector_width=8,
        predictor_hidden=16,
    )


def views(count: int = 2) -> list[torch.Tensor]:
    return [torch.randn(8, 3, 16, 16) for _ in range(count)]


def test_the_loss_is_the_squared_distance_of_normalised_vectors_summed_over_both_orders():
    method, (first, second) = byol(), views()
    expected = 0.0
    for online, target in ((first, second), (second, first)):
        q = method.predictor(method.online(online)).detach().double()
        z = method.target(target).double()
        for i in range(8):
            p, k = q[i] / q[i].norm(), z[i] / z[i].norm()
            expected += sum((float(p[d]) - float(k[d])) ** 2 for d in range(8)) / 8
    assert method.loss([first, second], torch.arange(8)).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_loss():
    a, b = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradcheck(lambda a, b: 2 + 2 * negative_cosine(a, b), (a, b))


def test_no_gradient_reaches_the_target():
    method = byol()
    method.loss(views(), torch.arange(8)).backward()
    assert all(parameter.grad is None for parameter in method.target.parameters())
    assert all(parameter.grad is not None for parameter in method.online.parameters())
    assert all(parameter.grad is not None for parameter in method.predictor.parameters())


def test_the_target_moves_with_the_global_step():
    """A cosine that restarts in every epoch would keep the momentum near its start."""
    method = byol(momentum=0.5)
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in method.target.parameters()]
    method.after_step(torch.tensor(0.5))
    for new, old, online in zip(method.target.parameters(), before, method.online.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * online)
    at_last = [parameter.clone() for parameter in method.target.parameters()]
    method.after_step(torch.tensor(1.0))
    assert all(torch.equal(a, b) for a, b in zip(method.target.parameters(), at_last, strict=True))


def test_projector_and_predictor_have_a_hidden_batch_norm():
    method = byol()
    for head in (method.online[1], method.predictor):
        assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_the_target_normalises_by_its_own_batches():
    method = byol()
    before = {name: value.clone() for name, value in method.target.named_buffers()}
    method.loss(views(), torch.arange(8))
    assert method.target.training
    assert any(not torch.equal(value, before[name]) for name, value in method.target.named_buffers())


def test_knn_sees_the_encoder_that_is_trained():
    method = byol()
    assert method.online[0] is method.encoder
    images = torch.randn(2, 3, 16, 16)
    method.eval()
    assert torch.equal(method.judged_encoder(images), method.encoder(images))
