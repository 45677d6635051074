"""The rows, their order, and what a seed that failed does to it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report import results, table
from bench.report.columns import gain_text
from bench.report.rows import leader, rows
from bench.report.statistics import Estimate
from bench.report.text import with_interval
from tests.bench import synthetic_run
from tests.bench.report import runs


def test_rows_fall_by_test_accuracy_and_baselines_stand_below(run):
    made = rows(run)
    methods = [row for row in made if not row.baseline]
    assert [row.accuracy.mean for row in methods] == sorted((row.accuracy.mean for row in methods), reverse=True)
    assert [row.method for row in made[len(methods) :]] == ["supervised", "random", "pixels"]


def test_only_confirming_trials_of_the_winner_are_tested(run):
    """Trials of a former winner, and of the search, never enter the test column."""
    trials = run.trials.copy()
    confirm = trials[(trials.method == "byol") & (trials.stage == "confirm")]
    former = confirm.assign(stage="superseded", uid=confirm.uid + "-former", test_knn_200=0.999)
    with_former = results.Results(pd.concat([trials, former]), run.epochs, run.run)
    row = next(row for row in rows(with_former) if row.method == "byol")
    assert sorted(row.accuracy.values.values()) == sorted(confirm.test_knn_200)
    assert row.device_seconds == pytest.approx(  # but what they cost counts
        next(row for row in rows(run) if row.method == "byol").device_seconds + former.device_seconds.sum()
    )


def test_gain_is_paired_by_seed(run):
    trials = run.trials[run.trials.method == "byol"]
    tuned = trials[trials.stage == "confirm"].set_index("seed").test_knn_200
    recipe = trials[trials.stage == "published"].set_index("seed").test_knn_200
    gain = next(row for row in rows(run) if row.method == "byol").gain
    assert gain.values == pytest.approx((tuned - recipe).to_dict())


def test_a_winner_that_is_the_published_recipe_is_tested_by_the_published_trials():
    trials, epochs, facts = synthetic_run.rows(("byol",), trials=1, baselines=False)
    run = runs.loaded(trials, epochs, facts)
    (row,) = rows(run)
    published = {trial["seed"]: trial["test_knn_200"] for trial in trials if trial["stage"] == "published"}
    assert row.accuracy.values == published
    assert row.won == "published"
    assert gain_text(row) == "recipe won"


def test_a_method_without_a_complete_trial_has_dashes_but_its_cost_shows():
    run = runs.loaded(*synthetic_run.rows(("byol", "simclr"), all_failed=True, baselines=False))
    for row in rows(run):
        assert row.accuracy is row.gain is row.search_accuracy is row.first is None
        assert row.counts == {"failed": 12}
        assert row.device_seconds > 0


def test_nobody_ranks_first_before_all_on_the_runs_encoder_are_confirmed():
    run = runs.loaded(*synthetic_run.rows(("byol", "simclr", "amdim")))
    made = rows(run)
    assert leader(made).method == max(("byol", "simclr"), key=lambda m: runs.of(made, m).accuracy.mean)
    assert runs.of(made, "byol").first + runs.of(made, "simclr").first == pytest.approx(1)
    assert runs.of(made, "amdim").first is None
    part = run.trials[(run.trials.method != "byol") | (run.trials.stage == "search")]
    made = rows(results.Results(part, run.epochs, run.run | {"closed": None}))
    assert leader(made) is None
    assert all(row.first is None for row in made)


@pytest.mark.parametrize("stage", ["confirm", "published"])
def test_one_training_costs_what_those_that_tested_the_winner_took(stage):
    """Whatever the search and, where it did not win, the published recipe took."""
    run = runs.loaded(*synthetic_run.rows(("byol",), baselines=False))
    search, tested = run.trials.stage == "search", run.trials.stage == stage
    run.trials.loc[~tested, "device_seconds"] *= 10
    if stage == "published":
        run.run["winners"]["byol"] = run.trials[search & run.trials.published_recipe].uid.iloc[0]
    (row,) = rows(run)
    assert row.won == ("published" if stage == "published" else None)
    assert row.training_seconds == run.trials[tested].device_seconds.median()


@pytest.fixture(scope="module")
def whole_rows(run):
    return rows(run)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.data())
def test_a_failed_seed_never_makes_a_row_better(run, whole_rows, data):
    tested = run.trials[run.trials.stage.isin(["confirm", "published"])]
    failed = data.draw(st.sets(st.sampled_from(sorted(tested.index)), max_size=8))
    part = runs.fail(run, tested.loc[sorted(failed)])
    before, made = whole_rows, rows(part)
    places = [row.method for row in made]
    whole = [row for row in made if row.whole and not row.baseline]
    assert [row.method for row in before if row.method in {row.method for row in whole}] == [
        row.method for row in whole
    ]
    for row in made:
        if row.failed_seeds:
            assert row.first is None
            assert places.index(row.method) >= max([places.index(other.method) for other in whole], default=-1)
    assert leader(made) is (whole[0] if whole else None)


def test_below_the_whole_stand_the_failed_then_those_to_come_then_those_that_never_will():
    methods = ("byol", "moco", "simclr", "swav")
    run = runs.loaded(*synthetic_run.rows(methods, failing={("moco", "search"): 12}, baselines=False))
    part = runs.fail(run, runs.confirming(run, "swav", "confirm").iloc[:1])
    trials = part.trials[(part.trials.method != "byol") | (part.trials.stage == "search")]
    made = rows(results.Results(trials, part.epochs, part.run | {"closed": None}))
    assert [row.method for row in made] == ["simclr", "swav", "byol", "moco"]


def test_the_others_wait_for_a_method_whose_confirming_is_still_to_come_and_not_for_one_that_ended():
    whole = runs.loaded(*synthetic_run.rows(("byol", "simclr", "swav"), baselines=False))
    trials = whole.trials[(whole.trials.method != "byol") | (whole.trials.stage == "search")]
    for change, waits in (({"closed": None}, True), ({"closed": "budget"}, True), ({"closed": "done"}, False)):
        made = rows(results.Results(trials, whole.epochs, whole.run | change))
        assert (leader(made) is None) == waits
        assert made[-1].method == "byol"
    none = whole.run | {"closed": None, "winners": whole.run["winners"] | {"byol": None}}
    assert leader(rows(results.Results(trials, whole.epochs, none)))


def test_evaluations_are_of_the_encoders_that_are_tested():
    run = runs.loaded(*synthetic_run.rows(("byol",), protocols=("linear", "finetune")))
    row, judging = runs.of(rows(run), "byol"), run.trials[run.trials.protocol == "linear"]
    confirming = runs.confirming(run, "byol", "confirm")
    of = judging[judging.of.isin(confirming.uid)].set_index("seed")
    assert row.evaluated["linear"].values == of.test_linear.to_dict()
    assert len(judging) > len(of) == 3, "recipes are judged as well"
    assert row.classes["linear"] == pytest.approx(np.stack(of.test_linear_classes).mean(0))
    assert row.accuracy == runs.of(rows(runs.loaded(*synthetic_run.rows(("byol",)))), "byol").accuracy
    assert runs.of(rows(run), "pixels").evaluated == {}


def test_an_evaluation_that_failed_is_told_and_leaves_the_method_ranked():
    run = runs.loaded(*synthetic_run.rows(("byol", "simclr"), protocols=("linear",)))
    tested = runs.confirming(run, "byol", "confirm").uid
    part = runs.fail(run, run.trials[run.trials.of.isin(tested) & (run.trials.seed == 2)])
    row = runs.of(rows(part), "byol")
    assert (set(row.evaluated["linear"].values), row.failed_evaluations) == ({1, 3}, {"linear": {2}})
    assert row.first is not None
    line = next(line for line in table.markdown(part).splitlines() if line.startswith("| [byol]"))
    assert f"| {with_interval(row.evaluated['linear'])} (2 of 3 seeds; 1 failed) |" in line


def test_seeds_that_are_not_judged_yet_are_told():
    run = runs.loaded(*synthetic_run.rows(("byol",), protocols=("linear", "few", "scratch")))
    tested = runs.confirming(run, "byol", "confirm").uid
    trials = run.trials[~(run.trials.of.isin(tested) & (run.trials.seed == 2))]
    lines = table.markdown(results.Results(trials, run.epochs, run.run)).splitlines()
    assert next(line for line in lines if line.startswith("| [byol]")).count(" (2 of 3 seeds) |") == 2
    assert "of 3 seeds" not in next(line for line in lines if line.startswith("| supervised"))


def test_draws_that_are_missing_of_one_seed_are_left_out_of_all():
    trials, epochs, facts = synthetic_run.rows(("byol",), protocols=("few",))
    for trial in trials:
        if trial.get("test_few_linear_5_draws") and trial["seed"] == 1:
            trial["test_few_linear_5_draws"] = [None, *trial["test_few_linear_5_draws"][1:]]
        if trial.get("test_few_linear_1_draws"):
            trial["test_few_linear_1_draws"] = None
    row = runs.of(rows(runs.loaded(trials, epochs, facts)), "byol")
    assert list(row.evaluated["few_linear_5"].draws) == list(range(1, 10))
    assert type(row.evaluated["few_linear_1"]) is Estimate
