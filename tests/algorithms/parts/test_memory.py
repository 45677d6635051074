"""What methods remember: averages of weights, queues, banks."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algorithms.parts.memory import MemoryBank, Queue, averaged_copy, fitting_length, update_average


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))


@given(st.floats(0, 1), st.booleans())
def test_an_average_moves_by_exactly_one_minus_the_momentum(momentum, as_tensor):
    online = network().double()
    average = averaged_copy(network().double())
    before = [p.clone() for p in average.parameters()]
    update_average(average, online, torch.tensor(momentum, dtype=torch.float64) if as_tensor else momentum)
    for new, old, value in zip(average.parameters(), before, online.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * value, rtol=1e-12, atol=1e-15)


def test_an_average_starts_equal_apart_and_without_gradient():
    online = network()
    average = averaged_copy(online)
    for copied, value in zip(average.parameters(), online.parameters(), strict=True):
        assert torch.equal(copied, value)
        assert copied.data_ptr() != value.data_ptr()
        assert not copied.requires_grad
        assert value.requires_grad


def test_an_average_keeps_batch_statistics_of_its_own():
    online = network()
    average = averaged_copy(online)
    average(torch.randn(8, 3))
    own = average[1].running_mean.clone()
    online(torch.randn(8, 3) + 5)
    update_average(average, online, 0.5)
    assert torch.equal(average[1].running_mean, own)


# --------------------------------------------------------------------------------------------------------------- queue


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 12))
def test_a_queue_holds_the_last_keys_normalised_and_whose_they_are(batch, batches, appended):
    queue = Queue(batch * batches, 3)
    keys, images = torch.randn(appended, batch, 3), torch.randint(100, (appended, batch))
    for part, index in zip(keys, images, strict=True):
        queue.append(part, index)
    kept = min(batches, appended)
    expected = F.normalize(keys[appended - kept :].flatten(0, 1), dim=1)
    newest = (queue.pointer - 1 - torch.arange(kept * batch)) % len(queue.keys)
    torch.testing.assert_close(queue.keys[newest].flip(0), expected)
    assert torch.equal(queue.images[newest].flip(0), images[appended - kept :].flatten())
    assert (queue.images == -1).sum() == (batches - kept) * batch


def test_a_new_queue_holds_random_directions_and_no_zeros():
    keys = Queue(64, 8).keys
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(64))
    assert keys.std(0).min() > 0.1


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 5000))
def test_a_queue_is_a_multiple_of_the_batch_and_no_longer_than_there_are_images(length, batch, images):
    found = fitting_length(length, batch_size=batch, images=images)
    assert found % batch == 0
    assert found == batch or min(length, images) - batch < found <= min(length, images)


def test_contents_do_not_change_under_a_later_append():
    queue = Queue(4, 2)
    contents = queue.contents()
    before = contents.clone()
    queue.append(torch.randn(2, 2))
    assert torch.equal(contents, before)
    assert not torch.equal(queue.contents(), before)


def test_a_queue_keeps_no_gradient_and_takes_half_precision():
    queue = Queue(4, 2)
    queue.append(torch.randn(2, 2, dtype=torch.bfloat16, requires_grad=True))
    assert not queue.keys.requires_grad
    assert queue.keys.dtype == torch.float32


def test_a_queue_is_restored_with_its_pointer():
    first, second = (Queue(6, 2) for _ in range(2))
    first.append(torch.randn(2, 2), torch.tensor([4, 7]))
    second.load_state_dict(first.state_dict())
    keys = torch.randn(2, 2)
    first.append(keys, torch.tensor([1, 2]))
    second.append(keys, torch.tensor([1, 2]))
    assert torch.equal(first.keys, second.keys)
    assert second.images.tolist() == [4, 7, 1, 2, -1, -1]


# ---------------------------------------------------------------------------------------------------------------- bank


@given(st.floats(0, 1))
def test_a_bank_moves_the_vectors_at_the_index_and_normalises_them_again(momentum):
    bank = MemoryBank(10, 4)
    before = bank.vectors.clone()
    index = torch.tensor([7, 2, 5])
    embeddings = torch.randn(3, 4)
    bank.update(index, embeddings, momentum)
    for place in range(10):
        expected = before[place]
        if place in (7, 2, 5):
            new = F.normalize(embeddings[[7, 2, 5].index(place)], dim=0)
            expected = F.normalize(momentum * expected + (1 - momentum) * new, dim=0)
        torch.testing.assert_close(bank[torch.tensor(place)], expected)
