"""The table as Markdown, CSV and text."""

import io

import numpy as np
import pandas as pd
import pytest

from bench.report import results, table
from bench.report.notes import OURS
from bench.report.rows import leader, rows
from bench.report.statistics import Estimate
from bench.report.text import DASH, with_interval
from tests.bench import synthetic_run
from tests.bench.report import runs


def test_a_method_of_which_all_failed_ranks_last_and_the_others_are_compared():
    methods = ("byol", "moco", "simclr", "swav")
    run = runs.loaded(*synthetic_run.rows(methods, failing={("moco", "search"): 12}, baselines=False))
    assert run.run["winners"]["moco"] is None
    made = rows(run)
    assert made[-1].method == "moco"
    assert made[-1].first is None
    assert leader(made) is made[0]
    assert sum(row.first for row in made[:-1]) == pytest.approx(1)
    assert f"**{with_interval(made[0].accuracy)}**" in table.markdown(run)


def test_a_search_that_was_given_up_is_said_with_its_reason():
    run = runs.loaded(*synthetic_run.rows(("byol", "moco"), failing={("moco", "search"): 12}))
    reason = run.run["given_up"]["moco"]
    assert f"- Given up: moco: {reason}" in table.markdown(run)
    assert f"moco was given up: {reason}" in table.terminal(run)


def test_a_winner_that_failed_with_a_seed_is_shown_but_not_ranked(run):
    best = leader(rows(run))
    confirming = runs.confirming(run, best.method, "confirm")
    part = runs.fail(run, confirming[confirming.test_knn_200 == confirming.test_knn_200.min()])
    made = rows(part)
    row = runs.of(made, best.method)
    assert row.accuracy.mean > best.accuracy.mean, "without its worst seed the mean is better"
    methods = [row for row in made if not row.baseline]
    assert methods[-1] is row
    assert row.first is None
    assert leader(made) is methods[0]
    assert sum(row.first for row in methods[:-1]) == pytest.approx(1)

    note = "2 of 3 seeds; 1 failed"
    line = next(line for line in table.markdown(part).splitlines() if line.startswith(f"| [{best.method}]"))
    assert f"| {with_interval(row.accuracy)} ({note}) | 2 |" in line
    assert f"| {with_interval(row.gain, '+')} ({note}) |" in line
    assert "the method is not ranked" in table.markdown(part)
    shown = table.terminal(part)
    assert f"{best.method}: {note}, so it is not ranked" in shown.splitlines()
    assert f"{with_interval(row.accuracy)} 2 of 3 " in shown
    told = pd.read_csv(io.StringIO(table.csv(part))).set_index("method").loc[best.method]
    assert (told.seeds, told.failed_seeds, told.gain_seeds, told.gain_failed_seeds) == (2, 1, 2, 1)
    assert (told.published_seeds, told.published_failed_seeds) == (3, 0)


def test_failed_seeds_of_the_published_recipe_are_told_and_leave_the_method_ranked(run):
    part = runs.fail(run, runs.confirming(run, "byol", "published").iloc[:2])
    row, before = runs.of(rows(part), "byol"), runs.of(rows(run), "byol")
    assert (row.accuracy, row.first) == (before.accuracy, before.first)
    line = next(line for line in table.markdown(part).splitlines() if "[byol]" in line)
    assert f"| {with_interval(row.published)} (1 of 3 seeds; 2 failed) |" in line
    assert f"| {with_interval(row.gain, '+')} (1 of 3 seeds; 2 failed) |" in line
    assert "byol, published recipe: 1 of 3 seeds; 2 failed" in table.terminal(part).splitlines()


def test_a_recipe_that_won_and_failed_with_a_seed_is_not_ranked():
    whole = runs.loaded(*synthetic_run.rows(("byol", "simclr"), trials=1, baselines=False))
    part = runs.fail(whole, runs.confirming(whole, "byol", "published").iloc[:1])
    made = rows(part)
    assert [row.method for row in made] == ["simclr", "byol"]
    assert made[1].first is None
    assert made[1].won == "published"
    line = next(line for line in table.markdown(part).splitlines() if "[byol]" in line)
    assert line.count("(2 of 3 seeds; 1 failed)") == 2, "the accuracy and the recipe's, which is the same"
    assert "| recipe won |" in line


def test_a_winner_of_which_every_seed_failed_is_told_and_the_others_are_compared(run):
    part = runs.fail(run, runs.confirming(run, "byol", "confirm"))
    part = results.Results(part.trials, part.epochs, part.run | {"closed": None})
    made = rows(part)
    row = runs.of(made, "byol")
    assert row.accuracy is row.gain is row.first is None
    assert leader(made) is made[0] is not row
    line = next(line for line in table.markdown(part).splitlines() if "[byol]" in line)
    assert f"| {DASH} (0 of 3 seeds; 3 failed) | {DASH} |" in line


def test_failed_seeds_of_a_baseline_are_told(run):
    part = runs.fail(run, runs.confirming(run, "supervised", "baseline").iloc[:1])
    assert "supervised: 2 of 3 seeds; 1 failed" in table.terminal(part).splitlines()
    line = next(line for line in table.markdown(part).splitlines() if "supervised" in line)
    assert "(2 of 3 seeds; 1 failed)" in line
    assert [row.method for row in rows(part)] == [row.method for row in rows(run)]


