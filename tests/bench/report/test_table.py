import io
import json
import random
import re
import string
import tempfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr

from bench.errors import UserError
from bench.report import results, table
from tests.bench import synthetic_run

T_TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281, 30: 2.0423, 120: 1.9799}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return results.load(synthetic_run.write(tmp_path_factory.mktemp("made-up")))


@pytest.mark.parametrize("degrees", T_TABLE)
def test_intervals_are_those_of_printed_tables(degrees):
    values = [0.0, *[1.0] * degrees]
    half_width = T_TABLE[degrees] * np.std(values, ddof=1) / np.sqrt(len(values))
    assert table.Estimate(dict(enumerate(values))).half_width == pytest.approx(half_width, rel=5e-5)


def test_interval_covers_the_true_mean_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for sample in generator.normal(0.8, 0.01, size=(2000, 3)):
        estimate = table.Estimate(dict(enumerate(sample.tolist())))
        covered += abs(estimate.mean - 0.8) <= estimate.half_width
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval():
    assert table.Estimate({1: 0.5}).half_width is None
    assert table.with_interval(table.Estimate({1: 0.5})) == "50.00"


def test_what_was_not_measured_is_a_dash():
    assert table.with_interval(None) == table.percent(None) == table.amount(None) == table.DASH


def test_rows_fall_by_test_accuracy_and_baselines_stand_below(run):
    rows = table.rows(run)
    methods = [row for row in rows if not row.baseline]
    assert [row.knn_200.mean for row in methods] == sorted((row.knn_200.mean for row in methods), reverse=True)
    assert [row.method for row in rows[len(methods) :]] == ["supervised", "random", "pixels"]


def test_only_confirming_trials_of_the_winner_are_tested(run):
    """Trials of a former winner, and of the search, never enter the test column."""
    trials = run.trials.copy()
    confirm = trials[(trials.method == "byol") & (trials.stage == "confirm")]
    former = confirm.assign(stage="superseded", uid=confirm.uid + "-former", test_knn_200=0.999)
    with_former = results.Results(pd.concat([trials, former]), run.epochs, run.run)
    row = next(row for row in table.rows(with_former) if row.method == "byol")
    assert sorted(row.knn_200.values.values()) == sorted(confirm.test_knn_200)
    assert row.device_seconds == pytest.approx(  # but what they cost counts
        next(row for row in table.rows(run) if row.method == "byol").device_seconds + former.device_seconds.sum()
    )


def test_gain_is_paired_by_seed(run):
    trials = run.trials[run.trials.method == "byol"]
    tuned = trials[trials.stage == "confirm"].set_index("seed").test_knn_200
    recipe = trials[trials.stage == "published"].set_index("seed").test_knn_200
    gain = next(row for row in table.rows(run) if row.method == "byol").gain
    assert gain.values == pytest.approx((tuned - recipe).to_dict())


def test_a_winner_that_is_the_published_recipe_is_tested_by_the_published_trials():
    trials, epochs, facts = synthetic_run.rows(("byol",), trials=1, baselines=False)
    run = _results(trials, epochs, facts)
    (row,) = table.rows(run)
    published = {trial["seed"]: trial["test_knn_200"] for trial in trials if trial["stage"] == "published"}
    assert row.knn_200.values == published
    assert row.won == "published"
    assert table.gain_text(row) == "recipe won"


def test_a_method_without_a_complete_trial_has_dashes_but_its_cost_shows():
    run = _results(*synthetic_run.rows(("byol", "simclr"), all_failed=True, baselines=False))
    for row in table.rows(run):
        assert row.knn_200 is row.gain is row.validation is row.first is None
        assert row.counts == {"failed": 12}
        assert row.device_seconds > 0


