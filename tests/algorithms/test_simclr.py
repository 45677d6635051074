"""SimCLR against algorithm 1 of its paper."""

import math

import pytest
import torch
import torch.nn.functional as F

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import nt_xent
from algorithms.simclr import SimCLR


def simclr(image_size: int = 16) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(
        Setting(64, image_size, 8, 4),
        build_encoder("resnet8", image_size),
        temperature=0.5,
        projector_width=8,
    )


def test_the_loss_of_two_views_is_algorithm_1_on_interleaved_projections():
    method = simclr()
    first, second = (torch.randn(8, 3, 16, 16) for _ in range(2))
    with torch.no_grad():
        z = F.normalize(method.projector(method.encoder(torch.cat([first, second]))).double(), dim=1)
    # The paper interleaves: views 2k - 1 and 2k are of image k.
    rows = [z[view * 8 + image] for image in range(8) for view in range(2)]

    def term(i: int, j: int) -> float:
        total = sum(math.exp(float(rows[i] @ rows[k]) / 0.5) for k in range(16) if k != i)
        return -math.log(math.exp(float(rows[i] @ rows[j]) / 0.5) / total)

    expected = sum(term(2 * k, 2 * k + 1) + term(2 * k + 1, 2 * k) for k in range(8)) / 16
    found = method.loss([first, second], torch.arange(8))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_both_views_get_gradients_and_negatives_involve_both():
    method = simclr()
    images = [torch.randn(8, 3, 16, 16, requires_grad=True) for _ in range(2)]
    method.loss(images, torch.arange(8)).backward()
    assert all(view.grad.flatten(1).norm(dim=1).min() > 0 for view in images)


def test_equal_views_of_unlike_images_have_nearly_the_least_loss():
    z = torch.eye(8)
    least = -math.log(math.exp(2) / (math.exp(2) + 14))
    assert nt_xent(z, z, 0.5).item() == pytest.approx(least, rel=1e-5)


def test_the_projector_is_as_wide_as_the_encoder_and_normed_in_both_layers():
    linear, norm, _, last, last_norm = simclr().projector
    assert (linear.weight.shape, last.weight.shape) == ((64, 64), (8, 64))
    assert norm.affine
    assert last_norm.affine
    assert linear.bias is last.bias is None


def test_only_large_images_are_blurred():
    assert all(view.blur == 0 for view in simclr(32).views)
    assert all(view.blur == 0.5 for view in simclr(96).views)