def test_the_published_recipe_and_ours_have_a_column_each_and_the_gain_is_over_the_published_one():
    run = runs.loaded(*synthetic_run.rows(("byol", "moco", "simclr"), baselines=False, **runs.TWO))
    lines = table.markdown(run).splitlines()
    heads = [cell.strip() for cell in runs.lines(table.markdown(run))[0].split("|")]
    for method in ("byol", "moco", "simclr"):
        row = runs.of(rows(run), method)
        line = next(line for line in lines if line.startswith(f"| [{method}]"))
        cells = dict(zip(heads, (cell.strip() for cell in line.split("|")), strict=True))
        published, ours = (runs.confirming(run, method, stage) for stage in ("published", "ours"))
        mark = "" if method == "moco" else " ‡"
        expected = Estimate(published.set_index("seed").test_knn_200.to_dict())
        assert cells["published recipe, %"] == with_interval(expected) + mark
        assert row.gain.mean == pytest.approx(row.accuracy.mean - expected.mean)
        if method == "simclr":
            assert cells["our recipe, %"] == DASH
            assert not len(ours)
        else:
            expected = Estimate(ours.set_index("seed").test_knn_200.to_dict())
            assert cells["our recipe, %"] == with_interval(expected)
    (note,) = [line for line in lines if line.startswith("- Published recipes: ")]
    assert note == (
        "- Published recipes: those of a repository's byol.py (byol); a repository's moco.py (moco); a paper (simclr). "
        "‡ adapted: 8 parts (byol and simclr)"
    )
    assert f"- Our recipe: {OURS}" in lines
    told = pd.read_csv(io.StringIO(table.csv(run))).set_index("method")
    assert told.ours_mean["byol"] == pytest.approx(runs.confirming(run, "byol", "ours").test_knn_200.mean())
    assert np.isnan(told.ours_mean["simclr"])
    shown = table.terminal(run)
    assert "‡ adapted" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert len({len(line) for line in shown.split("\n\n")[1].splitlines()[:5]}) == 1


def test_where_our_recipe_won_its_trials_test_it_and_the_gain_is_still_over_the_published_one():
    run = runs.won_by_ours(runs.loaded(*synthetic_run.rows(("byol", "simclr"), baselines=False, **runs.TWO)))
    row = runs.of(rows(run), "byol")
    published, ours = (
        runs.confirming(run, "byol", stage).set_index("seed").test_knn_200 for stage in ("published", "ours")
    )
    assert row.won == "ours"
    assert row.accuracy.values == row.ours.values == ours.to_dict()
    assert row.gain.values == pytest.approx((ours - published).to_dict())
    line = next(line for line in table.markdown(run).splitlines() if line.startswith("| [byol]"))
    assert f"| {with_interval(row.gain, '+')} (our recipe won) |" in line
    assert "our recipe, which is not the published one, won: byol" in table.terminal(run).splitlines()
    part = runs.fail(run, runs.confirming(run, "byol", "ours").iloc[:1])
    row = runs.of(rows(part), "byol")
    assert (row.first, len(row.failed_seeds), len(row.ours_failed_seeds), len(row.gain_failed_seeds)) == (None, 1, 1, 1)


def test_a_run_in_which_no_recipe_is_ours_has_no_column_for_it(run):
    for text in (table.markdown(run), table.terminal(run)):
        assert "our recipe" not in text.lower()
        assert "our %" not in text
        assert "‡" not in text


def test_own_encoder_is_marked_and_explained():
    run = runs.loaded(*synthetic_run.rows(("byol", "amdim")))
    text = table.markdown(run)
    assert "amdim †" in text
    assert "- †: another encoder than the run's" in text
    assert "byol †" not in text


def test_every_line_of_the_terminal_table_fits_100_columns():
    names = ("byol", "a_method_with_a_very_long_name_indeed", "amdim", "simclr", "moco")
    failing = {(names[1], "confirm"): 1, ("byol", "published"): 2, ("moco", "search"): 40}
    run = runs.loaded(*synthetic_run.rows(names, trials=40, failing=failing, **runs.TWO))
    run.run["given_up"]["moco"] = "word " * 40
    lines = table.terminal(run).splitlines()
    assert max(map(len, lines)) <= 100
    assert len({len(line) for line in lines[lines.index("") + 1 : lines.index("† brings its own encoder")]}) == 1


def test_every_line_of_the_markdown_table_has_the_same_number_of_cells(run):
    lines = [line for line in table.markdown(run).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 9
    assert {line.count("|") for line in lines} == {15}


def test_names_cannot_break_out_of_the_markdown_table():
    name = "evil|<script>alert(1)</script>`*\n<!-- table:end -->"
    run = runs.loaded(*synthetic_run.rows((name,), baselines=False))
    text = table.markdown(run)
    assert "<script" not in text
    assert "<!--" not in text
    row = next(line for line in runs.lines(text) if "evil" in line)
    assert row.replace("\\|", "").count("|") == 15


def test_csv_holds_every_row_and_reads_back(run, tmp_path):
    table.write(run, tmp_path)
    frame = pd.read_csv(tmp_path / "table.csv")
    assert list(frame.method) == [row.method for row in rows(run)]
    assert frame.knn_200_mean[0] == pytest.approx(rows(run)[0].accuracy.mean)
    assert (tmp_path / "table.md").read_text() == table.markdown(run)