@pytest.mark.parametrize("values", [[0.80, 0.81, 0.79], [0.5, 0.9], [0.70, 0.71, 0.72, 0.73, 0.74, 0.75]])
def test_probability_of_rank_1_is_that_of_students_t_and_shared_on_a_tie(values):
    mean, error = np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5
    for other in (mean - error, mean + 3 * error):
        found = table.probability_of_rank_1({"a": values, "b": [other, other]})
        assert found["a"] == pytest.approx(stdtr(len(values) - 1, (mean - other) / error), abs=0.015)
    tie = table.probability_of_rank_1({"a": [0.5, 0.5], "b": [0.5, 0.5]})
    assert tie == pytest.approx({"a": 0.5, "b": 0.5})


def test_nobody_ranks_first_before_all_on_the_runs_encoder_are_confirmed():
    run = _results(*synthetic_run.rows(("byol", "simclr", "amdim")))
    made = table.rows(run)
    assert table.leader(made).method == max(("byol", "simclr"), key=lambda m: _of(made, m).knn_200.mean)
    assert _of(made, "byol").first + _of(made, "simclr").first == pytest.approx(1)
    assert _of(made, "amdim").first is None
    part = run.trials[(run.trials.method != "byol") | (run.trials.stage == "search")]
    made = table.rows(results.Results(part, run.epochs, run.run | {"closed": None}))
    assert table.leader(made) is None
    assert all(row.first is None for row in made)


@pytest.mark.parametrize("stage", ["confirm", "published"])
def test_one_training_costs_what_those_that_tested_the_winner_took(stage):
    """Whatever the search and, where it did not win, the published recipe took."""
    run = _results(*synthetic_run.rows(("byol",), baselines=False))
    search, tested = run.trials.stage == "search", run.trials.stage == stage
    run.trials.loc[~tested, "device_seconds"] *= 10
    if stage == "published":
        run.run["winners"]["byol"] = run.trials[search & run.trials.published_recipe].uid.iloc[0]
    (row,) = table.rows(run)
    assert row.won == ("published" if stage == "published" else None)
    assert row.training_seconds == run.trials[tested].device_seconds.median()


# ---- what failed ----


def test_a_method_of_which_all_failed_ranks_last_and_the_others_are_compared():
    methods = ("byol", "moco", "simclr", "swav")
    run = _results(*synthetic_run.rows(methods, failing={("moco", "search"): 12}, baselines=False))
    assert run.run["winners"]["moco"] is None
    made = table.rows(run)
    assert made[-1].method == "moco"
    assert made[-1].first is None
    assert table.leader(made) is made[0]
    assert sum(row.first for row in made[:-1]) == pytest.approx(1)
    assert f"**{table.with_interval(made[0].knn_200)}**" in table.markdown(run)


def test_a_search_that_was_given_up_is_said_with_its_reason():
    run = _results(*synthetic_run.rows(("byol", "moco"), failing={("moco", "search"): 12}))
    reason = run.run["given_up"]["moco"]
    assert f"- Given up: moco: {reason}" in table.markdown(run)
    assert f"moco was given up: {reason}" in table.terminal(run)


def _fail(run, trials):
    """The run as it would be had these trials failed."""
    changed = run.trials.copy()
    at = changed.index.isin(trials.index)
    changed.loc[at, "state"] = "failed"
    changed.loc[at, ["test_knn_200", "test_knn_20", "test_purity_20"]] = np.nan
    return results.Results(changed, run.epochs, run.run)


def _confirming(run, method, stage):
    return run.trials[(run.trials.method == method) & (run.trials.stage == stage)]


