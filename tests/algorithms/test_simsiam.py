import copy

import pytest
import torch

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.simsiam import SimSiam
from algorithms.training.optimizers import parameter_groups


def make(image_size: int = 16) -> SimSiam:
    torch.manual_seed(0)
    setting = Setting(images=64, image_size=image_size, batch_size=8, epochs=2)
    encoder = build_encoder("resnet8", image_size)
    return SimSiam(setting, encoder, projector_hidden=32, projector_width=16, predictor_hidden=8)


def batch():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 3, 16, 16, generator=generator) for _ in range(2)], torch.arange(8)


def cosine(a, b):
    return float(a @ b) / float(a.norm() * b.norm())


@torch.no_grad()
def test_loss_is_equation_4():
    method = make().eval()
    views, index = batch()
    z = [method.projector(method.encoder(view)).double() for view in views]
    p = [method.predictor(each.float()).double() for each in z]
    expected = sum(-cosine(p[0][i], z[1][i]) / 2 - cosine(p[1][i], z[0][i]) / 2 for i in range(8)) / 8
    assert method.loss(views, index).item() == pytest.approx(expected, abs=1e-5)


def test_no_gradient_flows_through_the_targets():
    """The gradient equals that of a loss whose targets are another network with the same weights."""
    method, other = make(), make()
    views, index = batch()
    method.loss(views, index).backward()
    frozen = copy.deepcopy(other).requires_grad_(False)
    first, second = (frozen.projector(frozen.encoder(view)) for view in views)
    predicted = [other.predictor(other.projector(other.encoder(view))) for view in views]
    loss = -torch.cosine_similarity(predicted[0], second).mean() / 2
    loss = loss - torch.cosine_similarity(predicted[1], first).mean() / 2
    loss.backward()
    for mine, expected in zip(method.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad)


def test_the_targets_come_from_the_same_weights_there_is_no_second_network():
    method = make()
    names = {name.split(".")[0] for name, _ in method.named_parameters()}
    assert names == {"encoder", "projector", "predictor"}


@pytest.mark.parametrize(("image_size", "widths"), [(64, [32, 16]), (65, [32, 32, 16])])
def test_the_projector_has_two_layers_for_small_images_and_three_for_others_each_with_batch_norm(image_size, widths):
    projector = list(make(image_size).projector)
    assert [layer.out_features for layer in projector[::3]] == widths
    assert [type(layer) for layer in projector[1::3]] == [torch.nn.BatchNorm1d] * len(widths)


def test_the_projector_ends_in_batch_norm_without_scale_the_predictor_in_a_linear_layer():
    method = make()
    predictor = list(method.predictor)
    assert isinstance(method.projector[-1], torch.nn.BatchNorm1d)
    assert not method.projector[-1].affine
    assert [type(m) for m in predictor] == [
        torch.nn.Linear,
        torch.nn.BatchNorm1d,
        torch.nn.ReLU,
        torch.nn.Linear,
    ]


def test_the_predictor_and_nothing_else_keeps_its_learning_rate():
    method = make()
    groups = parameter_groups(method, method.constant_learning_rate)
    kept = {id(parameter) for group in groups if group.constant for parameter in group.parameters}
    assert kept == {id(parameter) for parameter in method.predictor.parameters()}


def test_small_images_are_not_blurred_and_crops_hold_a_fifth_of_the_image():
    for view in make().views:
        assert view.blur == 0
        assert view.scale == (0.2, 1.0)
