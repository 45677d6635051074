"""The rows, their order, and what a seed that failed does to it."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import results
from bench.report.columns import gain_text
from bench.report.rows import leader, rows
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
