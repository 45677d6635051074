"""By what a run was judged: every output says what was measured, and none calls it an accuracy that it is not."""

import base64
import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from algorithms.evaluation.metrics import CRITERIA, INSTANCE_ACCURACY, JUDGED, SELECTION
from bench.report import report, results, table
from bench.report.judged import Judged
from bench.report.notes import UNRANKED
from bench.report.rows import leader, rows
from tests.bench import synthetic_run
from tests.bench.report import runs
from tests.bench.report.pages import charts, make

METHODS = ("byol", "simclr", "mocov2")


@pytest.fixture(scope="module")
def unlabelled():
    return runs.loaded(*synthetic_run.rows(METHODS, labelled=0))


@pytest.fixture(scope="module")
def few():
    return runs.loaded(*synthetic_run.rows(METHODS, labelled=50))


def text_of(page: str) -> str:
    """What a reader sees of a page, the texts of its charts too."""
    told = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    labels = re.findall(r'aria-label="([^"]*)"', page)
    return " ".join([told, *labels, *re.findall(r'"(?:text|hovertemplate|name)": "([^"]*)"', json.dumps(charts(page)))])


# ---- the one place that knows ----


def test_it_is_what_the_columns_hold(run, unlabelled, few):
    assert (run.judged.chosen, run.judged.tested) == (SELECTION, SELECTION)
    assert (few.judged.chosen, few.judged.tested) == (JUDGED, SELECTION)
    assert (unlabelled.judged.chosen, unlabelled.judged.tested) == (JUDGED, INSTANCE_ACCURACY)
    assert [found.judged.labels for found in (run, few, unlabelled)] == [True, True, False]
    assert [found.judged.ranks for found in (run, few, unlabelled)] == [True, True, False]
    assert [found.judged.ranks_searches for found in (run, few, unlabelled)] == [True, False, False]


@pytest.mark.parametrize("labelled", [0, 50, 50_000])
def test_before_anything_was_measured_it_is_what_will_be(labelled):
    whole = runs.loaded(*synthetic_run.rows(METHODS, labelled=labelled))
    empty = whole.trials.iloc[:0]
    assert Judged.of(empty, whole.run) == whole.judged
    searched = whole.trials[whole.trials.stage == "search"]
    assert Judged.of(searched, whole.run) == whole.judged


def test_files_that_told_of_no_labels_are_of_runs_with_labels(run):
    facts = run.run["facts"] | {"images": {"train": 5, "test": 4, "left_out": 0}}
    assert Judged.of(run.trials.iloc[:0], run.run | {"facts": facts}) == run.judged
    assert Judged.of(run.trials, {}) == run.judged
    assert Judged.of(run.trials, {"held_out": True}) == dataclasses.replace(run.judged, validation=True)


# ---- rows ----


def test_rows_without_labels_have_the_figures_of_the_held_out_images(unlabelled):
    for row in rows(unlabelled):
        trials = unlabelled.trials[unlabelled.trials.method == row.method]
        stage = "baseline" if row.baseline else row.won or "confirm"
        tested = trials[trials.stage == stage]
        assert sorted(row.accuracy.values.values()) == sorted(tested.test_instance_accuracy)
        assert row.tested["rankme"].mean == pytest.approx(tested.test_rankme.mean())
        assert "knn_200" not in row.tested
        if not row.baseline:
            winner = trials[trials.uid == unlabelled.run["winners"][row.method]].iloc[0]
            assert row.search_accuracy == winner.train_judged
    assert [row.method for row in rows(unlabelled) if row.baseline] == ["random", "pixels"]


def test_methods_are_in_order_without_labels_and_nobody_leads(unlabelled):
    made = rows(unlabelled)
    methods = [row.accuracy.mean for row in made if not row.baseline]
    assert methods == sorted(methods, reverse=True)
    assert leader(made) is None
    assert {row.first for row in made} == {None}


def test_the_gain_of_tuning_is_in_the_same_figure(unlabelled):
    trials = unlabelled.trials[unlabelled.trials.method == "byol"]
    tuned, recipe = (
        trials[trials.stage == s].set_index("seed").test_instance_accuracy for s in ("confirm", "published")
    )
    (row,) = [row for row in rows(unlabelled) if row.method == "byol"]
    assert row.gain.values == pytest.approx((tuned - recipe).to_dict())


def test_few_labels_are_tested_by_them_and_searched_by_both(few):
    made = rows(few)
    assert leader(made) is made[0]
    assert sum(row.first for row in made if row.first is not None) == pytest.approx(1)
    for row in made:
        if not row.baseline:
            winner = few.trials[few.trials.uid == few.run["winners"][row.method]].iloc[0]
            assert row.search_accuracy == winner.train_judged != winner.train_knn_200


# ---- outputs ----


def test_the_table_without_labels_names_what_it_has(unlabelled):
    made = table.markdown(unlabelled)
    heads = runs.lines(made)[0].strip("| ").split(" | ")
    assert heads[1] == "instance accuracy, held out, %"
    assert "RankMe" in heads
    assert "instance accuracy, training images, %" in heads
    assert not [head for head in heads if "kNN" in head or "purity" in head]
    first = rows(unlabelled)[0]
    assert (
        runs.lines(made)[2].split(" | ")[1]
        == f"{100 * first.accuracy.mean:.2f} ± {100 * first.accuracy.half_width:.2f}"
    )
    assert runs.lines(made)[2].rstrip(" |").endswith("—"), "P(rank 1)"
    assert UNRANKED in made
    assert "On mocov2 instance accuracy has chosen worse" in made
    assert "10,000 held-out images" in made
    assert "supervised" not in made


