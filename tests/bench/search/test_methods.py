"""Methods by names, groups, and what is taken out of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import GROUPS, METHODS, WITH_TEACHER
from bench.errors import UserError
from bench.search.methods import named

WORDS = st.sampled_from([*METHODS, *GROUPS, "mine.py:MyMethod"])


def members(word: str) -> tuple[str, ...]:
    return GROUPS.get(word, (word,))


def test_every_group_has_methods_alone_in_the_order_of_all():
    for group in GROUPS.values():
        assert group == tuple(name for name in METHODS if name in group)
    assert GROUPS["seed"] + GROUPS["modern"] == GROUPS["all"]
    assert not GROUPS.keys() & (METHODS | WITH_TEACHER).keys()


@given(st.lists(WORDS, min_size=1))
def test_what_is_named_are_the_members_of_all_words_each_once_in_their_order(words: list[str]):
    assert named(",".join(words)) == tuple(dict.fromkeys(name for word in words for name in members(word)))


@given(st.lists(WORDS, min_size=1), WORDS, st.lists(WORDS))
def test_a_minus_sign_takes_out_what_stands_before_it_and_nothing_behind(before, out, behind):
    left = [name for word in before for name in members(word) if name not in members(out)]
    expected = tuple(dict.fromkeys([*left, *(name for word in behind for name in members(word))]))
    there = any(name in members(out) for word in before for name in members(word))
    text = ",".join([*before, f"-{out}", *behind])
    if there and expected:
        assert named(text) == expected
    else:
        with pytest.raises(UserError, match="takes out nothing" if not there else "leaves no method"):
            named(text)


def test_those_with_a_teacher_are_among_all_where_there_is_one_and_can_be_taken_out():
    assert named("all") == tuple(METHODS)
    assert named("all", teacher=True) == (*METHODS, *WITH_TEACHER)
    assert set(named("all,-distill", teacher=True)) == set(METHODS)
    assert set(named("seed,-seer", teacher=True)) == {*GROUPS["seed"]} - {"seer"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fats", "no method 'fats'; did you mean fast"),
        ("all,-ser", "no method 'ser'; did you mean seer"),
        ("-seer", "-seer takes out nothing: no seer stands before it, as in all,-seer"),
        ("fast,-dino", "-dino takes out nothing"),
        ("simclr,-simclr", "simclr,-simclr leaves no method; name one"),
        ("simclr,", "no method ''"),
        ("all,--seer", "no method '-seer'; did you mean seer"),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused_with_what_would_be_right(text: str, message: str):
    with pytest.raises(UserError, match=message):
        named(text)