def test_a_winner_that_failed_with_a_seed_is_shown_but_not_ranked(run):
    best = table.leader(table.rows(run))
    confirming = _confirming(run, best.method, "confirm")
    part = _fail(run, confirming[confirming.test_knn_200 == confirming.test_knn_200.min()])
    made = table.rows(part)
    row = _of(made, best.method)
    assert row.knn_200.mean > best.knn_200.mean, "without its worst seed the mean is better"
    methods = [row for row in made if not row.baseline]
    assert methods[-1] is row
    assert row.first is None
    assert table.leader(made) is methods[0]
    assert sum(row.first for row in methods[:-1]) == pytest.approx(1)

    note = "2 of 3 seeds; 1 failed"
    line = next(line for line in table.markdown(part).splitlines() if line.startswith(f"| [{best.method}]"))
    assert f"| {table.with_interval(row.knn_200)} ({note}) | 2 |" in line
    assert f"| {table.with_interval(row.gain, '+')} ({note}) |" in line
    assert "the method is not ranked" in table.markdown(part)
    shown = table.terminal(part)
    assert f"{best.method}: {note}, so it is not ranked" in shown.splitlines()
    assert f"{table.with_interval(row.knn_200)} 2 of 3 " in shown
    told = pd.read_csv(io.StringIO(table.csv(part))).set_index("method").loc[best.method]
    assert (told.seeds, told.failed_seeds, told.gain_seeds, told.gain_failed_seeds) == (2, 1, 2, 1)
    assert (told.published_seeds, told.published_failed_seeds) == (3, 0)


@given(st.data())
def test_a_failed_seed_never_makes_a_row_better(run, data):
    tested = run.trials[run.trials.stage.isin(["confirm", "published"])]
    failed = data.draw(st.sets(st.sampled_from(sorted(tested.index)), max_size=8))
    part = _fail(run, tested.loc[sorted(failed)])
    before, made = table.rows(run), table.rows(part)
    places = [[row.method for row in rows] for rows in (before, made)]
    whole = [row for row in made if row.whole and not row.baseline]
    assert [row.method for row in before if row.method in {row.method for row in whole}] == [
        row.method for row in whole
    ]
    for row in made:
        if row.failed_seeds:
            assert row.first is None
            assert places[1].index(row.method) >= max([places[1].index(other.method) for other in whole], default=-1)
    assert table.leader(made) is (whole[0] if whole else None)


def test_failed_seeds_of_the_published_recipe_are_told_and_leave_the_method_ranked(run):
    part = _fail(run, _confirming(run, "byol", "published").iloc[:2])
    row, before = _of(table.rows(part), "byol"), _of(table.rows(run), "byol")
    assert (row.knn_200, row.first) == (before.knn_200, before.first)
    line = next(line for line in table.markdown(part).splitlines() if "[byol]" in line)
    assert f"| {table.with_interval(row.published)} (1 of 3 seeds; 2 failed) |" in line
    assert f"| {table.with_interval(row.gain, '+')} (1 of 3 seeds; 2 failed) |" in line
    assert "byol, published recipe: 1 of 3 seeds; 2 failed" in table.terminal(part).splitlines()


def test_a_recipe_that_won_and_failed_with_a_seed_is_not_ranked():
    whole = _results(*synthetic_run.rows(("byol", "simclr"), trials=1, baselines=False))
    part = _fail(whole, _confirming(whole, "byol", "published").iloc[:1])
    made = table.rows(part)
    assert [row.method for row in made] == ["simclr", "byol"]
    assert made[1].first is None
    assert made[1].won == "published"
    line = next(line for line in table.markdown(part).splitlines() if "[byol]" in line)
    assert line.count("(2 of 3 seeds; 1 failed)") == 2, "the accuracy and the recipe's, which is the same"
    assert "| recipe won |" in line


def test_a_winner_of_which_every_seed_failed_is_told_and_the_others_are_compared(run):
    part = _fail(run, _confirming(run, "byol", "confirm"))
    part = results.Results(part.trials, part.epochs, part.run | {"closed": None})
    made = table.rows(part)
    row = _of(made, "byol")
    assert row.knn_200 is row.gain is row.first is None
    assert table.leader(made) is made[0] is not row
    line = next(line for line in table.markdown(part).splitlines() if "[byol]" in line)
    assert f"| {table.DASH} (0 of 3 seeds; 3 failed) | {table.DASH} |" in line