def test_the_same_table_in_a_terminal_fits_and_says_that_it_ranks_nothing(unlabelled):
    shown = table.terminal(unlabelled)
    assert max(map(len, shown.splitlines())) <= 100
    assert "instance %" in shown.split("\n\n")[1].splitlines()[0]
    assert "kNN" not in shown.splitlines()[0]
    assert "does not rank them" in " ".join(shown.split())


def test_the_same_table_as_a_spreadsheet_has_the_figures_under_their_names(unlabelled):
    told = list(csv.DictReader(io.StringIO(table.csv(unlabelled))))
    for row, line in zip(rows(unlabelled), told, strict=True):
        assert float(line["instance_accuracy_mean"]) == row.accuracy.mean
        assert {f"{metric.name}_mean" for metric in CRITERIA} <= line.keys()
        assert not {"knn_200_mean", "train_knn_200", "purity_20_mean"} & line.keys()
        assert line["probability_rank_1"] == ""


def test_the_table_of_few_labels_says_what_the_search_chose_by(few):
    made = table.markdown(few)
    heads = runs.lines(made)[0].strip("| ").split(" | ")
    assert heads[1] == "test kNN k=200, %"
    assert "few labels and instance accuracy, %" in heads
    assert "weighted by the root of how many images are labelled and by 40" in made
    assert "50 of the train images are labelled" in made
    assert "leave-one-out, %" not in heads
    assert {"knn_200_mean", "train_judged"} <= next(csv.DictReader(io.StringIO(table.csv(few)))).keys()


def test_the_page_without_labels_claims_no_accuracy_and_no_best_method(tmp_path):
    _, page = make(tmp_path, METHODS, labelled=0)
    text = text_of(page)
    assert "no labels: methods are not ranked" in text
    for claim in ("kNN k=200", "test kNN,", "ranks first", "Rank at four budgets", "P(rank 1) is", "leave-one-out"):
        assert claim not in text, claim
    without = re.sub(r"instance accuracy|an accuracy of classes", "", text, flags=re.IGNORECASE)
    assert "accuracy" not in without.lower()
    figures = charts(page)
    assert {"accuracy", "gain", "anytime", "best-curves", "judged-0", "slice-0-0"} <= figures.keys()
    assert figures["accuracy"]["layout"]["xaxis"]["title"]["text"] == "instance accuracy, held out, %"
    assert figures["anytime"]["layout"]["yaxis"]["title"]["text"] == "best instance accuracy, training images, %"


def test_the_page_of_few_labels_calls_the_searchs_figure_by_its_name_and_the_tests_kNN(tmp_path):
    _, page = make(tmp_path, METHODS, labelled=50)
    figures = charts(page)
    assert figures["accuracy"]["layout"]["xaxis"]["title"]["text"] == "test kNN k=200, %"
    assert figures["best-curves"]["layout"]["yaxis"]["title"]["text"] == "few labels and instance accuracy, %"
    text = text_of(page)
    assert "Few labels and instance accuracy in the search by hyper-parameter" in text
    assert "Rank at four budgets" not in text
    assert "ranks first with probability" in text


def test_before_confirmations_few_labels_name_no_best_method(tmp_path):
    _, page = make(tmp_path, METHODS, labelled=50, finished=False)
    assert "Best method so far" not in page


def test_the_curves_are_of_what_the_search_chose_by(tmp_path, few):
    _, page = make(tmp_path, METHODS, labelled=50)
    best = {trace["name"]: trace for trace in charts(page)["best-curves"]["data"]}
    for row in rows(few):
        if not row.baseline:
            end = np.frombuffer(base64.b64decode(best[row.method]["y"]["bdata"]), np.float32)[-1]
            assert end == pytest.approx(100 * row.search_accuracy, rel=1e-5)


def test_a_run_without_labels_comes_back_from_its_files_and_files_before_there_were_such_runs_are_read(tmp_path, run):
    folder = synthetic_run.write(tmp_path, METHODS, labelled=0)
    found = results.load(folder)
    assert found.trials.test_instance_accuracy.notna().any()
    assert report.write(folder).is_file()
    assert run.trials.test_instance_accuracy.isna().all()
    assert run.trials.train_judged.isna().all()


def test_the_measured_numbers_are_those_of_the_recorded_tables():
    """`python -m bench.tabular.criteria_across` and `criteria_regret` write them."""
    folder = Path(__file__).resolve().parents[3] / "reports" / "tabular" / "criteria"
    across, regret = ((folder / f"{name}.md").read_text() for name in ("across", "regret"))
    for text, numbers, of in (
        (across, "0.60 (-0.50 to 1.00)", "cifar10, 6 methods"),
        (across, "0.87 (0.59 to 0.97)", "shapes, 16 methods"),
    ):
        part = text[text.index(f"## {of}") :].split("\n## ")[0]
        assert f"| instance_accuracy | {numbers} |" in part
        for number in re.findall(r"-?[\d.]+", numbers):
            assert number in UNRANKED
    for name, chosen, recipe in (("cifar10", "0.35", "3.94"), ("shapes", "2.50", "11.30")):
        part = regret[regret.index(f"## {name}") :].split("\n## ")[0]
        lines = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in part.splitlines() if "|" in line}
        assert lines["instance_accuracy"][3].split()[0] == chosen
        assert lines["recipe"][3].split()[0] == recipe
        assert chosen in UNRANKED
        assert recipe in UNRANKED
