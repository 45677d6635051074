"""MoCo v3 against algorithm 1 and the traps of its kind."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from algorithms.encoders import build_encoder
from algorithms.encoders.transformer import sine_cosine
from algorithms.method import Setting
from algorithms.mocov3 import MoCoV3
from algorithms.parts.losses import info_nce
from bench.search.space import load

SETTING = Setting(images=64, image_size=16, batch_size=8, epochs=4)


def mocov3(encoder: str = "resnet8", momentum: float = 0.5, *, predictor_norm: bool = True) -> MoCoV3:
    torch.manual_seed(0)
    return MoCoV3(
        SETTING,
        build_encoder(encoder, 16),
        temperature=0.2,
        ema_momentum=momentum,
        projector_hidden=16,
        projector_width=8,
        predictor_hidden=16,
        predictor_norm=predictor_norm,
    )


def views() -> list[torch.Tensor]:
    return [torch.randn(8, 3, 16, 16) for _ in range(2)]


def slow_contrast(queries: torch.Tensor, keys: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for i, query in enumerate(queries):
        scores = [math.exp(float(query @ key) / float(query.norm()) / float(key.norm()) / temperature) for key in keys]
        total -= math.log(scores[i] / sum(scores))
    return 2 * temperature * total / len(queries)


def test_the_loss_is_algorithm_1():
    method, (first, second) = mocov3(), views()
    with torch.no_grad():
        q1, q2 = (method.predictor(method.online(view)).double() for view in (first, second))
        k1, k2 = (method.target(view).double() for view in (first, second))
    expected = slow_contrast(q1, k2, 0.2) + slow_contrast(q2, k1, 0.2)
    found = method.loss([first, second], torch.arange(8))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_loss():
    queries, keys = (torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert gradcheck(lambda q, k: 2 * 0.2 * info_nce(q, k, 0.2), (queries, keys))


def test_keys_get_no_gradient_and_pass_no_predictor():
    method = mocov3()
    passed = []
    method.predictor.register_forward_hook(lambda module, inputs, output: passed.append(inputs[0].requires_grad))
    method.loss(views(), torch.arange(8)).backward()
    assert passed == [True, True]
    assert all(parameter.grad is None for parameter in method.target.parameters())
    assert all(parameter.grad is not None for parameter in method.online.parameters())


def test_every_linear_layer_is_normalised():
    method = mocov3()
    for head in (method.online[1], method.predictor):
        assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
        assert head[1].affine
        assert not head[4].affine


@pytest.mark.parametrize(("encoder", "normed"), [("resnet8", False), ("vit_tiny", True)])
def test_the_predictor_ends_as_the_authors_does_in_batch_norm_on_a_vit_alone(encoder: str, normed: bool):
    last = mocov3(encoder, predictor_norm=load("mocov3", 32).published["predictor_norm"]).predictor[-1]
    assert isinstance(last, torch.nn.BatchNorm1d if normed else torch.nn.Linear)


def test_the_target_moves_with_the_global_step():
    method = mocov3()
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in method.target.parameters()]
    method.after_step(torch.tensor(0.5))
    for new, old in zip(method.target.parameters(), before, strict=True):
        torch.testing.assert_close(new, old + 0.25)


def test_a_vit_keeps_its_random_patch_projection_and_has_a_deeper_projector():
    method = mocov3("vit_tiny")
    method.loss(views(), torch.arange(8)).backward()
    assert method.encoder.patches.weight.grad is None
    assert not any(parameter.requires_grad for parameter in method.encoder.patches.parameters())
    assert method.encoder.positions.grad is not None
    assert sum(isinstance(layer, torch.nn.Linear) for layer in method.online[1]) == 3


def test_a_vit_begins_as_the_authors_with_positions_that_stay():
    encoder = MoCoV3.build_encoder("vit_pico", 16)
    torch.testing.assert_close(encoder.positions.data, sine_cosine(4, 64))
    assert not encoder.positions.requires_grad
    plain = build_encoder("vit_pico", 16)
    assert MoCoV3.build_encoder(lambda image_size: plain, 16).positions.requires_grad  # what is given is left alone


def test_a_vit_has_the_authors_recipe():
    # facebookresearch/moco-v3 CONFIG.md, ViT-Small
    wanted = {"optimizer": "adamw", "learning_rate": 1.5e-4, "scale_rate": True, "weight_decay": 0.1}
    found = load("mocov3", 224, transformer=True).published
    assert found.items() >= (wanted | {"temperature": 0.2, "ema_momentum": 0.99}).items()
    assert found["warmup"] == pytest.approx(40 / 300, abs=1e-3)