def test_failed_seeds_of_a_baseline_are_told(run):
    part = _fail(run, _confirming(run, "supervised", "baseline").iloc[:1])
    assert "supervised: 2 of 3 seeds; 1 failed" in table.terminal(part).splitlines()
    line = next(line for line in table.markdown(part).splitlines() if "supervised" in line)
    assert "(2 of 3 seeds; 1 failed)" in line
    assert [row.method for row in table.rows(part)] == [row.method for row in table.rows(run)]


def test_below_the_whole_stand_the_failed_then_those_to_come_then_those_that_never_will():
    methods = ("byol", "moco", "simclr", "swav")
    run = _results(*synthetic_run.rows(methods, failing={("moco", "search"): 12}, baselines=False))
    part = _fail(run, _confirming(run, "swav", "confirm").iloc[:1])
    trials = part.trials[(part.trials.method != "byol") | (part.trials.stage == "search")]
    made = table.rows(results.Results(trials, part.epochs, part.run | {"closed": None}))
    assert [row.method for row in made] == ["simclr", "swav", "byol", "moco"]


def test_the_others_wait_for_a_method_whose_confirming_is_still_to_come_and_not_for_one_that_ended():
    whole = _results(*synthetic_run.rows(("byol", "simclr", "swav"), baselines=False))
    trials = whole.trials[(whole.trials.method != "byol") | (whole.trials.stage == "search")]
    for change, waits in (({"closed": None}, True), ({"closed": "budget"}, True), ({"closed": "done"}, False)):
        made = table.rows(results.Results(trials, whole.epochs, whole.run | change))
        assert (table.leader(made) is None) == waits
        assert made[-1].method == "byol"
    none = whole.run | {"closed": None, "winners": whole.run["winners"] | {"byol": None}}
    assert table.leader(table.rows(results.Results(trials, whole.epochs, none)))


def _of(made, method):
    return next(row for row in made if row.method == method)


def test_probability_of_rank_1_leaves_out_methods_with_one_seed():
    found = table.probability_of_rank_1({"a": [0.9], "b": [0.5, 0.52], "c": [0.51, 0.52]})
    assert set(found) == {"b", "c"}
    assert table.probability_of_rank_1({"a": [0.9], "b": [0.5, 0.52]}) == {}


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=2, max_size=6))
def test_probabilities_of_rank_1_sum_to_one(seeds):
    found = table.probability_of_rank_1({str(number): values for number, values in enumerate(seeds)})
    assert sum(found.values()) == pytest.approx(1)


# ---- two recipes ----

TWO = {
    "published": {"byol": {"learning_rate": 0.3}, "moco": {"optimizer": "larc"}},
    "recipes": {
        "byol": {"source": "a repository's byol.py", "adapted": "8 parts"},
        "moco": {"source": "a repository's moco.py"},
        "simclr": {"source": "a paper", "adapted": "8 parts"},
    },
}


def test_the_published_recipe_and_ours_have_a_column_each_and_the_gain_is_over_the_published_one():
    run = _results(*synthetic_run.rows(("byol", "moco", "simclr"), baselines=False, **TWO))
    lines = table.markdown(run).splitlines()
    heads = [cell.strip() for cell in lines[2].split("|")]
    for method in ("byol", "moco", "simclr"):
        row = _of(table.rows(run), method)
        line = next(line for line in lines if line.startswith(f"| [{method}]"))
        cells = dict(zip(heads, (cell.strip() for cell in line.split("|")), strict=True))
        published, ours = (_confirming(run, method, stage) for stage in ("published", "ours"))
        mark = "" if method == "moco" else " ‡"
        expected = table.Estimate(published.set_index("seed").test_knn_200.to_dict())
        assert cells["published recipe, %"] == table.with_interval(expected) + mark
        assert row.gain.mean == pytest.approx(row.knn_200.mean - expected.mean)
        if method == "simclr":
            assert cells["our recipe, %"] == table.DASH
            assert not len(ours)
        else:
            expected = table.Estimate(ours.set_index("seed").test_knn_200.to_dict())
            assert cells["our recipe, %"] == table.with_interval(expected)
    (note,) = [line for line in lines if line.startswith("- Published recipes: ")]
    assert note == (
        "- Published recipes: those of a repository's byol.py (byol); a repository's moco.py (moco); a paper (simclr). "
        "‡ adapted: 8 parts (byol and simclr)"
    )
    assert f"- Our recipe: {table.OURS}" in lines
    told = pd.read_csv(io.StringIO(table.csv(run))).set_index("method")
    assert told.ours_mean["byol"] == pytest.approx(_confirming(run, "byol", "ours").test_knn_200.mean())
    assert np.isnan(told.ours_mean["simclr"])
    shown = table.terminal(run)
    assert "‡ adapted" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert len({len(line) for line in shown.splitlines()[:5]}) == 1


