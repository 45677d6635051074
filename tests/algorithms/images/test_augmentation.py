"""Settings of augmentation that all methods share: what each does to a view, and that nothing is done unasked."""

import dataclasses
import inspect
import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms import METHODS, WITH_TEACHER, method_class
from algorithms.images.augment import augment, recoloured
from algorithms.images.augmentation import OFF, SETTINGS, Augmentation
from algorithms.images.store import pack
from algorithms.images.view import View, draw, draw_pose
from algorithms.method import Method, Setting
from bench.search.space import load
from tests.algorithms.images.pictures import NORMALISER, assert_same, choose, images, made

FULL = Augmentation(
    least_crop=0.3,
    jitter_strength=0.5,
    jitter_colour=True,
    grayscale_probability=0.3,
    blur_probability=0.4,
    solarize_probability=0.3,
    horizontal_flip_probability=0.4,
    vertical_flip_probability=0.4,
    quarter_turn_probability=0.7,
)
OTHER = {
    "least_crop": 0.5,
    "jitter_strength": 0.7,
    "jitter_colour": False,
    "grayscale_probability": 0.1,
    "blur_probability": 0.1,
    "solarize_probability": 0.1,
    "horizontal_flip_probability": 0.1,
    "vertical_flip_probability": 0.1,
    "quarter_turn_probability": 0.1,
}
"""Another value of each setting."""
MANY = 40_000


def built(name: str, side: int) -> Method:
    cls = method_class(name)
    known = inspect.signature(cls).parameters
    given = load(name, side).defaults | {"negatives": 16, "queue_length": 64}
    own = {parameter: value for parameter, value in given.items() if parameter in known}
    return cls(Setting(64, side, 8, 4, teacher=torch.randn(64, 12).half()), cls.build_encoder("resnet8", side), **own)


def views_of(method: Method) -> tuple[View, ...]:
    return (*method.views, *((method.patch_view,) if hasattr(method, "patch_view") else ()))


@settings(max_examples=30)
@given(
    side=st.integers(2, 12),
    flip=st.booleans(),
    vertical=st.booleans(),
    transpose=st.booleans(),
)
def test_a_view_lies_as_its_choice_says_to_the_last_bit(side, flip, vertical, transpose):
    pictures = images(3, side)
    choice = choose(3, side, flip=flip, vertical=vertical, transpose=transpose)
    expected = made(pictures, choose(3, side), side)
    expected = expected.flip(-1) if flip else expected
    expected = expected.flip(-2) if vertical else expected
    expected = expected.mT if transpose else expected
    assert torch.equal(made(pictures, choice, side), expected)


@settings(max_examples=30)
@given(data=st.data())
def test_a_crop_is_flipped_and_turned_after_it_is_cut(data):
    side, size = data.draw(st.integers(4, 20)), data.draw(st.integers(2, 20))
    height, width = data.draw(st.integers(1, side)), data.draw(st.integers(1, side))
    where = {
        "top": float(data.draw(st.integers(0, side - height))),
        "left": float(data.draw(st.integers(0, side - width))),
        "height": float(height),
        "width": float(width),
    }
    flip, vertical, transpose = (data.draw(st.booleans()) for _ in range(3))
    pictures = images(2, side)
    expected = made(pictures, choose(2, side, **where), size)
    expected = expected.flip(-1) if flip else expected
    expected = expected.flip(-2) if vertical else expected
    expected = expected.mT if transpose else expected
    lies = choose(2, side, **where, flip=flip, vertical=vertical, transpose=transpose)
    assert_same(made(pictures, lies, size), expected)


def posed(pose, place: int) -> np.ndarray:
    """What becomes of a square of four different pixels."""
    square = np.array([[0, 1], [2, 3]])
    square = square[:, ::-1] if pose.flip[place] else square
    square = square[::-1] if pose.vertical is not None and pose.vertical[place] else square
    return square.T if pose.transpose is not None and pose.transpose[place] else square


