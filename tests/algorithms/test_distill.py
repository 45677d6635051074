"""Distillation against equation 5 of SEED, and what its teacher has and has not to do with the training."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algorithms.distill import Distillation, similarity_entropy
from algorithms.encoders import build_encoder
from algorithms.encoders.encoder import Encoder
from algorithms.evaluation.knn import LeaveOneOut
from algorithms.images.store import ResidentImages
from algorithms.images.view import draw
from algorithms.method import Setting
from algorithms.training.trainer import Trainer
from bench.search.space import load
from tests.algorithms.teachers import teacher

SIDE = 16


def make(**changes: Any) -> Distillation:
    known = F.normalize(torch.randn(64, 12, generator=torch.Generator().manual_seed(2)), dim=1).half()
    torch.manual_seed(0)
    setting = Setting(64, SIDE, 8, 4, teacher=known)
    given = {
        "temperature": 0.2,
        "teacher_temperature": 0.05,
        "anchors": 16,
        "projector_layers": 2,
        "smallest_crop": 1.0,
    }
    return Distillation(setting, build_encoder("resnet8", SIDE), **given | changes)


def pixels(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def slow(student: list, teacher: list, anchors: list, of_student: float, of_teacher: float) -> float:
    """Eq. 5 image by image and anchor by anchor: p_j = exp(z . d_j / t) / sum_k exp(z . d_k / t) of both networks."""

    def distribution(z, temperature):
        exp = [math.exp(sum(a * b for a, b in zip(z, d, strict=True)) / temperature) for d in anchors]
        return [e / sum(exp) for e in exp]

    total = 0.0
    for z, target in zip(student, teacher, strict=True):
        length = math.sqrt(sum(a * a for a in z))
        ours = distribution([a / length for a in z], of_student)
        total -= sum(p * math.log(q) for p, q in zip(distribution(target, of_teacher), ours, strict=True))
    return total / len(student)


@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 4),
    others=st.integers(0, 5),
    of_student=st.floats(0.05, 1),
    of_teacher=st.floats(0.01, 1),
)
def test_the_loss_is_equation_5(seed: int, batch: int, others: int, of_student: float, of_teacher: float):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(batch, 3, dtype=torch.float64, generator=generator)
    anchors = F.normalize(torch.randn(batch + others, 3, dtype=torch.float64, generator=generator), dim=1)
    found = similarity_entropy(student, anchors[:batch], anchors, of_student, of_teacher)
    expected = slow(student.tolist(), anchors[:batch].tolist(), anchors.tolist(), of_student, of_teacher)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_loss_is_least_where_the_student_is_its_teacher():
    anchors = F.normalize(torch.randn(12, 6, dtype=torch.float64), dim=1)
    student = (3 * anchors[:4]).requires_grad_()
    loss = similarity_entropy(student, anchors[:4], anchors, 0.1, 0.1)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.abs().max() < 1e-9
    away = similarity_entropy(student + torch.randn_like(student), anchors[:4], anchors, 0.1, 0.1)
    assert away > loss


def test_the_anchors_are_the_batch_and_as_many_images_as_asked_for(monkeypatch):
    method = make(anchors=5)
    seen: list[torch.Tensor] = []

    def taken(student, teacher, anchors, *temperatures):
        seen.extend([teacher, anchors])
        return student.sum()

    monkeypatch.setattr("algorithms.distill.similarity_entropy", taken)
    index = torch.tensor([7, 3, 60, 1])
    method.loss([pixels(4)], index)
    targets, anchors = seen
    assert torch.equal(targets, method.bank[index])
    assert torch.equal(anchors[:4], targets)
    assert len(anchors) == 4 + 5
    assert all((anchor == method.bank).all(1).any() for anchor in anchors)


def test_without_a_teacher_there_is_one_line():
    with pytest.raises(ValueError, match=r"^Distillation has no teacher to follow[^\n]*$"):
        Distillation(
            Setting(64, SIDE, 8, 4),
            build_encoder("resnet8", SIDE),
            temperature=0.2,
            teacher_temperature=0.01,
            anchors=8,
            projector_layers=1,
            smallest_crop=1.0,
        )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_teacher_whose_features_are_not_finite_is_refused_in_one_line(value: float):
    class Broken(nn.Module):
        width, name = 2, "broken"

        def forward(self, images):
            return images.flatten(1)[:, :2] * value

    with pytest.raises(ValueError, match=r"^The network 'broken' gives features that are not finite[^\n]*$"):
        trainer(images()[0], Broken())


def test_a_teacher_sees_every_image_once_whole_and_its_features_have_length_1():
    following, given = teacher(SIDE), images()[0]
    seen: list[torch.Tensor] = []
    following.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    made = trainer(given, following)
    list(made)
    (shown,) = [batch for _, batch in made.batches()]
    assert torch.equal(torch.cat(seen).float(), shown.float())
    bank = made.method.bank
    torch.testing.assert_close(bank.float().norm(dim=1), torch.ones(len(given)), atol=1e-2, rtol=0)
    again = trainer(given, bank)
    assert torch.equal(again.method.bank, bank)


def test_an_image_of_which_a_teacher_says_nothing_has_a_finite_loss():
    method = make()
    method.bank.zero_()
    assert torch.isfinite(method.loss([pixels(8)], torch.arange(8)))


@pytest.mark.parametrize("crop", [0.2, 1.0])
def test_a_view_holds_no_less_of_the_image_than_the_smallest_crop(crop: float):
    (view,) = make(smallest_crop=crop).views
    drawn = draw([view], 500, SIDE)
    share = drawn.height * drawn.width / SIDE**2
    assert crop * 0.8 <= share.min() <= crop * 1.2
    assert share.max() > 0.9


@pytest.mark.parametrize(("layers", "shapes"), [(1, [(12, 64)]), (2, [(64, 64), (12, 64)])])
def test_the_projector_is_linear_or_seeds_of_two_layers(layers: int, shapes: list[tuple[int, int]]):
    linear = [module for module in make(projector_layers=layers).projector if not isinstance(module, nn.ReLU)]
    assert [tuple(module.weight.shape) for module in linear] == shapes


def images(count: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise uint8 [count, 3, SIDE, SIDE] with waves in colours and a phase of the image's own, and labels [count]: how
    the waves lie and how long they are."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % 4
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    along = torch.stack([0.8 * row, 1.6 * row, 0.8 * column, 1.6 * column])[labels]
    wave = torch.sin(along + 6.3 * torch.rand(count, 1, 1, generator=generator))[:, None]
    colour = torch.rand(count, 3, 1, 1, generator=generator) - 0.5
    found = 128 + 60 * wave * colour + 30 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return found.clamp(0, 255).to(torch.uint8), labels


def trainer(given: torch.Tensor, following: Encoder | torch.Tensor, *, epochs: int = 3, **changes: Any) -> Trainer:
    return Trainer(
        Distillation,
        given,
        load("distill", SIDE).defaults | {"batch_size": 8, "anchors": 32} | changes,
        epochs=epochs,
        encoder="resnet8",
        device="cpu",
        teacher=following,
    )


def test_a_teacher_is_neither_trained_nor_kept():
    following = teacher(SIDE)
    before = {name: value.clone() for name, value in following.state_dict().items()}
    made = trainer(images()[0], following.train().requires_grad_(True))
    list(made)
    assert all(torch.equal(value, before[name]) for name, value in following.state_dict().items())
    own = {id(value) for value in (*following.parameters(), *following.buffers())}
    assert not own & {id(value) for value in (*made.method.parameters(), *made.method.buffers())}
    assert not own & {id(value) for value in made.optimizer.parameters()}
    kept = made.state_dict()["method"]
    assert not [name for name in kept if "teacher." in name or "bank" in name]


class Oracle(nn.Module):
    """Knows the class of such an image: that of which it has the strongest waves."""

    width, name = 4, "oracle"

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        along = torch.stack([0.8 * row, 1.6 * row, 0.8 * column, 1.6 * column])
        waves = torch.stack([along.sin(), along.cos()]).flatten(2)
        strength = torch.einsum("bcp,wkp->bckw", given.float().flatten(2), waves)
        return F.one_hot(strength.square().sum((1, 3)).argmax(1), 4).float()


@pytest.mark.slow
def test_a_student_learns_what_its_teacher_knows():
    given, labels = images(256)
    judge = LeaveOneOut(ResidentImages.of(given), labels, 4, torch.arange(256))
    made = trainer(given, Oracle(), epochs=8, learning_rate=0.3, temperature=0.3)
    before = judge(made.method.judged_encoder)["knn_20"]
    reports = list(made)
    assert reports[-1].loss < reports[0].loss
    assert judge(made.method.judged_encoder)["knn_20"] > before + 0.15
