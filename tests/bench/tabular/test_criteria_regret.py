"""What ways of choosing lose, of tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from bench.tabular.criteria_regret import Recorded, markdown, measure, read, regrets

TRUTH = np.array([40.0, 50.0, 30.0, 60.0])


def recorded(**merits: list[float]) -> Recorded:
    return Recorded({name: np.array(value)[None, None] for name, value in merits.items()}, TRUTH)


def test_the_regret_is_what_the_choice_is_worse_than_the_best_that_was_offered():
    nothing = -np.inf
    method = recorded(right=[0, 1, 0, 2], recipe=[3, 2, 1, 0], wrong=[0, 0, 9, 0], diverged=[0, nothing, 1, nothing])
    found = regrets(method, 0, np.random.default_rng(0), 50)
    assert found == {"right": 0, "recipe": 20, "wrong": 30, "diverged": 30}


def test_the_recipe_is_always_offered():
    found = regrets(recorded(recipe=[1, 0, 0, 0]), 2, np.random.default_rng(0), 600)
    assert found["recipe"] == pytest.approx((10 + 0 + 20) / 3, abs=2)


def table(path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for method in ("a", "b"):
        for configuration in range(12):
            for seed in (0, 1):
                told = rng.random()
                own = {"method": method, "configuration": configuration, "seed": seed, "epoch": 4, "epochs": 4}
                figures = {"test_knn_200": told, "train_knn_200": told, "held_out_knn_200": 1 - told, "loss": told}
                few = {"few_2_0": told, "few_share_2_0": told, "instance_accuracy": told if seed == 0 else np.nan}
                also = {
                    "image_size": 16,
                    "kind": "uniform",
                    "hyperparameters": "{}",
                    "seconds": 1.0,
                    "evaluation_seconds": 1.0,
                }
                rows.append({"dataset": "shapes", **own, **figures, **few, **also})
    pd.DataFrame(rows).to_parquet(path)


def test_a_table_is_read_measured_and_shown(tmp_path):
    table(tmp_path / "known.parquet")
    methods = read(tmp_path / "known.parquet")
    assert set(methods) == {"a", "b"}
    assert methods["a"].merits["all labels, leave-one-out"].shape == (1, 2, 12)
    assert methods["a"].merits["instance_accuracy"].shape == (1, 1, 12), "it has the seeds that have it"
    assert set(read(tmp_path / "known.parquet", {"b"})) == {"b"}
    found = measure(methods, 5).assign(table="known", offered=0)
    assert (found.low <= found.high).all()
    assert not found.regret.isna().any()
    mean = found[found.method == "mean"].set_index("judge").regret
    assert mean["all labels, leave-one-out"] < mean["random"] < mean["loss"]
    assert "rankme" not in mean, "nobody has measured it"
    shown = pd.concat([found.assign(offered=offered) for offered in (5, 15, 0)])
    assert "| recipe |" in markdown(shown)
