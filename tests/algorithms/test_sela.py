import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.sela import SeLa, due, equal_labels


def make(images=96, epochs=4, **changes) -> SeLa:
    torch.manual_seed(0)
    setting = Setting(images=images, image_size=16, batch_size=8, epochs=epochs)
    given = {"prototypes": 8, "heads": 3, "exponent": 10.0, "relabelings": 40}
    return SeLa(setting, build_encoder("resnet8", 16), **given | changes)


def over(images, order=None):
    """A pass over `images` as a trainer gives it, in the given order of indices."""
    order = torch.arange(len(images)) if order is None else order
    return lambda: ((index, images[index]) for index in order.split(20))


def slow_labels(logits, exponent):
    """Eq. 6 and 7 with loops: a_k <- 1/K / sum_i P_ki b_i, b_i <- 1/N / sum_k a_k P_ki, until nothing moves."""
    p = [[math.exp(v) for v in row] for row in F.log_softmax(logits, 1).tolist()]
    power = [[v**exponent for v in row] for row in p]
    n, k = len(p), len(p[0])
    a, b = [1.0] * k, [1.0] * n
    for _ in range(3000):
        a = [1 / k / sum(power[i][j] * b[i] for i in range(n)) for j in range(k)]
        b = [1 / n / sum(power[i][j] * a[j] for j in range(k)) for i in range(n)]
    q = [[a[j] * power[i][j] * b[i] for j in range(k)] for i in range(n)]
    return [max(range(k), key=row.__getitem__) for row in q]


@pytest.mark.parametrize("exponent", [1.0, 5.0])
def test_labels_are_those_of_equations_6_and_7(exponent):
    logits = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert equal_labels(logits, exponent, tolerance=1e-9).tolist() == slow_labels(logits, exponent)


@settings(max_examples=10)
@given(
    seed=st.integers(0, 1000),
    exponent=st.sampled_from([10.0, 25.0]),
    scale=st.sampled_from([0.1, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_labels_are_balanced_whatever_the_logits(seed, exponent, scale, dtype):
    generator = torch.Generator().manual_seed(seed)
    # All images prefer the first clusters.
    logits = scale * (torch.randn(400, 5, generator=generator) + torch.tensor([1.0, 0.5, 0, 0, 0]))
    counts = torch.bincount(equal_labels(logits.to(dtype), exponent), minlength=5)
    assert counts.min() > 60
    assert counts.max() < 100


def test_labels_are_found_where_the_network_is_as_good_as_certain():
    logits = torch.eye(4).repeat(25, 1) * 1e4
    assert torch.equal(equal_labels(logits, 25.0), torch.arange(4).repeat(25))
    # All of one mind: no balance can be reached, and none of the labels is lost.
    one_sided = torch.zeros(50, 4)
    one_sided[:, 0] = 1e4
    assert len(equal_labels(one_sided, 25.0)) == 50


def test_first_labels_are_balanced_random_and_different_for_every_head():
    labels = make(images=100).labels
    for head in labels:
        counts = torch.bincount(head, minlength=8)
        assert int(counts.max() - counts.min()) <= 1
    assert not torch.equal(labels[0], labels[1])


def test_labels_stay_with_their_images_in_whatever_order_they_come():
    images = torch.randn(96, 3, 16, 16)
    ordered, shuffled = make(), make()
    ordered.relabel([0, 1, 2], over(images))
    shuffled.relabel([0, 1, 2], over(images, torch.randperm(96)))
    assert torch.equal(ordered.labels, shuffled.labels)
    one = make()
    one.eval()
    with torch.no_grad():
        logits = one.classifiers(one.encoder(images)).unflatten(1, (3, 8))[:, 1]
    assert torch.equal(ordered.labels[1], equal_labels(logits, 10.0))


def test_relabelling_is_done_in_eval_mode_and_leaves_the_network_as_it_was():
    method = make()
    before = {name: value.clone() for name, value in method.state_dict().items() if name != "labels"}
    modes = []
    method.encoder.register_forward_hook(lambda module, *_: modes.append(module.training))
    method.before_epoch(0, over(torch.randn(96, 3, 16, 16)))
    assert modes
    assert not any(modes)
    assert method.training
    assert method.encoder.training
    for name, value in before.items():
        assert torch.equal(method.state_dict()[name], value)


def test_loss_is_the_mean_cross_entropy_of_the_heads_at_the_labels_of_the_index():
    method = make().eval()
    view, index = torch.randn(5, 3, 16, 16), torch.tensor([90, 3, 17, 3, 41])
    logits = method.classifiers(method.encoder(view)).detach().double().unflatten(1, (3, 8))
    expected = 0.0
    for head in range(3):
        for row, image in enumerate(index.tolist()):
            scores = logits[row, head]
            right = method.labels[head, image]
            expected -= math.log(math.exp(scores[right]) / sum(math.exp(score) for score in scores)) / 15
    assert method.loss([view], index).item() == pytest.approx(expected, abs=1e-5)


@given(
    epochs=st.integers(1, 500),
    heads=st.sampled_from([1, 3, 10, 20]),
    relabelings=st.integers(1, 100),
)
def test_every_head_is_relabelled_as_often_as_asked_and_in_turn(epochs, heads, relabelings):
    times = [
        [epoch for epoch in range(epochs) if due(epoch, epochs, head, heads, relabelings)] for head in range(heads)
    ]
    for when in times:
        assert abs(len(when) - min(relabelings, epochs)) <= 1
    at_once = [sum(epoch in when for when in times) for epoch in range(epochs)]
    assert max(at_once) <= math.ceil(heads * min(relabelings / epochs, 1)) + 1
    assert 0 in times[0]


def test_the_authors_schedule_relabels_one_head_before_each_of_400_epochs():
    heads = [[head for head in range(10) if due(epoch, 400, head, 10, 40)] for epoch in range(400)]
    assert all(len(found) == 1 for found in heads)
    assert heads[:10] != [[0]] * 10


def test_labels_are_part_of_the_state():
    assert make().state_dict()["labels"].shape == (3, 96)
