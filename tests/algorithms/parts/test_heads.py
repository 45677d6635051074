"""Heads: perceptrons, prototypes, batches by size, split batch norm."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from algorithms.parts.heads import Prototypes, SplitBatchNorm, by_size, mlp, split_batch_norm


def kinds(network: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in network]


def test_an_mlp_has_batch_norm_and_relu_between_its_layers_alone():
    network = mlp([3, 5, 7, 2])
    assert kinds(network) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert network(torch.randn(4, 3)).shape == (4, 2)


def test_a_layer_has_a_bias_exactly_where_no_norm_follows():
    assert [layer.bias is not None for layer in mlp([3, 5, 2]) if isinstance(layer, nn.Linear)] == [False, True]
    plain = mlp([3, 5, 2], batch_norm=False)
    assert kinds(plain) == ["Linear", "ReLU", "Linear"]
    assert all(layer.bias is not None for layer in plain if isinstance(layer, nn.Linear))


@pytest.mark.parametrize(("last", "affine"), [("plain", False), ("affine", True)])
def test_the_last_norm_has_scale_and_shift_only_if_affine(last, affine):
    network = mlp([3, 5, 2], last_batch_norm=last)
    assert network[-1].affine is affine
    assert network[-2].bias is None
    assert network[1].affine


def test_an_mlp_takes_another_activation():
    assert kinds(mlp([3, 5, 2], batch_norm=False, activation=nn.GELU)) == ["Linear", "GELU", "Linear"]


def test_prototypes_give_cosines_without_bias():
    prototypes = Prototypes(4, 6)
    assert [name for name, _ in prototypes.named_parameters()] == ["weight"]
    z = torch.randn(3, 4)
    expected = [[float(F.cosine_similarity(row, c, dim=0)) for c in prototypes.weight.detach()] for row in z]
    torch.testing.assert_close(prototypes(z), torch.tensor(expected))
    with torch.no_grad():
        prototypes.weight *= 7
    torch.testing.assert_close(prototypes(3 * z), torch.tensor(expected))


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_prototypes_get_no_gradient_but_pass_one_on(frozen):
    prototypes, z = Prototypes(4, 6), torch.randn(3, 4, requires_grad=True)
    scores = prototypes(z, frozen=torch.tensor(frozen))
    assert torch.equal(scores, prototypes(z))
    scores.square().sum().backward()
    assert bool(prototypes.weight.grad.any()) is not frozen
    assert z.grad.any()


def test_prototypes_are_compared_in_full_precision_under_autocast():
    prototypes, z = Prototypes(32, 64), torch.randn(8, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prototypes(z), prototypes(z.clone()))
        found = prototypes(z)
    assert found.dtype == torch.float32
    assert torch.equal(found, prototypes(z))


def test_views_of_one_size_pass_as_one_batch_in_their_order():
    sizes, calls = [8, 8, 4, 4, 4], []

    def network(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return images.flatten(1)[:, :3]

    views = [torch.randn(2, 3, size, size) for size in sizes]
    outputs = by_size(network, views)
    assert calls == [4, 6]
    for view, output in zip(views, outputs, strict=True):
        assert torch.equal(output, view.flatten(1)[:, :3])


def test_split_batch_norm_normalises_each_part_as_a_device_of_its_own_would():
    torch.manual_seed(0)
    split, part = SplitBatchNorm(3), nn.BatchNorm2d(3)
    with torch.no_grad():
        for norm in (split, part):
            norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
            norm.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    x = torch.randn(32, 3, 4, 4)
    means = []
    expected = []
    for start in range(SplitBatchNorm.splits):
        part.reset_running_stats()
        expected.append(part(x[start :: SplitBatchNorm.splits]))
        means.append(part.running_mean.clone())
    found = split(x)
    for start, own in enumerate(expected):
        torch.testing.assert_close(found[start :: SplitBatchNorm.splits], own)
    torch.testing.assert_close(split.running_mean, torch.stack(means).mean(0))


def test_split_batch_norm_is_batch_norm_in_eval_mode():
    split, plain = SplitBatchNorm(3), nn.BatchNorm2d(3)
    split(torch.randn(16, 3, 2, 2))
    plain.load_state_dict(split.state_dict())
    x = torch.randn(8, 3, 2, 2)
    assert torch.equal(split.eval()(x), plain.eval()(x))


def test_split_batch_norm_replaces_every_norm_of_a_network_and_keeps_its_weights():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    split_batch_norm(network)
    assert sum(isinstance(module, SplitBatchNorm) for module in network.modules()) == 2
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
