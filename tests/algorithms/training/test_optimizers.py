"""The optimizers against PyTorch's and against their papers' formulae."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algorithms.training.optimizers import Optimizer, clip_gradients, learning_rates, parameter_groups, weight_decays


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))


def gradients_of(model: nn.Module, parameters, step: int):
    torch.manual_seed(step)
    loss = model(torch.randn(16, 5)).square().mean()
    return torch.autograd.grad(loss, parameters)


def ours(kind: str, rates: list[float], *, decay_norms: bool = False, **settings) -> nn.Module:
    model = network()
    optimizer = Optimizer(parameter_groups(model, decay_norms=decay_norms), kind, **settings)
    for step, rate in enumerate(rates):
        rate = torch.tensor(rate)
        optimizer.step(gradients_of(model, optimizer.parameters(), step), rate, rate)
    return model


def theirs(constructor, rates: list[float], weight_decay: float, *, decay_norms: bool = False, **settings) -> nn.Module:
    model = network()
    decayed = [parameter for parameter in model.parameters() if decay_norms or parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if not decay_norms and parameter.ndim == 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = constructor(groups, lr=rates[0], **settings)
    parameters = decayed + others
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(parameters, gradients_of(model, parameters, step), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return model


def assert_same(first: nn.Module, second: nn.Module):
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


RATES = [0.1, 0.2, 0.15, 0.05]


def test_weight_decay_rises_on_half_a_cosine_or_stays():
    torch.testing.assert_close(weight_decays(0.1, None, 3), torch.full((3,), 0.1))
    rising = weight_decays(0.04, 0.4, 100)
    assert rising[0] == pytest.approx(0.04)
    assert rising[50] == pytest.approx(0.22)
    assert rising[-1] == pytest.approx(0.4, abs=1e-3)
    assert (rising.diff() > 0).all()


@pytest.mark.parametrize("kind", ["sgd", "lars", "larc", "adam", "adamw"])
def test_a_weight_decay_of_the_step_takes_the_place_of_the_optimizers_own(kind: str):
    weights = []
    for own, of_step in ((0.3, None), (0.1, torch.tensor(0.3))):
        model = network()
        optimizer = Optimizer(parameter_groups(model), kind, weight_decay=own)
        rate = torch.tensor(0.1)
        optimizer.step(gradients_of(model, optimizer.parameters(), 0), rate, rate, of_step)
        weights.append(model)
    assert_same(*weights)


def test_adamw_is_pytorchs_with_biases_and_norms_undecayed():
    assert_same(ours("adamw", RATES, weight_decay=0.1), theirs(torch.optim.AdamW, RATES, 0.1, betas=(0.9, 0.999)))


def test_adam_is_pytorchs_which_decays_in_the_gradient():
    assert_same(ours("adam", RATES, weight_decay=0.1), theirs(torch.optim.Adam, RATES, 0.1, betas=(0.9, 0.999)))


def test_sgd_at_a_constant_rate_is_pytorchs_with_biases_and_norms_undecayed():
    assert_same(ours("sgd", [0.1] * 4, weight_decay=0.1), theirs(torch.optim.SGD, [0.1] * 4, 0.1, momentum=0.9))


def test_sgd_uses_the_rate_of_the_step_as_pytorch_does():
    assert_same(ours("sgd", RATES, weight_decay=0.1), theirs(torch.optim.SGD, RATES, 0.1, momentum=0.9))


@pytest.mark.parametrize(
    ("kind", "constructor", "settings"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("adam", torch.optim.Adam, {}),
        ("adamw", torch.optim.AdamW, {}),
    ],
)
def test_a_recipe_that_decays_biases_and_norms_decays_all_as_pytorch_does(kind: str, constructor, settings: dict):
    expected = theirs(constructor, RATES, 0.1, decay_norms=True, **settings)
    assert_same(ours(kind, RATES, weight_decay=0.1, decay_norms=True), expected)


@pytest.mark.parametrize("kind", ["lars", "larc"])
def test_biases_and_norms_take_the_step_of_sgd_under_lars_decayed_or_not(kind: str):
    for decay_norms in (False, True):
        bias = nn.Parameter(torch.tensor([1.0, -2.0]))
        groups = parameter_groups(nn.ParameterList([bias]), decay_norms=decay_norms)
        optimizer = Optimizer(groups, kind, weight_decay=0.1, trust_coefficient=1e-6)
        optimizer.step([torch.tensor([0.3, 0.3])], torch.tensor(0.5), torch.tensor(0.5))
        decay = 0.1 if decay_norms else 0.0
        expected = [1.0 - 0.5 * (0.3 + decay), -2.0 - 0.5 * (0.3 - 2 * decay)]
        torch.testing.assert_close(bias.detach(), torch.tensor(expected))


@pytest.mark.parametrize("kind", ["lars", "larc"])
@pytest.mark.parametrize("rate", [0.001, 0.5])
def test_lars_and_larc_scale_each_tensor_by_the_papers_ratio(kind: str, rate: float):
    weight = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    before, gradient = weight.detach().clone(), torch.ones(4, 3) * 0.3
    optimizer = Optimizer(parameter_groups(nn.ParameterList([weight])), kind, weight_decay=0.01, trust_coefficient=0.02)
    optimizer.step([gradient], torch.tensor(rate), torch.tensor(rate))
    norm, slope = before.norm().item(), gradient.norm().item()
    ratio = 0.02 * norm / (slope + 0.01 * norm)
    factor = min(ratio / rate, 1.0) if kind == "larc" else ratio
    torch.testing.assert_close(weight.detach(), before - rate * factor * (gradient + 0.01 * before))


def test_a_tensor_without_gradient_only_decays_under_lars():
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Optimizer(parameter_groups(nn.ParameterList([weight])), "lars", weight_decay=0.1)
    optimizer.step([torch.zeros(2, 2)], torch.tensor(1.0), torch.tensor(1.0))
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 0.9))


def test_parameters_named_constant_take_the_rate_that_never_decays():
    model = nn.ModuleDict({"predictor": nn.Linear(2, 2), "encoder": nn.Linear(2, 2)})
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = Optimizer(parameter_groups(model, ["predictor"]), "sgd", weight_decay=0.0)
    ones = [torch.ones_like(parameter) for parameter in optimizer.parameters()]
    optimizer.step(ones, torch.tensor(0.0), torch.tensor(1.0))
    for name, value in model.named_parameters():
        moved = 1.0 if name.startswith("predictor") else 0.0
        torch.testing.assert_close(before[name] - value.detach(), torch.full_like(value, moved))


@given(steps=st.integers(1, 300), warmup=st.floats(0, 0.9), base=st.floats(1e-4, 10))
def test_cosine_rises_to_the_base_rate_and_falls_to_nearly_nothing(steps: int, warmup: float, base: float):
    rates, constant = learning_rates(base, steps, warmup=warmup)
    rising = round(max(warmup, 0.1) * steps) if warmup else 0  # a tenth of so few steps is less than a hundred
    assert len(rates) == len(constant) == steps
    assert (rates >= 0).all()
    assert rates.max().item() <= base * (1 + 1e-6)
    assert (rates[:rising].diff() > 0).all()
    assert (rates[rising:].diff() <= 0).all()
    if rising < steps:
        assert rates[rising].item() == pytest.approx(base, rel=1e-5)
    left = steps - rising
    if left > 1:
        assert rates[-1].item() == pytest.approx(
            base * (1 + math.cos(math.pi * (left - 1) / left)) / 2, abs=1e-6 * base
        )
    assert (constant[rising:] == constant[-1]).all()


@pytest.mark.parametrize(
    ("warmup", "steps", "rising"),
    [
        (0.01, 312, 31),  # four epochs of 78 steps: three steps would be no warm-up
        (0.01, 5_000, 100),
        (0.01, 20_000, 200),
        (0.1, 312, 31),
        (0.0, 312, 0),
    ],
)
def test_the_warm_up_of_a_short_training_is_still_one(warmup: float, steps: int, rising: int):
    _, warm = learning_rates(2.0, steps, warmup=warmup)
    assert (warm < 2.0).sum().item() == max(rising - 1, 0)  # the last of the rising ones is the rate itself
    torch.testing.assert_close(warm[:rising], 2.0 * torch.arange(1, rising + 1) / max(rising, 1))


def test_the_step_schedule_divides_by_ten_after_three_fifths_and_four_fifths():
    rates, _ = learning_rates(1.0, 10, schedule="step")
    torch.testing.assert_close(rates, torch.tensor([1.0] * 6 + [0.1] * 2 + [0.01] * 2))


def test_the_late_step_schedule_is_divided_by_five_after_250_and_280_of_300_epochs():
    rates, _ = learning_rates(1.0, 300, schedule="late_step")
    torch.testing.assert_close(rates, torch.tensor([1.0] * 250 + [0.2] * 30 + [0.04] * 20))


def test_the_constant_schedule_stays_at_the_base_rate_after_its_warm_up():
    rates, _ = learning_rates(1.0, 10, schedule="constant", warmup=0.2)
    torch.testing.assert_close(rates, torch.tensor([0.5] + [1.0] * 9))


@given(limit=st.floats(0.01, 100))
def test_clipping_bounds_the_norm_of_each_gradient_and_leaves_small_ones_alone(limit: float):
    gradients = [torch.full((4,), 2.0), torch.full((2, 2), -1.0), torch.zeros(3)]
    clipped = clip_gradients(gradients, torch.tensor(limit))
    norms = [gradient.norm().item() for gradient in clipped]
    assert norms == pytest.approx([min(limit, 4.0), min(limit, 2.0), 0.0], rel=1e-5)
    for before, after in zip(gradients[:2], clipped, strict=False):
        torch.testing.assert_close(after / after.norm(), before / before.norm())


def test_state_restores_into_the_same_tensors():
    model = network()
    first, second = (Optimizer(parameter_groups(model), "adamw", weight_decay=0.1) for _ in range(2))
    first.step(gradients_of(model, first.parameters(), 0), torch.tensor(0.1), torch.tensor(0.1))
    addresses = [tensor.data_ptr() for tensor in second.state_dict()["momentum"]]
    second.load_state_dict(first.state_dict())
    assert addresses == [tensor.data_ptr() for tensor in second.state_dict()["momentum"]]
    for a, b in zip(first.state_dict()["square"], second.state_dict()["square"], strict=True):
        assert torch.equal(a, b)
    assert second.steps.item() == 1
