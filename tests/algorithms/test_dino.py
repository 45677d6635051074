"""DINO against algorithm 1 of its paper and the traps of its kind."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck

from algorithms.dino import DINO
from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import cross_view_entropy
from bench.search.space import load
from tests.algorithms.phases import frozen_steps


def dino(encoder: str = "resnet8", image_size: int = 16, **changes) -> DINO:
    torch.manual_seed(0)
    hyperparameters = {
        "temperature": 0.1,
        "teacher_temperature": 0.07,
        "ema_momentum": 0.5,
        "centre_momentum": 0.9,
        "prototypes": 12,
        "projector_hidden": 16,
        "projector_width": 8,
        "local_crops": 2,
        "frozen_share": 0.25,
    }
    setting = Setting(images=64, image_size=image_size, batch_size=8, epochs=4)
    return DINO(setting, build_encoder(encoder, image_size), **hyperparameters | changes)


def crops(method: DINO) -> list[torch.Tensor]:
    return [torch.randn(8, 3, view.size, view.size) for view in method.views]


def outputs(method: DINO, views: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Student's [V, B, K] and teacher's [2, B, K] outputs, transcribed."""
    encoder, head, last = method.student
    with torch.no_grad():
        z = head(torch.cat([encoder(torch.cat(views[:2])), encoder(torch.cat(views[2:]))]))
        student = F.normalize(z, dim=1) @ F.normalize(last.weight, dim=1).T
        teacher = method.teacher(torch.cat(views[:2]))
    return student.unflatten(0, (len(views), 8)).double(), teacher.unflatten(0, (2, 8)).double()


def softmax(values: list[float], temperature: float) -> list[float]:
    exponents = [math.exp(value / temperature) for value in values]
    return [exponent / sum(exponents) for exponent in exponents]


def test_the_loss_is_algorithm_1_over_pairs_of_different_views():
    method = dino()
    method.centre.copy_(torch.randn(12) / 10)
    centre = method.centre.tolist()
    views = crops(method)
    student, teacher = outputs(method, views)
    losses = []
    for target in range(2):
        for view in range(4):
            if view == target:
                continue
            for i in range(8):
                t = softmax([float(x) - c for x, c in zip(teacher[target, i], centre, strict=True)], 0.07)
                s = softmax([float(x) for x in student[view, i]], 0.1)
                losses.append(-sum(p * math.log(q) for p, q in zip(t, s, strict=True)))
    found = method.loss(views, torch.arange(8))
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_the_gradient_is_that_of_the_loss():
    targets = F.softmax(torch.randn(2, 3, 5, dtype=torch.float64), dim=2)
    logits = torch.randn(3, 3, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z: cross_view_entropy(z / 0.1, targets), (logits,))


def test_the_centre_starts_at_zero_and_follows_the_uncentred_teacher_after_the_loss():
    method = dino()
    assert not method.centre.any()
    for _ in range(2):
        before, views = method.centre.clone(), crops(method)
        _, teacher = outputs(method, views)
        method.loss(views, torch.arange(8))
        expected = 0.9 * before + 0.1 * teacher.flatten(0, 1).mean(0).float()
        torch.testing.assert_close(method.centre, expected, rtol=1e-4, atol=1e-6)


def test_the_teacher_sees_the_global_views_alone_and_gets_no_gradient():
    method = dino()
    seen = []
    method.teacher[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    method.loss(crops(method), torch.arange(8)).backward()
    assert seen == [(16, 3, 16, 16)]
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())


def test_the_teacher_is_sharper_than_the_student_or_refused():
    with pytest.raises(ValueError, match="below its temperature"):
        dino(temperature=0.05)


def test_the_teachers_temperature_is_constant():
    method = dino()
    for progress in (0.01, 0.5, 1.0):
        method.after_step(torch.tensor(progress))
        assert method.teacher_temperature.item() == pytest.approx(0.07)


@pytest.mark.parametrize(("image_size", "layers"), [(32, 2), (64, 2), (65, 3)])
def test_the_head_has_two_layers_for_small_images_and_three_for_large_ones(image_size, layers):
    widths = [layer.weight.shape for layer in dino(image_size=image_size).student[1] if isinstance(layer, nn.Linear)]
    assert widths == [(16, 64), *[(16, 16)] * (layers - 2), (8, 16)]


