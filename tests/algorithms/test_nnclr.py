"""NNCLR against algorithm 1 of its paper and the traps of its kind."""

import math

import pytest
import torch
import torch.nn.functional as F

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.nnclr import NNCLR, nearest
from algorithms.training.recipe import effective_hyperparameters
from bench.search.space import load


def make(**changes) -> NNCLR:
    torch.manual_seed(0)
    hyperparameters = {
        "temperature": 0.2,
        "queue_length": 32,
        "projector_hidden": 24,
        "projector_width": 8,
        "predictor_hidden": 16,
    }
    setting = Setting(images=64, image_size=16, batch_size=8, epochs=4)
    return NNCLR(setting, build_encoder("resnet8", 16), **hyperparameters | changes)


def crops() -> list[torch.Tensor]:
    return [torch.randn(8, 3, 16, 16) for _ in range(2)]


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.square().sum().sqrt()


@torch.no_grad()
def transcribed(method: NNCLR, views: list[torch.Tensor], index: torch.Tensor) -> float:
    """Algorithm 1, image by image, with the queue as it stands."""
    z = [method.projector(method.encoder(view)) for view in views]
    p = [method.predictor(each).double() for each in z]
    keys, images = method.queue.keys.double(), method.queue.images.tolist()
    losses = []
    for view, other in ((0, 1), (1, 0)):
        for i in range(8):
            similarities = [
                -math.inf if images[k] == int(index[i]) else float(unit(z[view][i].double()) @ keys[k])
                for k in range(len(keys))
            ]
            neighbour = keys[similarities.index(max(similarities))]
            logits = [float(neighbour @ unit(p[other][k])) / 0.2 for k in range(8)]
            losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[i])
    return sum(losses) / len(losses)


def test_the_loss_is_algorithm_1_with_the_queue_from_before_the_batch():
    method = make()
    for step in range(3):
        views, index = crops(), torch.arange(8) + 4 * step
        expected = transcribed(method, views, index)
        assert method.loss(views, index).item() == pytest.approx(expected, rel=1e-4)


def test_the_queue_gets_the_first_view_alone_after_neighbours_are_found():
    method, views, index = make(), crops(), torch.arange(8)
    before = method.queue.keys.clone()
    with torch.no_grad():
        expected = F.normalize(method.projector(method.encoder(views[0])), dim=1)
    method.loss(views, index)
    torch.testing.assert_close(method.queue.keys[:8], expected)
    assert torch.equal(method.queue.keys[8:], before[8:])
    assert method.queue.pointer == 8
    assert method.queue.images.tolist() == [*range(8), *[-1] * 24]


def test_an_image_is_not_its_own_neighbour():
    keys = F.normalize(torch.randn(6, 4), dim=1)
    own = torch.zeros(3, 6, dtype=torch.bool)
    assert torch.equal(nearest(7 * keys[:3], keys, own), keys[:3])
    own[0, 0] = own[1, 1] = True
    found = nearest(7 * keys[:3], keys, own)
    assert torch.equal(found[2], keys[2])
    for i in (0, 1):
        others = [k for k in range(6) if k != i]
        assert torch.equal(found[i], keys[max(others, key=lambda k, i=i: float(keys[i] @ keys[k]))])


def test_the_length_of_a_projection_does_not_choose_its_neighbour():
    keys, own = F.normalize(torch.randn(6, 4), dim=1), torch.zeros(3, 6, dtype=torch.bool)
    z = torch.randn(3, 4)
    assert torch.equal(nearest(100 * z, keys, own), nearest(z / 100, keys, own))


def test_gradients_reach_all_weights_and_come_through_the_predictions_alone():
    method = make()
    method.loss(crops(), torch.arange(8)).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert all(parameter.grad.any() for parameter in method.projector.parameters())
    method.predictor.register_forward_hook(lambda module, inputs, output: output.detach())
    assert not method.loss(crops(), torch.arange(8)).requires_grad


def test_the_queue_resumes():
    first, second = make(), make(temperature=0.7)
    for step in range(5):
        first.loss(crops(), torch.arange(8) + 8 * step)
    second.load_state_dict(first.state_dict())
    views = crops()
    assert torch.equal(first.loss(views, torch.arange(8)), second.loss(views, torch.arange(8)))
    assert torch.equal(first.queue.keys, second.queue.keys)
    assert second.queue.pointer == 16


def test_the_heads_are_solo_learns():
    method = make()
    kinds = [type(layer).__name__ for layer in method.projector]
    assert kinds == [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear", "BatchNorm1d"]
    assert method.projector[-1].affine
    assert [type(layer).__name__ for layer in method.predictor] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_the_queue_is_a_whole_number_of_batches_and_at_most_as_long_as_there_are_images():
    published = load("nnclr", 32).published
    assert published["queue_length"] == 65536
    found = effective_hyperparameters(NNCLR, published, width=64, images=50_000)
    assert found["queue_length"] == 50_000 // 256 * 256
    assert found["projector_width"] == 256
    assert found["predictor_hidden"] == 512


def test_views_are_those_of_solo_learns_asymmetric_recipe():
    first, second = make().views
    assert (first.solarize, second.solarize, first.blur, second.blur) == (0, 0.2, 0, 0)
    assert first.scale == second.scale == (0.08, 1.0)
