import math

import pytest
import torch

from algorithms.cpc import CPC, predictive_nce
from algorithms.method import Setting


def make(size=16, **changes) -> CPC:
    torch.manual_seed(0)
    setting = Setting(images=64, image_size=size, batch_size=8, epochs=2)
    given = {"prediction_rows": 5, "target_width": 8, "context_blocks": 3, "logit_scale": 0.1}
    return CPC(setting, CPC.build_encoder("resnet8", size), **given | changes)


def slow(predicted, targets, offset, scale):
    """CPC v2, eq. 1, prediction by prediction."""
    batch, _, rows, columns = targets.shape
    losses = []
    for b in range(batch):
        for row in range(rows - offset):
            for column in range(columns):
                z = predicted[b, :, row, column].detach()
                exp = {
                    (i, r, c): math.exp(scale * float(z @ targets[i, :, r, c].detach()))
                    for i in range(batch)
                    for r in range(rows)
                    for c in range(columns)
                }
                losses.append(-math.log(exp[b, row + offset, column] / sum(exp.values())))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("offset", [2, 3])
def test_loss_is_equation_1_with_all_patches_of_the_batch_as_negatives(offset):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 4, 5, 3, dtype=torch.float64, generator=generator)
    predicted = torch.randn(2, 4, 5 - offset, 3, dtype=torch.float64, generator=generator)
    found = predictive_nce(predicted, targets, offset, 0.7)
    assert found.item() == pytest.approx(slow(predicted, targets, offset, 0.7), abs=1e-5)
    assert torch.autograd.gradcheck(
        lambda p, t: predictive_nce(p, t, offset, 0.7), (predicted.requires_grad_(), targets.requires_grad_())
    )


def test_context_of_a_row_has_no_gradient_from_rows_below_and_some_from_those_above():
    method = make()
    grid = torch.randn(2, method.encoder.width, 6, 6, requires_grad=True)
    context = method.context(grid)
    for row in range(6):
        (gradient,) = torch.autograd.grad(context[:, :, row].sum(), grid, retain_graph=True)
        assert bool((gradient[:, :, row + 1 :] == 0).all())
        assert gradient[:, :, row].abs().sum() > 0
        if row:
            assert gradient[:, :, row - 1].abs().sum() > 0


@pytest.mark.parametrize("size", [16, 32])
def test_a_prediction_has_seen_no_pixel_of_what_it_predicts(size):
    method = make(size)
    image = torch.rand(1, 3, size, size, requires_grad=True)
    context = method.context(method.encoder.grid(image))
    patch, stride = 3 * size // 8, size // 8
    for offset in method.offsets:
        for row in range(6 - offset):
            (gradient,) = torch.autograd.grad(context[:, :, row].sum(), image, retain_graph=True)
            first = (row + offset) * stride  # the top row of pixels of the predicted patches
            assert gradient[:, :, first:].abs().sum() == 0
            assert gradient[:, :, row * stride : row * stride + patch].abs().sum() > 0


@pytest.mark.parametrize("rows", [3, 4, 5, 9])
def test_rows_that_share_pixels_are_not_predicted_and_no_term_is_empty(rows):
    given = {"prediction_rows": rows, "target_width": 8}
    method = make(**CPC.effective(given, width=128, images=64, batch_size=8))
    assert list(method.offsets) == list(range(3, min(rows, 5) + 1))
    assert torch.isfinite(method.loss([torch.rand(4, 3, 16, 16)], torch.arange(4)))


def test_every_offset_has_its_own_prediction_and_all_terms_add_up():
    method = make()
    view = torch.rand(3, 3, 16, 16)
    loss = method.loss([view], torch.arange(3))
    grid = method.encoder.grid(view)
    context, targets = method.context(grid), method.targets(grid)
    expected = sum(
        slow(predictor(context)[:, :, : 6 - offset].double(), targets.double(), offset, 0.1)
        for offset, predictor in zip(method.offsets, method.predictors, strict=True)
    )
    assert loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("size", "patch"), [(16, 6), (32, 12)])
def test_a_patch_is_encoded_as_if_it_were_alone(size, patch):
    encoder = make(size).encoder
    images = torch.rand(2, 3, size, size)
    grid = encoder.grid(images)
    changed = images.clone()
    row, column, stride = 3, 4, size // 8
    rows, columns = slice(row * stride, row * stride + patch), slice(column * stride, column * stride + patch)
    outside = torch.ones(size, size, dtype=torch.bool)
    outside[rows, columns] = False
    changed[:, :, outside] = torch.rand(2, 3, int(outside.sum()))
    changed[1] = torch.rand(3, size, size)  # nor do other images matter
    assert torch.equal(encoder.grid(changed)[0, :, row, column], grid[0, :, row, column])


def test_no_batch_norm_and_layer_norm_of_each_encoding():
    method = make()
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in method.modules())
    assert isinstance(method.encoder.norm, torch.nn.LayerNorm)


def test_features_are_the_mean_of_the_grid():
    method = make()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(method.judged_encoder(images), method.encoder.grid(images).flatten(2).mean(2))


def test_loss_survives_half_precision_encodings():
    predicted = 300 * torch.ones(2, 64, 5, 7, dtype=torch.bfloat16)
    loss = predictive_nce(predicted, 300 * torch.ones(2, 64, 7, 7, dtype=torch.bfloat16), 2, 1.0)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_the_encoder_follows_the_asked_one_in_size_and_refuses_unknown_names():
    small, large = (CPC.build_encoder(name, 32) for name in ("resnet8", "resnet18"))
    assert small.width < large.width
    assert small.name != large.name
    with pytest.raises(ValueError, match="resnet18"):
        CPC.build_encoder("resnet81", 32)
