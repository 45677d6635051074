"""What belongs together, by a regular expression in the paths of images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data import groups
from bench.data.source import EncodedSource, EncodedSplit
from bench.errors import UserError


def split(names: list[str], of: list[str] | None = None, labels: list[int] | None = None) -> EncodedSplit:
    return EncodedSplit(np.array(labels or [0] * len(names)), lambda places: iter(()), names, of)


def source(train: list[str], test: list[str] | None = None) -> EncodedSource:
    return EncodedSource(split(train), None if test is None else split(test), ("a", "b"))


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1))
def test_the_first_group_of_the_expression_or_else_the_whole_match_names_what_belongs_together(frames):
    names = [f"cat/video{video}_frame{frame}.png" for video, frame in frames]
    found = groups.by_expression(source(names, names[:1]), r"video(\d+)_")
    assert found.train.groups == [str(video) for video, _ in frames]
    assert found.test.groups == found.train.groups[:1]
    assert found.remarks == ()
    assert groups.by_expression(source(names), r"video\d+").train.groups == [f"video{video}" for video, _ in frames]


def test_images_in_whose_path_nothing_is_found_are_groups_of_their_own_and_told():
    found = groups.by_expression(source(["a/p1_1.png", "a/p1_2.png", "b/x.png", "b/y.png"]), r"p\d")
    assert found.train.groups == ["p1", "p1", groups.ALONE, groups.ALONE]
    assert found.remarks == (
        "--group-by 'p\\d' finds nothing in the paths of 2 of 4 images, each of which is a group of its own: "
        "b/x.png, b/y.png",
    )


@pytest.mark.parametrize(
    ("expression", "names", "message"),
    [
        ("p(", ["a/p1.png"], r"^--group-by 'p\(' is no regular expression \(missing \)"),
        ("q", ["a/p1.png", "a/p2.png"], r"finds nothing in the paths of the images, which are such as a/p1.png$"),
        ("(q)?", ["a/p1.png"], "finds nothing"),
        ("p", [], "needs images that have paths"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused_in_a_line(expression, names, message):
    with pytest.raises(UserError, match=message) as error:
        groups.by_expression(source(names), expression)
    assert "\n" not in str(error.value)


@given(st.lists(st.sampled_from(["", "a", "b", "c"])), st.none() | st.lists(st.sampled_from(["", "b", "c", "d"])))
def test_equal_groups_have_one_number_over_both_splits_and_images_alone_have_their_own(train, test):
    numbers = groups.numbered(split(train, train), split(test, test) if test is not None else None)
    of_train, of_test = numbers
    assert (of_test is None) == (test is None)
    names = [*train, *(test or [])]
    found = [*of_train, *(() if of_test is None else of_test)]
    for one, name in zip(found, names, strict=True):
        for other, another in zip(found, names, strict=True):
            assert (one == other) == (one is other or (name == another != groups.ALONE))


def test_without_groups_there_are_no_numbers_and_a_split_without_any_is_of_images_alone():
    assert groups.numbered(split(["x"]), split(["y"])) == (None, None)
    train, test = groups.numbered(split(["x"] * 2, ["p", "q"]), split(["y"] * 3))
    assert len({*train, *test}) == 5


def test_groups_in_both_splits_that_were_given_are_counted_and_named():
    told = groups.told(split(["1"] * 4, ["p", "q", "r", ""]), split(["2"] * 4, ["q", "q", "p", ""]))
    assert [*told] == ["2 groups of 3 test images stand in training too, as the test images were given: p, q"]


def test_a_group_that_is_most_of_the_images_is_told():
    assert [*groups.told(split(["1"] * 5, ["p", "p", "p", "q", ""]), None)] == [
        "the group p has 3 of 5 training images, more than all others"
    ]
    assert not [*groups.told(split(["1"] * 4, ["p", "p", "q", ""]), None)]


def test_what_whole_groups_make_impossible_is_told():
    labels = np.array([0] * 6 + [1] * 4 + [-1] * 2)
    told = [*groups.told_of_held_out(labels, np.arange(3, 11), np.arange(3), ("cat", "dog"))]
    assert told == [
        "3 of 10 images are held out, and not 20%: no groups are nearer to that",
        "1 image without labels, of groups that are held out, left out",
        "no test image of dog: of each class the images of a group are left for training",
    ]
