"""Strategies choose on a replayed table, and what their choices cost is told."""

import sys

import numpy as np
import pandas as pd
import pytest

from bench.tabular import criteria_regret, judges, peers, regret, replay
from tests.bench.tabular import tables

RUN = [strategy for strategy in regret.STRATEGIES if strategy.runs]


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> str:
    """A table in which seeds differ by next to nothing."""
    path = tmp_path_factory.mktemp("exact") / "t.parquet"
    tables.write(path, noise=1e-4)
    return str(path)


@pytest.mark.parametrize("strategy", RUN, ids=lambda strategy: f"{strategy.name}, {strategy.judge}")
def test_every_strategy_finds_the_best_configuration_where_seeds_are_alike_and_time_is_ample(strategy, exact):
    rows = regret.repeats(exact, strategy, "simclr", 60, 2)
    near = 0.02 if strategy.searcher == "prior" else 0  # it keeps to what is good, and may stay at the second best
    assert [row["regret"] for row in rows] == pytest.approx([0, 0], abs=near + 1e-9)
    assert not any(row["worse"] for row in rows)


@pytest.mark.parametrize("strategy", RUN, ids=lambda strategy: f"{strategy.name}, {strategy.judge}")
def test_a_strategy_takes_about_the_time_that_it_has_and_chooses_the_same_again(strategy, exact):
    rows = regret.repeats(exact, strategy, "barlow", 12, 2)
    assert rows == regret.repeats(exact, strategy, "barlow", 12, 2)
    assert all(9 <= row["took"] <= 13.5 for row in rows)


def test_the_search_as_it_was_before_has_no_race_and_takes_the_best_figure(exact, monkeypatch):
    seen = {}
    simulate = regret.simulate

    def watched(*asked):
        seen["fold"], virtual = simulate(*asked)
        return seen["fold"], virtual

    monkeypatch.setattr(regret, "simulate", watched)
    before, racing = (next(s for s in regret.STRATEGIES if s.name == name) for name in ("as before", "+ race: ours"))
    table = replay.load(exact)
    regret.choose(before, table, "simclr", 15, 0)
    assert not list(seen["fold"].of("simclr", "race"))
    winner = seen["fold"].trials[seen["fold"].winner("simclr")]
    complete = [trial for trial in seen["fold"].of("simclr", "search") if trial.state == "complete"]
    assert winner.accuracy == max(trial.accuracy for trial in complete)
    regret.choose(racing, table, "simclr", 15, 0)
    assert list(seen["fold"].of("simclr", "race"))


def test_where_all_trainings_diverge_peers_choose_the_published_recipe(tmp_path):
    tables.write(tmp_path / "t.parquet")
    method = replay.load(tmp_path / "t.parquet").methods["simclr"]
    object.__setattr__(method, "training", lambda *asked: {replay.HELD_OUT: np.full(tables.EPOCHS, np.nan)})
    for peer in peers.PEERS.values():
        assert peers.search(peer, method, replay.HELD_OUT, tables.EPOCHS, 40.0, 2, 0)[0] == 0


def test_the_command_writes_every_repeat_and_the_tables(tmp_path, monkeypatch, capsys):
    tables.write(tmp_path / "t.parquet")
    words = [str(tmp_path / "t.parquet"), "--trainings", "5", "--repeats", "2", "--processes", "1"]
    monkeypatch.setattr(sys, "argv", ["regret", *words, "--out", str(tmp_path / "out")])
    monkeypatch.setattr(regret, "STRATEGIES", [regret.STRATEGIES[0], regret.STRATEGIES[6]])
    regret.main()
    rows = pd.read_parquet(tmp_path / "out/regret.parquet")
    assert len(rows) == 2 * 2 * 2  # strategies, methods, repeats
    assert (rows["regret"] >= 0).all()
    text = (tmp_path / "out/regret.md").read_text()
    assert "| as before | held-out tenth |" in text
    assert text in capsys.readouterr().out


def test_the_command_says_what_is_wrong_in_a_line(tmp_path, monkeypatch, capsys):
    for module in (regret, judges, criteria_regret):
        out = [] if module is judges else ["--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["command", str(tmp_path / "none"), *out])
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_intervals_are_those_of_the_books():
    assert regret.mean([0.01, 0.03]) == "2.00 ± 1.96"
    assert regret.part([False] * 20) == "0.0 (0.0 to 16.1)"
    assert regret.part([True] + [False] * 9) == "10.0 (1.8 to 40.4)"


def test_a_judge_that_is_the_test_figure_ranks_as_it_does_and_one_that_is_against_it_the_other_way(tmp_path):
    table = tables.write(tmp_path / "t.parquet").assign(**{replay.LEAVE_ONE_OUT: lambda rows: rows[replay.TEST]})
    table[replay.HELD_OUT] = 1 - table[replay.TEST]
    for name, rows in table.groupby("method"):
        assert judges.correlations(rows, replay.LEAVE_ONE_OUT) == (pytest.approx([1] * 3), pytest.approx([1] * 3))
        assert judges.correlations(rows, replay.HELD_OUT) == (pytest.approx([-1] * 3), pytest.approx([-1] * 3))
        assert f"| {name} | 3 | -1.00 | 1.00 | -1.00 | 1.00 |" in judges.report(table)
    assert "than a held-out tenth: nowhere." in judges.report(table)


def test_at_an_epoch_at_which_luck_is_all_a_judge_does_not_rank_and_at_the_last_it_does(tmp_path):
    table = tables.write(tmp_path / "t.parquet", ("simclr",), count=30, noise=0.01)
    first = table["epoch"] == 1
    table.loc[first, replay.LEAVE_ONE_OUT] = np.random.default_rng(0).random(first.sum())
    (epoch, rank, _), *_, (last, sure, kept) = judges.by_epoch(table)
    assert (epoch, last) == (1, tables.EPOCHS)
    assert abs(rank) < 0.3
    assert (sure > 0.9, kept) == (True, 1)