def _won_by_ours(run, method="byol"):
    """The run as it would be had our recipe won."""
    trials = run.trials[(run.trials.method != method) | (run.trials.stage != "confirm")]
    winner = trials[(trials.method == method) & (trials.stage == "search") & trials.our_recipe].uid.iloc[0]
    return results.Results(trials, run.epochs, run.run | {"winners": run.run["winners"] | {method: winner}})


def test_where_our_recipe_won_its_trials_test_it_and_the_gain_is_still_over_the_published_one():
    run = _won_by_ours(_results(*synthetic_run.rows(("byol", "simclr"), baselines=False, **TWO)))
    row = _of(table.rows(run), "byol")
    published, ours = (
        _confirming(run, "byol", stage).set_index("seed").test_knn_200 for stage in ("published", "ours")
    )
    assert row.won == "ours"
    assert row.knn_200.values == row.ours.values == ours.to_dict()
    assert row.gain.values == pytest.approx((ours - published).to_dict())
    line = next(line for line in table.markdown(run).splitlines() if line.startswith("| [byol]"))
    assert f"| {table.with_interval(row.gain, '+')} (our recipe won) |" in line
    assert "our recipe, which is not the published one, won: byol" in table.terminal(run).splitlines()
    part = _fail(run, _confirming(run, "byol", "ours").iloc[:1])
    row = _of(table.rows(part), "byol")
    assert (row.first, len(row.failed_seeds), len(row.ours_failed_seeds), len(row.gain_failed_seeds)) == (None, 1, 1, 1)


def test_a_run_in_which_no_recipe_is_ours_has_no_column_for_it(run):
    for text in (table.markdown(run), table.terminal(run)):
        assert "our recipe" not in text.lower()
        assert "our %" not in text
        assert "‡" not in text


def test_own_encoder_is_marked_and_explained():
    run = _results(*synthetic_run.rows(("byol", "amdim")))
    text = table.markdown(run)
    assert "amdim †" in text
    assert "- †: another encoder than the run's" in text
    assert "byol †" not in text


def test_every_line_of_the_terminal_table_fits_100_columns():
    names = ("byol", "a_method_with_a_very_long_name_indeed", "amdim", "simclr", "moco")
    failing = {(names[1], "confirm"): 1, ("byol", "published"): 2, ("moco", "search"): 40}
    run = _results(*synthetic_run.rows(names, trials=40, failing=failing, **TWO))
    run.run["given_up"]["moco"] = "word " * 40
    lines = table.terminal(run).splitlines()
    assert max(map(len, lines)) <= 100
    assert len({len(line) for line in lines[: lines.index("† brings its own encoder")]}) == 1