def test_quarter_turns_alone_are_the_four_rotations_each_as_often():
    torch.manual_seed(0)
    pose = draw_pose([View(2, flip=0.0, quarter_turn=1.0)], MANY)
    rotations = {np.rot90([[0, 1], [2, 3]], turns).tobytes(): 0 for turns in range(4)}
    for place in range(2000):
        rotations[np.ascontiguousarray(posed(pose, place)).tobytes()] += 1
    assert min(rotations.values()) > 400


def test_flips_and_turns_together_are_the_eight_ways_of_a_square_each_as_often():
    torch.manual_seed(0)
    pose = draw_pose([View(2, flip=0.5, vertical_flip=0.5, quarter_turn=1.0)], MANY)
    columns = torch.stack([pose.flip, pose.vertical, pose.transpose]).long()
    share = torch.bincount(columns[0] * 4 + columns[1] * 2 + columns[2], minlength=8) / MANY
    assert (share - 1 / 8).abs().max() < 4 * math.sqrt(1 / 8 * 7 / 8 / MANY)


@pytest.mark.parametrize(("vertical_flip", "quarter_turn"), [(0.3, 0.0), (0.0, 0.6), (0.2, 0.5)])
def test_a_view_is_turned_as_often_as_asked_whatever_the_flips(vertical_flip, quarter_turn):
    torch.manual_seed(0)
    pose = draw_pose([View(2, flip=0.0, vertical_flip=vertical_flip, quarter_turn=quarter_turn)], MANY)
    limit = 4 * math.sqrt(0.25 / MANY)
    if quarter_turn:
        assert abs(pose.transpose.float().mean() - quarter_turn / 2) < limit
    else:
        assert pose.transpose is None
    upside_down = vertical_flip * (1 - quarter_turn / 2) + (1 - vertical_flip) * quarter_turn / 2
    assert abs(pose.vertical.float().mean() - upside_down) < limit


def test_without_flips_and_turns_the_same_random_numbers_are_drawn_as_before_there_were_any():
    for view in (View(8), View(8, blur=0.5, solarize=0.2)):
        torch.manual_seed(3)
        drawn = draw([view], 64, 8)
        assert drawn.pose.vertical is None
        assert drawn.pose.transpose is None
        torch.manual_seed(3)
        other = draw([dataclasses.replace(view, flip=0.2)], 64, 8)
        assert torch.equal(drawn.jitter.order, other.jitter.order)


def test_shared_flips_and_turns_are_the_same_in_all_views_of_an_image():
    ramp = (torch.arange(64).view(1, 1, 8, 8) * 3).to(torch.uint8).expand(500, 3, 8, 8)
    still = View(8, scale=None, vertical_flip=0.5, quarter_turn=1.0, jitter_probability=0.0, grayscale=0.0)
    torch.manual_seed(0)
    first, second = augment(pack(ramp), [still, still], NORMALISER, shared_flip=True)
    assert torch.equal(first, second)
    assert len({view.numpy().tobytes() for view in first}) == 8
    first, second = augment(pack(ramp), [still, still], NORMALISER)
    assert not torch.equal(first, second)


def test_patches_are_flipped_and_turned_each_by_itself():
    patch = torch.arange(16.0).view(1, 1, 4, 4).expand(400, 3, 4, 4) / 16
    view = View(4, scale=None, vertical_flip=0.5, quarter_turn=1.0, jitter_probability=0.0, grayscale=0.0)
    torch.manual_seed(0)
    found = recoloured(patch, view, NORMALISER)
    square = patch[0, 0].numpy()
    ways = [np.rot90(mirrored, turns) for mirrored, turns in product((square, square[:, ::-1]), range(4))]
    nearest = [min(range(8), key=lambda way: np.abs(ways[way] - each.numpy()).max()) for each in found[:, 0]]
    assert max(np.abs(ways[way] - each.numpy()).max() for way, each in zip(nearest, found[:, 0], strict=True)) < 1e-5
    assert set(nearest) == set(range(8))


