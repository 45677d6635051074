"""Hyper-parameters as they take effect, for every method."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms import BASELINES, METHODS, WITH_TEACHER, method_class
from algorithms.method import Method
from algorithms.training.recipe import batch_size_for, effective_hyperparameters
from algorithms.training.trainer import Trainer
from bench.search.space import load


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
def test_heads_are_at_most_eight_times_as_wide_as_the_encoder(name: str):
    wide = {"projector_hidden": 10**4, "projector_width": 10**4, "predictor_hidden": 10**4}
    given = load(name, 32).defaults
    given |= {name: width for name, width in wide.items() if name in given}
    found = effective_hyperparameters(method_class(name), given, width=64, images=10**6)
    expected = wide.keys() & given.keys()
    # The predictors of SimSiam and FastSiam are bottlenecks.
    assert {found[each] for each in expected} <= ({8 * 64, 4 * 64} if name in ("simsiam", "fastsiam") else {8 * 64})


class Cropped(Method):
    """A user's method, whose crops have a width of their own."""

    def __init__(self, setting, encoder, *, crop_width: int, queue_hidden: int = 10**6):
        super().__init__(setting, encoder)
        self.crop_width, self.queue_hidden = crop_width, queue_hidden


def test_a_method_is_given_its_hyperparameters_as_they_are_unless_it_says_otherwise():
    pixels = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    given = {"crop_width": 10**5, "learning_rate": 0.1, "weight_decay": 0.0, "batch_size": 8}
    made = Trainer(Cropped, pixels, given, epochs=1, encoder="resnet8", device="cpu")
    assert (made.method.crop_width, made.method.queue_hidden) == (10**5, 10**6)
    assert made.facts["hyperparameters"] == {}


def test_effective_hyperparameters_are_all_of_them_those_not_given_at_their_defaults():
    given = {"crop_width": 7, "learning_rate": 0.1, "weight_decay": 0.0}
    found = effective_hyperparameters(Cropped, given, width=64, images=10**6)
    assert found.items() >= (given | {"queue_hidden": 10**6, "batch_size": 256, "optimizer": "sgd"}).items()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, *BASELINES])
@given(data=st.data())
@settings(max_examples=40)
def test_effective_hyperparameters_stay_as_they_are_with_as_many_images_or_more(name: str, data):
    """So what a search has chosen is trained alike on all images."""
    space = load(name, 32)
    given = space.defaults | {"batch_size": data.draw(st.integers(2, 1024))}
    for key, entry in space.entries.items():
        if "choices" in entry:
            given[key] = data.draw(st.sampled_from(entry["choices"]))
    width, images = data.draw(st.integers(1, 2048)), data.draw(st.integers(2, 60_000))
    first = effective_hyperparameters(method_class(name), given, width=width, images=images)
    assert first.keys() >= given.keys()
    more = data.draw(st.integers(images, 2 * images))
    assert effective_hyperparameters(method_class(name), first, width=width, images=more) == first


@given(images=st.integers(1, 10**6), wanted=st.integers(1, 4096))
def test_the_batch_size_is_as_wanted_or_leaves_sixty_four_steps_of_at_least_32_images(images: int, wanted: int):
    size = batch_size_for(images, wanted)
    assert 1 <= size <= min(wanted, images) or size <= 32
    if size < wanted:
        assert images < 64 * wanted
        assert size == min(32, images) or (images // size >= 64 and 2 * size > images / 64)