def test_every_line_of_the_markdown_table_has_the_same_number_of_cells(run):
    lines = [line for line in table.markdown(run).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 9
    assert {line.count("|") for line in lines} == {15}


def test_names_cannot_break_out_of_the_markdown_table():
    name = "evil|<script>alert(1)</script>`*\n<!-- table:end -->"
    run = _results(*synthetic_run.rows((name,), baselines=False))
    text = table.markdown(run)
    assert "<script" not in text
    assert "<!--" not in text
    row = next(line for line in text.splitlines() if "evil" in line)
    assert row.replace("\\|", "").count("|") == 15


def test_the_footer_names_budget_data_software_and_search_spaces(run):
    text = table.markdown(run)
    assert re.fullmatch(r"\*\*made-up numbers; resnet18; \d+ epochs\*\*", text.splitlines()[0])
    for part in ("GPU-hours", "H100", "4 slots", "made-up numbers", "torch 2.14.1", "commit 0123abc", "resnet18"):
        assert part in text, part
    assert f"byol `{synthetic_run.search_space('byol')['hash']}`" in text


def test_the_footer_tells_what_of_the_published_recipes_was_fitted():
    fitted = {"swav": {"prototypes": 400}, "byol": {"prototypes": 400, "batch_size": 64}}
    text = table.markdown(_results(*synthetic_run.rows(("byol", "simclr", "swav"), fitted=fitted)))
    (line,) = [line for line in text.splitlines() if line.startswith("- Published recipes: ")]
    assert line.endswith(
        "fitted to this encoder and data set: byol batch\\_size 64; byol and swav prototypes 512 → 400"
    )
    assert "- Published recipes: " not in table.markdown(_results(*synthetic_run.rows(("byol", "simclr", "swav"))))


def test_the_images_in_a_step_are_told_of_runs_that_told_no_more_of_what_was_trained():
    trials, epochs, facts = synthetic_run.rows(("byol",))
    for trial in trials:
        asked = json.loads(trial["hyperparameters"])
        trial |= {"effective": None, "hyperparameters": json.dumps(asked | {"batch_size": 1024})}
    assert "byol batch\\_size 1024 → 512; what else was fitted is not on record" in table.markdown(
        _results(trials, epochs, facts)
    )


def test_devices_precisions_and_versions_of_all_sessions_are_told():
    trials, epochs, facts = synthetic_run.rows(("byol",))
    sessions = [
        {"slots": 4, "rate": 1.0, "device": "H100 in bfloat16", "versions": {"torch": "2.14.1"}, "commit": "aa"},
        {"slots": 8, "rate": 0.5, "device": "T4 in float32", "versions": {"torch": "2.15.0"}, "commit": "bb"},
        {"slots": 8, "rate": 0.5, "device": "T4 in float32", "versions": {"torch": "2.14.1"}, "commit": None},
    ]
    for trial in trials:
        trial["device"] = "H100 in bfloat16"
    text = table.markdown(_results(trials, epochs, facts | {"sessions": sessions}))
    assert "; H100 in bfloat16 and T4 in float32; 4 and 8 slots of 1 and 0.5 GPU; " in text
    assert "- Software: torch 2.14.1 and 2.15.0, commits aa and bb" in text


def test_remarks_about_the_data_are_in_the_footer_and_escaped():
    trials, epochs, facts = synthetic_run.rows(("byol",))
    facts["facts"]["remarks"] = ["The test folder has no labels.", "12 images are in <both> splits."]
    text = table.markdown(_results(trials, epochs, facts))
    assert "- About the data: The test folder has no labels. 12 images are in &lt;both&gt; splits." in text


def test_memory_is_said_to_be_that_of_the_training(run):
    text = table.markdown(run)
    assert "| training memory, GB |" in text
    assert table.MEMORY in text


def test_paper_links_are_only_made_of_arxiv_numbers_and_https():
    assert table.paper_link("2006.07733") == "https://arxiv.org/abs/2006.07733"
    assert table.paper_link("https://example.org/paper.pdf") == "https://example.org/paper.pdf"
    for bad in (None, "", "javascript:alert(1)", "https://a.b/)<script>", "2006.07733 x"):
        assert table.paper_link(bad) is None


@pytest.mark.parametrize(
    ("device", "most", "unit"),
    [
        ("gpu", 90000, "GPU-hours"),
        ("gpu", 600, "GPU-minutes"),
        ("cpu", 1200, "core-minutes"),
        ("cpu", 5, "core-seconds"),
    ],
)
def test_compute_is_told_in_a_unit_that_reads_well(device, most, unit):
    assert table.compute_unit({"budget": {"device": device}}, most)[0] == unit


def test_the_notes_tell_epochs_and_batch_sizes_as_trained(run):
    trials = run.trials.assign(batch_size=[64, *[256] * (len(run.trials) - 1)])
    text = table.markdown(results.Results(trials, run.epochs, run.run))
    assert re.search(r"Encoder: .*; 20 epochs, 64 to 256 images a step", text)


def test_csv_holds_every_row_and_reads_back(run, tmp_path):
    table.write(run, tmp_path)
    frame = pd.read_csv(tmp_path / "table.csv")
    assert list(frame.method) == [row.method for row in table.rows(run)]
    assert frame.knn_200_mean[0] == pytest.approx(table.rows(run)[0].knn_200.mean)
    assert (tmp_path / "table.md").read_text() == table.markdown(run)


# ---- the README ----


def readme(tmp_path, name="table", newline="\n"):
    path = tmp_path / "README.md"
    lines = ["# Title", f"<!-- {name}:begin -->", "old", f"<!-- {name}:end -->", "after"]
    path.write_bytes(newline.join(lines).encode())
    return path


def test_the_readme_gets_the_table_between_its_markers_and_nothing_else_changes(run, tmp_path):
    path = readme(tmp_path)
    assert table.publish(run, path)
    text = path.read_text()
    assert text.startswith("# Title\n<!-- table:begin -->\n\n**made-up numbers; resnet18; 20 epochs**\n\n| method")
    assert text.endswith("\n\n<!-- table:end -->\nafter")
    assert "old" not in text.split("<!-- table:begin -->")[1][:20]


def test_publishing_twice_changes_nothing_the_second_time(run, tmp_path):
    path = readme(tmp_path)
    assert table.publish(run, path)
    once, moment = path.read_bytes(), path.stat().st_mtime_ns
    assert not table.publish(run, path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (once, moment)


def test_a_run_on_other_data_leaves_the_readme_alone_and_says_so(tmp_path):
    run = _results(*synthetic_run.rows(dataset="shapes"))
    path = readme(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="cifar10, and this one is on shapes"):
        table.publish(run, path)
    assert path.read_bytes() == before


def test_named_tables_live_side_by_side(tmp_path):
    path = readme(tmp_path, "table:small")
    path.write_text(path.read_text() + "\n" + "<!-- table:begin -->\n<!-- table:end -->\n")
    table.update_readme(path, "SMALL", "small")
    table.update_readme(path, "LARGE")
    assert path.read_text().index("SMALL") < path.read_text().index("LARGE")


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- table:begin -->",
        "<!-- table:end --><!-- table:begin -->",
        "<!-- table:begin --><!-- table:begin --><!-- table:end -->",
    ],
)
def test_missing_or_crossed_markers_are_named(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(UserError, match="table:begin"):
        table.update_readme(path, "x")
    assert path.read_text() == text
    with pytest.raises(UserError, match="cannot be read"):
        table.update_readme(tmp_path / "none.md", "x")


@given(st.text(string.printable, max_size=60), st.text(string.printable, max_size=60), st.sampled_from(["\n", "\r\n"]))
def test_what_surrounds_the_markers_survives_byte_for_byte(tmp_path_factory, before, after, newline):
    path = tmp_path_factory.mktemp("readme") / "README.md"
    begin, end = b"<!-- table:begin -->", b"<!-- table:end -->"
    content = before.encode() + begin + newline.encode() + end + after.encode()
    path.write_bytes(content)
    table.update_readme(path, "a\nb")
    found = path.read_bytes()
    assert found.startswith(before.encode() + begin)
    assert found.endswith(end + after.encode())
    assert not table.update_readme(path, "a\nb")


def _results(trials, epochs, facts):
    with tempfile.TemporaryDirectory() as folder:
        random.Random(0).shuffle(epochs)  # the order of rows means nothing
        results.save(trials, epochs, facts, folder)
        return results.load(folder)