def test_off_is_a_view_of_the_whole_image_as_it_is():
    pictures = images(5, 8)
    (view,) = augment(pack(pictures), [OFF.view(View(8, blur=0.5, solarize=0.2), first=False)], NORMALISER)
    (whole,) = augment(pack(pictures), [View(8, scale=None, flip=0.0, jitter=(0.0,) * 4, grayscale=0.0)], NORMALISER)
    assert torch.equal(view, whole)
    (cut,) = augment(
        pack(pictures), [dataclasses.replace(OFF, least_crop=torch.tensor(1.0)).view(View(8), first=True)], NORMALISER
    )
    assert_same(cut, whole)


@pytest.mark.parametrize("changed", [{"least_crop": 0.5}, {"solarize_probability": 0.5}, {"jitter_strength": 0.5}])
def test_tensors_make_the_views_that_numbers_make(changed):
    """Where both are on, so that the same random numbers are drawn."""
    given = {name: getattr(FULL, name) for name in SETTINGS} | changed
    pictures = pack(images(16, 8))
    own = [View(8), View(8), View(4, scale=(0.08, 0.5))]
    found = []
    for device in (None, torch.device("cpu")):
        augmentation = Augmentation.of(given | {"augment": "texture"}, device)
        assert isinstance(augmentation.least_crop, torch.Tensor) == (device is not None)
        torch.manual_seed(0)
        views = [augmentation.view(view, first=not at) for at, view in enumerate(own)]
        found.append(augment(pictures, views, NORMALISER))
    for numbers, tensors in zip(*found, strict=True):
        assert_same(tensors, numbers, 1e-4)


def test_local_crops_keep_their_scale_shifts_stay_and_only_the_first_view_is_never_solarised():
    assert FULL.view(View(8, scale=(0.1, 0.5)), first=False).scale == (0.1, 0.5)
    assert FULL.view(View(8, scale=(0.08, 1.0)), first=False).scale == (0.3, 1.0)
    assert FULL.view(View(8, scale=None), first=False).scale is None
    shifted = FULL.view(View(8, translate=1), first=True)
    assert (shifted.translate, shifted.solarize) == (1, 0.0)
    assert FULL.view(View(8), first=False).solarize == 0.3


def test_without_colour_brightness_and_contrast_alone_are_jittered():
    assert dataclasses.replace(FULL, jitter_colour=False).view(View(8), first=True).jitter == (0.4, 0.4, 0.0, 0.0)
    assert FULL.view(View(8), first=True).jitter == pytest.approx((0.4, 0.4, 0.4, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("side", [16, 96])
@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
def test_every_setting_changes_the_views_of_every_method_but_those_that_it_says_do_not(name: str, side: int):
    def taken(augmentation: Augmentation) -> tuple[View, ...]:
        method = built(name, side)
        method.take(augmentation)
        return views_of(method)

    without = {each for each in SETTINGS if taken(FULL) == taken(dataclasses.replace(FULL, **{each: OTHER[each]}))}
    assert without == method_class(name).unaffected_by(side)
    sizes = [view.size for view in views_of(built(name, side))]
    assert [view.size for view in taken(FULL)] == sizes


def test_pirls_board_keeps_its_crop_and_its_patches_are_what_is_flipped_turned_and_coloured():
    method = built("pirl", 32)
    board = method.views[1]
    method.take(FULL)
    assert method.views[1] is board
    assert (method.views[0].solarize, method.patch_view.solarize, method.patch_view.quarter_turn) == (0.0, 0.3, 0.7)


def test_the_ceiling_takes_only_whether_images_are_mirrored():
    cls = method_class("supervised")
    method = cls(Setting(8, 32, 8, 1, torch.arange(8) % 2), cls.build_encoder("resnet8", 32))
    (before,) = method.views
    method.take(FULL)
    assert method.views == (dataclasses.replace(before, flip=0.4),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("least_crop", 0.0),
        ("least_crop", 1.5),
        ("jitter_strength", -0.1),
        ("jitter_strength", math.nan),
        ("blur_probability", 1.1),
        ("blur_probability", "half"),
        ("horizontal_flip_probability", True),
        ("jitter_colour", 1.0),
    ],
)
def test_what_is_no_setting_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; it must be"):
        Augmentation(**{name: value})


def test_the_papers_own_views_have_no_settings():
    assert Augmentation.of({}) is None
    assert Augmentation.of({"augment": "paper", "blur_probability": 0.5}) is None
