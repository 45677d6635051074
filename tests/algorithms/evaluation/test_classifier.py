"""A network that is trained with labels."""

import pytest
import torch
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.encoders.encoder import as_encoder
from algorithms.encoders.frozen import Frozen
from algorithms.evaluation import classifier
from algorithms.evaluation.classifier import LEVELS, Classifier, Schedule, fixed, predict, train
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import ResidentImages

SHORT = fixed(3e-2, 0.3, 60)


def stripes(count: int) -> tuple[ResidentImages, torch.Tensor]:
    """Images of noise with lines that lie, stand, or are not there: [N, 3, 8, 8], and which."""
    labels = torch.arange(count) % 3
    images = torch.randint(0, 100, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images[labels == 0, :, ::2] += 150
    images[labels == 1, :, :, ::2] += 150
    return ResidentImages.of(images.to(torch.uint8)), labels


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


@pytest.mark.slow
def test_it_learns_and_leaves_the_encoder_as_it_was():
    images, labels = stripes(90)
    encoder = network()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model = train(encoder, images, torch.arange(60), labels[:60], 3, SHORT, seed=0)
    held = torch.arange(60, 90)
    assert (predict(model, images, held) == labels[held]).float().mean() > 0.9
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not torch.equal(model.encoder[0].weight, encoder[0].weight)


def test_it_is_the_same_for_the_same_seed_and_draws_no_random_numbers_of_others():
    (images, labels), encoder = stripes(30), network()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = train(encoder, images, torch.arange(30), labels, 3, SHORT, seed=0)
    assert torch.equal(torch.rand(3), expected)
    again, other = (train(encoder, images, torch.arange(30), labels, 3, SHORT, seed=seed) for seed in (0, 1))
    same = [torch.equal(*pair) for pair in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_images_suffice_also_where_batch_norm_sees_one_place(count: int):
    images, labels = stripes(count)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.BatchNorm1d(5))
    model = train(encoder, images, torch.arange(count), labels, 3, fixed(1e-3, 1.0, 2), seed=0)
    assert predict(model, images).shape == (count,)


def test_a_frozen_network_is_trained_and_batch_norm_follows_its_batches():
    images, labels = stripes(12)
    frozen = Frozen(as_encoder(network(), "own", 16), 16, IMAGENET, images.statistics)
    model = train(frozen, images, torch.arange(12), labels, 3, fixed(1e-2, 1.0, 2), seed=0)
    assert not torch.equal(model.encoder.network[0].weight, frozen.network[0].weight)
    assert not torch.equal(model.encoder.network[1].running_mean, frozen.network[1].running_mean)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_batch_norm_that_follows_slowly_is_made_to_follow():
    encoder = network()
    encoder[1].momentum = 0.01
    assert Classifier(encoder, 8, 3).encoder[1].momentum == 0.1
    encoder[1].momentum = 0.9
    assert Classifier(encoder, 8, 3).encoder[1].momentum == 0.9


def test_what_an_encoder_keeps_fixed_beside_what_it_trains_stays_fixed():
    images, labels = stripes(12)
    encoder = network()
    encoder[0].weight.requires_grad_(False)
    model = train(encoder, images, torch.arange(12), labels, 3, SHORT, seed=0)
    assert torch.equal(model.encoder[0].weight, encoder[0].weight)
    assert not torch.equal(model.encoder[1].weight, encoder[1].weight)


@pytest.mark.parametrize("name", ["resnet8", "vit_tiny"])
def test_the_earlier_a_layer_the_less_its_rate_and_no_parameter_is_left_out(name: str):
    encoder = build_encoder(name, 32)
    model = Classifier(encoder, encoder.width, 10)
    groups = model.groups(fixed(1.0, 0.1, 1))
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rate) == len(list(model.parameters()))
    assert rate[id(model.head.weight)] == 1
    assert min(rate.values()) == pytest.approx(0.1)
    assert len(set(rate.values())) == LEVELS + 1
    (first,) = {rate[id(parameter)] for parameter in next(iter(leaves(model.encoder))).parameters(recurse=False)}
    assert first == pytest.approx(0.1)
    for group in groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}


def leaves(network: nn.Module):
    return (module for module in network.modules() if list(module.parameters(recurse=False)))


def test_a_network_without_weights_has_a_linear_layer_on_its_features():
    images, labels = stripes(30)
    model = train(nn.Flatten(), images, torch.arange(30), labels, 3, SHORT, seed=0)
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]


def test_logits_that_are_not_finite_are_no_class():
    images, labels = stripes(6)
    model = train(network(), images, torch.arange(6), labels, 3, fixed(1e-3, 1.0, 1), seed=0)
    nn.init.constant_(model.head.weight, float("nan"))
    assert predict(model, images).tolist() == [-1] * 6


@pytest.mark.parametrize(
    ("count", "batch", "steps"), [(1, 2, 50), (10, 10, 50), (100, 32, 62), (1000, 62, 200), (100_000, 128, 2344)]
)
def test_few_images_are_seen_in_small_batches_and_more_often_than_many(count: int, batch: int, steps: int):
    schedule = Schedule(1.0, 1.0, passes=3, most_passes=20, least_steps=50, most_steps=200)
    assert (classifier.batch_of(count), schedule.steps_of(count)) == (batch, steps)


def test_a_step_takes_some_time():
    images, _ = stripes(40)
    step, predicted = classifier.seconds(network(), images, 40, 3)
    assert step >= 0
    assert predicted > 0
