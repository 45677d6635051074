"""Replayed trainings spread as the recorded ones do, about the same means."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.errors import UserError
from bench.search.job import Job
from bench.search.simulate import plan_for, simulate
from bench.tabular import replay
from bench.tabular.replay import HELD_OUT, LEAVE_ONE_OUT, TEST
from tests.bench.tabular import tables

LAST = tables.EPOCHS - 1


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[pd.DataFrame, replay.Replay]:
    return tables.write(tmp_path / "t.parquet"), replay.load(tmp_path / "t.parquet")


def trainings(method: replay.Method, configuration: int, count: int = 3000) -> dict[str, np.ndarray]:
    drawn = [method.training(configuration, seed) for seed in range(count)]
    return {name: np.array([each[name] for each in drawn]) for name in method.columns}


def means_of(table: pd.DataFrame, method: str) -> np.ndarray:
    last = table[(table["epoch"] == tables.EPOCHS) & (table["method"] == method)]
    return last.groupby("configuration")[TEST].mean().to_numpy()


def test_truths_are_the_means_of_the_table_where_seeds_are_alike_and_those_of_recipes_always(tmp_path):
    for noise in (0.0, 0.05):
        table = tables.write(tmp_path / "t.parquet", noise=noise)
        for name, method in replay.load(tmp_path / "t.parquet").methods.items():
            means = means_of(table, name)
            alike = slice(None) if noise == 0 else slice(len(method.space.recipes))
            assert method.truth[alike] == pytest.approx(means[alike])
            assert method.best == method.truth.max()


@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_the_best_mean_of_configurations_that_are_equally_good_is_known_to_be_lucky(shared, tmp_path):
    made = {"count": 40, "noise": 0.05, "shared": shared, "truth": lambda method, number: 0.6}
    table = tables.write(tmp_path / "t.parquet", ("simclr",), **made)
    means, truth = means_of(table, "simclr")[1:], replay.load(tmp_path / "t.parquet").methods["simclr"].truth[1:]
    assert np.ptp(truth) < 0.6 * np.ptp(means)
    assert abs(truth - means).max() < 1.1 * 0.05 / math.sqrt(3)  # at most a standard error
    towards = (means - truth) * (means - np.median(means))
    assert (towards > -1e-9).all()


def test_what_seeds_do_to_all_configurations_is_not_taken_for_luck_of_one(tmp_path):
    table = tables.write(tmp_path / "t.parquet", ("simclr",), count=20, noise=0.001, shared=0.1)
    method = replay.load(tmp_path / "t.parquet").methods["simclr"]
    assert method.truth == pytest.approx(means_of(table, "simclr"), abs=1e-4)


def test_trainings_with_one_seed_share_what_it_does_to_all_configurations(tmp_path):
    tables.write(tmp_path / "t.parquet", ("simclr",), noise=0.005, shared=0.05)
    method = replay.load(tmp_path / "t.parquet").methods["simclr"]
    one, other = (trainings(method, configuration, 200)[TEST][:, LAST] for configuration in (2, 3))
    assert np.corrcoef(one, other)[0, 1] > 0.9
    twins = [[method.training(2, seed, proposal)[TEST][LAST] for seed in range(200)] for proposal in ("a", "b")]
    assert 0.9 < np.corrcoef(twins)[0, 1] < 1
    assert abs(np.corrcoef(one, np.roll(other, 1))[0, 1]) < 0.3


def test_replayed_trainings_have_the_means_of_the_configuration_at_every_epoch_by_every_judge(recorded):
    table, replayed = recorded
    mine = table[(table["method"] == "simclr") & (table["configuration"] == 3)]
    means = mine.groupby("epoch")[[TEST, LEAVE_ONE_OUT, HELD_OUT, "loss"]].mean()
    method = replayed.methods["simclr"]
    lucky = means.loc[tables.EPOCHS, TEST] - method.truth[3]  # by no more than what all accuracies have in common
    drawn = trainings(method, 3)
    for name in means:
        luck = 0 if name == "loss" else lucky
        assert drawn[name].mean(0) == pytest.approx(means[name].to_numpy() - luck, abs=0.002)


def test_replayed_trainings_spread_as_the_recorded_ones(recorded):
    """The pooled variance of the configurations of similar accuracy."""
    table, replayed = recorded
    method = replayed.methods["simclr"]
    near = np.argsort(abs(method.truth - method.truth[3]))[: math.ceil(len(method.truth) / 3)]
    last = table[(table["method"] == "simclr") & (table["epoch"] == tables.EPOCHS)]
    pooled = last[last["configuration"].isin(near)].groupby("configuration")[HELD_OUT].var().mean()
    assert trainings(method, 3)[HELD_OUT][:, LAST].std() == pytest.approx(math.sqrt(pooled), rel=0.05)


def test_all_columns_of_a_replayed_training_come_from_the_same_recorded_one(recorded):
    """RankMe tells the luck of a training, which moves the accuracy of all its epochs."""
    drawn = trainings(recorded[1].methods["simclr"], 2)
    luck = drawn["rankme"][:, 0] / 100
    for epoch in range(tables.EPOCHS):
        assert np.corrcoef(luck, drawn[TEST][:, epoch])[0, 1] > 0.95
        assert drawn["rankme"][:, epoch] / 100 == pytest.approx(luck)


def test_the_same_seed_trains_the_same_and_another_one_does_not(recorded, tmp_path):
    method, again = recorded[1].methods["barlow"], replay.load(tmp_path / "t.parquet").methods["barlow"]
    for seed in range(20):
        for name in method.columns:
            assert (method.training(1, seed)[name] == again.training(1, seed)[name]).all()
    assert len({float(method.training(1, seed)[TEST][LAST]) for seed in range(50)}) > 3


def test_as_many_trainings_of_a_configuration_diverge_as_did_and_where_they_did(tmp_path):
    tables.write(
        tmp_path / "t.parquet", diverged={("simclr", 2, 0): 3, **{("simclr", 5, seed): 1 for seed in range(3)}}
    )
    method = replay.load(tmp_path / "t.parquet").methods["simclr"]
    drawn = trainings(method, 2)
    ended = np.isnan(drawn[TEST][:, LAST])
    assert ended.mean() == pytest.approx(1 / 3, abs=0.04)
    assert np.isfinite(drawn[TEST][ended, :2]).all()
    assert np.isnan(drawn[TEST][ended, 2:]).all()
    assert np.isfinite(drawn[TEST][~ended]).all()
    assert np.isnan(trainings(method, 5, 10)[TEST]).all()
    assert method.truth[5] == 0
    assert method.truth[2] > 0


def test_a_search_meets_the_judge_and_what_confirms_it_the_test_images(recorded):
    replayed = recorded[1]
    method = replayed.methods["simclr"]
    values = method.space.configurations[4]
    search = Job("simclr-0004", "simclr", "search", 11, values, tables.EPOCHS, (1, tables.EPOCHS))
    for judge in (LEAVE_ONE_OUT, HELD_OUT):
        for stage, column in (("search", judge), ("race", judge), ("confirm", TEST), ("published", TEST)):
            job = dataclasses.replace(search, stage=stage)
            figure, seconds = replayed.curve(judge)(job, 1)
            assert figure == method.training(4, 11, "simclr-0004")[column][0]
            assert seconds == pytest.approx(1.04 + 0.1)
            assert replayed.curve(judge)(job, 2)[1] == pytest.approx(1.04)


def test_the_whole_search_runs_on_a_replay_and_confirms_what_it_chose(recorded):
    replayed = recorded[1]
    plan = plan_for(replayed.costs, 2, 30, replayed.epochs, "tpe", replayed.spaces)
    fold, _ = simulate(plan, replayed.curve())
    for name, method in replayed.methods.items():
        winner = fold.trials[fold.winner(name)]
        assert winner.hyperparameters in method.space.configurations
        assert len(fold.confirming(name)) >= 3


def test_a_method_of_which_a_configuration_has_one_seed_yet_is_left_out(tmp_path):
    table = tables.write(tmp_path / "t.parquet")
    one = (table["method"] == "barlow") & (table["configuration"] == 7) & (table["seed"] > 0)
    table[~one].to_parquet(tmp_path / "t.parquet")
    replayed = replay.load(tmp_path / "t.parquet")
    assert list(replayed.methods) == ["simclr"]
    assert replayed.left_out == ["barlow"]


def damaged(table: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "lacks":
        return table.drop(columns=[TEST, "seed"])
    if how == "no rows":
        return table[:0]
    if how == "should be numbers":
        return table.assign(loss=table["loss"].astype(str))
    if how == "several epochs":
        return pd.concat([table, table.assign(epochs=9, seed=9)])
    if how == "there twice":
        return pd.concat([table, table[:3]])
    if how == "without a gap":
        return table[table["configuration"] != 2]
    if how == "no JSON":
        return table.assign(hyperparameters="{")
    if how == "different hyperparameters by seed":
        return table.assign(hyperparameters=[f'{{"x": {number}}}' for number in range(len(table))])
    if how == "another search space":
        return table.assign(hyperparameters='{"warmth": 0.5}')
    if how == "beyond its epochs":
        return table.assign(epochs=2)
    assert how == "with two seeds"
    return table[table["seed"] == 0]


@pytest.mark.parametrize(
    "how",
    [
        *("lacks", "no rows", "should be numbers", "several epochs", "there twice", "without a gap", "no JSON"),
        *("different hyperparameters by seed", "another search space", "beyond its epochs", "with two seeds"),
    ],
)
def test_a_damaged_table_gets_one_line(how, tmp_path):
    path = tmp_path / "t.parquet"
    damaged(tables.write(path), how).to_parquet(path, index=False)
    with pytest.raises(UserError) as told:
        replay.load(path)
    assert how in str(told.value)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_no_table_gets_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        replay.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("words")
    with pytest.raises(UserError, match="no Parquet file"):
        replay.load(tmp_path / "text.parquet")
