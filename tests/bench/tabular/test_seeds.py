"""What a seed does to all configurations is told from what it does to one."""

import math
import sys

import pandas as pd
import pytest

from bench.tabular import seeds
from tests.bench.tabular import tables


def made(tmp_path, **changes) -> pd.DataFrame:
    return tables.write(tmp_path / "t.parquet", ("simclr",), **{"count": 40, "seeds": 12} | changes)


def test_the_spread_of_seeds_has_both_parts_and_the_rest_has_chance_alone(tmp_path):
    trainings, rest = seeds.spreads(made(tmp_path, noise=0.02, shared=0.05))
    own = 2 * math.hypot(1, 0.1)  # a training's luck, and the test images' own
    assert rest == pytest.approx(own, rel=0.15)
    assert trainings == pytest.approx(math.hypot(5, own), rel=0.4)  # of twelve seeds


def test_where_seeds_do_nothing_to_all_the_rest_is_all(tmp_path):
    trainings, rest = seeds.spreads(made(tmp_path, noise=0.02))
    assert rest == pytest.approx(trainings, rel=0.1)


def test_one_seed_and_trainings_that_diverged_tell_nothing(tmp_path):
    assert math.isnan(seeds.spreads(made(tmp_path, seeds=1))[0])
    diverged = {("simclr", number, 0): 2 for number in range(39)}
    assert math.isnan(seeds.spreads(made(tmp_path, seeds=2, diverged=diverged))[0])


def test_the_command_prints_each_table_and_one_line_of_what_is_none(tmp_path, monkeypatch, capsys):
    made(tmp_path, noise=0.02, shared=0.05)
    monkeypatch.setattr(sys, "argv", ["seeds", str(tmp_path / "t.parquet")])
    seeds.main()
    assert "| simclr | " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["seeds", str(tmp_path / "none.parquet")])
    with pytest.raises(SystemExit) as ended:
        seeds.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
