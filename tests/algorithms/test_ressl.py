"""ReSSL against a transcription of its loss, and the traps of its kind."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from algorithms.encoders import build_encoder
from algorithms.images.augmentation import Augmentation
from algorithms.method import Setting
from algorithms.ressl import ReSSL, relational_entropy
from bench.search.space import load


def ressl(image_size: int = 16, **changes) -> ReSSL:
    torch.manual_seed(0)
    hyperparameters = {
        "temperature": 0.1,
        "teacher_temperature": 0.04,
        "ema_momentum": 0.5,
        "queue_length": 24,
        "projector_hidden": 16,
        "projector_width": 8,
    }
    setting = Setting(images=64, image_size=image_size, batch_size=8, epochs=4)
    return ReSSL(setting, build_encoder("resnet8", image_size), **hyperparameters | changes)


def views() -> list[torch.Tensor]:
    return [torch.randn(8, 3, 16, 16) for _ in range(2)]


def directions(count: int, width: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, dtype=torch.float64), dim=1)


def transcribed(queries, keys, others, temperature, teacher_temperature, own) -> float:
    losses = []
    for i in range(len(queries)):
        kept = [k for k in range(len(others)) if not own[i, k]]

        def relation(z, t, kept=kept):
            exponents = [math.exp(float(z @ others[k]) / float(z.norm()) / t) for k in kept]
            return [exponent / sum(exponents) for exponent in exponents]

        p, q = relation(keys[i], teacher_temperature), relation(queries[i], temperature)
        losses.append(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
    return sum(losses) / len(losses)


def test_the_loss_is_the_cross_entropy_of_the_two_relations_without_the_images_own_keys():
    torch.manual_seed(0)
    queries, keys, others = torch.randn(5, 4).double(), torch.randn(5, 4).double(), directions(12, 4)
    own = torch.rand(5, 12) < 0.2
    assert own.any()
    found = relational_entropy(queries, keys, others, 0.1, 0.04, own)
    assert found.item() == pytest.approx(transcribed(queries, keys, others, 0.1, 0.04, own), rel=1e-9)


def test_the_gradient_is_that_of_the_loss_also_where_keys_are_left_out():
    torch.manual_seed(0)
    keys, others = torch.randn(4, 3).double(), directions(8, 3)
    own = torch.eye(4, 8, dtype=torch.bool)
    queries = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z: relational_entropy(z, keys, others, 0.1, 0.04, own), (queries,))


def test_the_teachers_relation_gets_no_gradient():
    keys = torch.randn(4, 3, requires_grad=True)
    queries = torch.randn(4, 3, requires_grad=True)
    relational_entropy(queries, keys, directions(8, 3).float(), 0.1, 0.04, torch.zeros(4, 8).bool()).backward()
    assert keys.grad is None
    method = ressl()
    method.loss(views(), torch.arange(8)).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())


def test_the_loss_is_of_the_queue_as_it_was_and_then_the_teachers_keys_join_it():
    method, both, index = ressl(), views(), torch.arange(40, 48)
    before = method.queue.keys.clone()
    with torch.no_grad():
        keys, queries = method.teacher(both[0]).double(), method.student(both[1]).double()
    expected = transcribed(queries, keys, before.double(), 0.1, 0.04, torch.zeros(8, 24).bool())
    assert method.loss(both, index).item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(method.queue.keys[:8], F.normalize(keys, dim=1).float(), rtol=1e-4, atol=1e-5)
    assert torch.equal(method.queue.keys[8:], before[8:])
    assert method.queue.images[:8].tolist() == index.tolist()


def test_an_images_own_keys_of_earlier_steps_are_none_of_the_others():
    method, both, index = ressl(), views(), torch.arange(8)
    method.loss(views(), index)
    with torch.no_grad():
        keys, queries = method.teacher(both[0]).double(), method.student(both[1]).double()
    own = torch.eye(8, 24, dtype=torch.bool)
    expected = transcribed(queries, keys, method.queue.keys.double(), 0.1, 0.04, own)
    assert method.loss(both, index).item() == pytest.approx(expected, rel=1e-4)


def test_the_teachers_view_is_cropped_and_flipped_alone():
    for image_size, scale in ((32, 0.08), (224, 0.2)):
        teachers, students = ressl(image_size).views
        assert (teachers.jitter, teachers.grayscale, teachers.blur, teachers.solarize) == ((0,) * 4, 0, 0, 0)
        assert teachers.scale == students.scale == (scale, 1.0)
        assert teachers.flip == students.flip == 0.5
        assert (students.jitter, students.grayscale) == ((0.4, 0.4, 0.2, 0.1), 0.2)


def test_the_teachers_view_keeps_its_colours_under_other_settings_of_augmentation():
    method = ressl()
    method.take(Augmentation(least_crop=0.5, jitter_strength=1.0, grayscale_probability=0.2, solarize_probability=0.2))
    teachers, students = method.views
    assert (teachers.jitter, teachers.grayscale, teachers.blur, teachers.solarize) == ((0,) * 4, 0, 0, 0)
    assert teachers.scale == students.scale == (0.5, 1.0)
    assert (students.jitter[0], students.grayscale, students.solarize) == (0.8, 0.2, 0.2)


@pytest.mark.parametrize("teacher_temperature", [0.1, 0.2])
def test_the_teacher_is_sharper_than_the_student_or_refused_in_one_line(teacher_temperature):
    with pytest.raises(ValueError, match=r"^ReSSL's teacher_temperature .* must be below its temperature .*$"):
        ressl(teacher_temperature=teacher_temperature)


def test_the_teacher_follows_the_student_with_a_momentum_that_rises_to_1():
    method = ressl()
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    method.after_step(torch.tensor(0.5))
    # 1 - (1 - 0.5) (cos(pi / 2) + 1) / 2 = 0.75
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
    method.after_step(torch.tensor(1.0))
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)


def test_the_queue_is_whole_batches_and_no_longer_than_there_are_images():
    given = {"queue_length": 65536, "projector_hidden": 16, "projector_width": 8}
    assert ReSSL.effective(given, width=64, images=100, batch_size=32)["queue_length"] == 96


def test_the_recipe_is_solo_learns():
    # scripts/pretrain/cifar/ressl.yaml
    wanted = {"temperature": 0.1, "teacher_temperature": 0.04, "ema_momentum": 0.99, "queue_length": 65536}
    wanted |= {"learning_rate": 0.05, "weight_decay": 1e-4, "projector_hidden": 4096, "projector_width": 256}
    assert load("ressl", 32).published.items() >= (wanted | {"batch_size": 256, "optimizer": "sgd"}).items()
