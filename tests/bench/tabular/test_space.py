"""What is proposed stands for the nearest configuration."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

from bench.tabular import replay
from bench.tabular.space import TableSpace
from tests.bench.tabular import tables

METHODS = ("simclr", "barlow", "byol", "sela", "pirl")


@pytest.fixture(scope="module")
def spaces(tmp_path_factory) -> dict[str, TableSpace]:
    path: Path = tmp_path_factory.mktemp("table") / "t.parquet"
    tables.write(path, METHODS, count=12, seeds=2)
    return replay.load(path).spaces


@pytest.mark.parametrize("method", METHODS)
def test_a_configuration_of_the_table_stands_for_itself(method, spaces):
    space = spaces[method]
    for number, each in enumerate(space.configurations):
        assert space.number(each) == number
        if space.proposes(each):
            assert space.from_params(space.to_params(each)) == each


def test_the_recipes_are_the_first_configurations_and_ours_is_what_a_search_varies(spaces):
    for method, recipes in (("simclr", 1), ("barlow", 2), ("byol", 2)):
        space = spaces[method]
        assert space.recipes == list(space.configurations[:recipes])
        assert space.defaults == space.configurations[recipes - 1]


def test_a_recipe_outside_the_space_is_never_what_a_proposal_stands_for(spaces):
    space = spaces["byol"]
    assert not space.proposes(space.recipes[0])
    params = space.to_params(space.defaults)
    for low in (True, False):
        ends = {name: each.low if low else each.high for name, each in space.distributions().items()}
        assert space.nearest(params | ends) != 0


@given(place=st.floats(0, 1), seed=st.integers(0, 11))
@settings(max_examples=50)
def test_the_nearest_is_by_the_scale_of_the_range(place, seed, spaces):
    """Of a space of one range and nothing else that differs, on its log scale."""
    space = spaces["simclr"]
    distributions = space.distributions()
    at = space.to_params(space.configurations[seed])
    low, high = distributions["temperature"].low, distributions["temperature"].high
    proposed = at | {"temperature": low * (high / low) ** place}
    assert space.nearest(proposed) == min(
        range(12), key=lambda number: gower(space, proposed, space.to_params(space.configurations[number]))
    )


def gower(space: TableSpace, first: dict, second: dict) -> float:
    total = 0.0
    for name, each in space.distributions().items():
        if isinstance(each, CategoricalDistribution):
            total += first[name] != second[name]
        elif each.log:
            total += abs(math.log(first[name] / second[name])) / math.log(each.high / each.low)
        else:
            total += abs(first[name] - second[name]) / (each.high - each.low)
    return total


def test_a_different_choice_is_as_far_as_a_whole_range(spaces):
    space = spaces["barlow"]
    params = space.to_params(space.configurations[1])
    other = {"lars": "larc", "larc": "lars"}[params["optimizer"]]
    chosen = space.from_params(params | {"optimizer": other})
    distance = gower(space, params | {"optimizer": other}, space.to_params(chosen))
    assert distance <= 1
    assert chosen == space.configurations[1] or chosen["optimizer"] == other