def test_the_recipe_is_lightlys_on_small_images_and_the_authors_for_resnets_on_large_ones():
    # lightly's cifar10_benchmark.py: lr=6e-2 for 128 images, weight_decay=5e-4, m=0.99, output_dim=2048, no local views
    wanted = {"learning_rate": 0.12, "weight_decay": 5e-4, "ema_momentum": 0.99, "prototypes": 2048, "local_crops": 0}
    lightly = wanted | {"gradient_clip": 0, "warmup": 0, "frozen_share": 0, "optimizer": "sgd"}
    small = load("dino", 32)
    assert small.published.items() >= lightly.items()
    # facebookresearch/dino README, ResNet-50: --optimizer sgd --lr 0.03 --weight_decay 1e-4; main_dino.py
    large = load("dino", 224).published
    assert (
        large.items() >= {"learning_rate": 0.03, "weight_decay": 1e-4, "gradient_clip": 3.0, "optimizer": "sgd"}.items()
    )
    assert small.published["teacher_temperature"] == large["teacher_temperature"] == 0.04


def test_the_last_layer_is_frozen_at_first_and_then_learns():
    method = dino(frozen_share=0.25)
    for progress, frozen in ((None, True), (0.2, True), (0.25, False)):
        if progress:
            method.after_step(torch.tensor(progress))
        method.zero_grad()
        method.loss(crops(method), torch.arange(8)).backward()
        assert bool(method.student[2].weight.grad.any()) is not frozen
        assert method.student[1][0].weight.grad.any()


def test_the_last_layer_is_frozen_for_a_tenth_of_a_short_training_where_the_share_would_be_a_step():
    method = dino(frozen_share=0.001)
    steps = method.setting.steps
    tenth = math.ceil(steps / 10)
    assert frozen_steps(method) == [True] * tenth + [False] * (steps - tenth)


def test_the_last_layers_gain_is_fixed():
    method, z = dino(), torch.randn(8, 8)
    before = method.student[2](z)
    with torch.no_grad():
        method.student[2].weight *= 5
    torch.testing.assert_close(method.student[2](z), before)
    assert before.abs().max() <= 1


def test_the_teacher_moves_with_the_global_step_last_layer_included():
    method = dino()
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    method.after_step(torch.tensor(0.5))
    for new, old in zip(method.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(new, old + 0.25)


def test_knn_sees_the_teacher_with_statistics_of_its_own_batches():
    """The teacher's running statistics come from its own passes, not from its initial values or the student's."""
    method = dino()
    views = crops(method)
    for _ in range(3):
        method.loss([view + 2 for view in views], torch.arange(8))
    images = views[0] + 2
    norm = method.teacher[0][0][1]
    assert norm.num_batches_tracked == 3
    seen = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        method.teacher(torch.cat(views[:2]) + 2)
    handle.remove()
    expected = (1 - 0.9**4) * seen[0].mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-5)
    method.eval()
    assert torch.equal(method.judged_encoder(images), method.teacher[0](images))
    assert not torch.equal(method.judged_encoder(images), method.encoder(images))


def test_it_trains_a_vit_on_crops_of_both_sizes():
    method = dino("vit_tiny")
    views = crops(method)
    assert [view.size for view in method.views] == [16, 16, 8, 8]
    loss = method.loss(views, torch.arange(8))
    loss.backward()
    assert torch.isfinite(loss)
    assert method.encoder.positions.grad.any()


def test_on_a_vit_the_head_has_three_layers_and_no_batch_norm():
    head = dino("vit_pico").student[1]
    assert [layer.weight.shape for layer in head if isinstance(layer, nn.Linear)] == [(16, 64), (16, 16), (8, 16)]
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in head)


def test_a_vits_student_drops_paths_and_its_teacher_does_not():
    method = dino("vit_pico", drop_path=0.2)
    assert [block.drop_path for block in method.encoder.blocks.layers] == pytest.approx([0.04 * d for d in range(6)])
    assert not any(block.drop_path for block in method.judged_encoder.blocks.layers)
    image = torch.randn(1, 3, 16, 16).expand(64, -1, -1, -1)
    assert not torch.allclose(method.encoder(image)[0], method.encoder(image)[1:])
    torch.testing.assert_close(method.teacher(image)[:1].expand(64, -1), method.teacher(image))


def test_a_vit_has_the_authors_recipe():
    # facebookresearch/dino main_dino.py
    found = load("dino", 224, transformer=True).published
    wanted = {"optimizer": "adamw", "learning_rate": 5e-4, "scale_rate": True, "weight_decay": 0.04}
    wanted |= {"final_weight_decay": 0.4, "warmup": 0.1, "drop_path": 0.1, "ema_momentum": 0.996, "gradient_clip": 3.0}
    assert found.items() >= (wanted | {"teacher_temperature": 0.04, "frozen_share": 0.01, "decay_norms": False}).items()
