"""The columns of the table, in every output."""

import csv
import io

import pytest

from algorithms.evaluation.metrics import FEATURE_STD, KNN_20, KNN_200, METRICS, PURITY_20, SELECTION
from bench.report import table
from bench.report.columns import SOFT_HYPHEN, columns
from bench.report.judged import TESTED
from bench.report.rows import rows
from bench.report.statistics import Estimate
from bench.report.text import heading, with_interval
from tests.bench.report import runs


def test_a_name_in_csv_and_a_heading_stand_once(run):
    made = columns(rows(run), run.run, run.judged)
    for names in (
        [column.csv for column in made if column.csv],
        [column.heading for column in made if column.heading],
        [column.terminal for column in made if column.terminal],
    ):
        assert len(names) == len(set(names)) > 9


@pytest.mark.parametrize("metric", [KNN_200, KNN_20, PURITY_20])
def test_every_metric_of_the_test_images_has_a_column_everywhere(metric, run, usual):
    title = heading(metric, "test" if metric is SELECTION else "")
    made = rows(run)
    (column,) = [column for column in columns(made, run.run, run.judged) if column.heading == title]
    heads = runs.lines(table.markdown(run))[0]
    assert f"| {title} |" in heads
    assert f"<button>{title}</button>" in usual[1]
    for row, told in zip(made, csv.DictReader(io.StringIO(table.csv(run))), strict=True):
        assert column.text(row) == with_interval(row.tested[metric.name], unit=metric.unit)
        assert told[f"{metric.name}_mean"] == str(row.tested[metric.name].mean)


def test_the_columns_of_markdown_and_page_are_the_same_in_the_same_order(run, usual):
    heads = [column.heading for column in columns(rows(run), run.run, run.judged) if column.heading]
    line = runs.lines(table.markdown(run))[0].strip("| ").split(" | ")
    assert [head.replace(SOFT_HYPHEN, "") for head in heads] == line
    shown = usual[1][usual[1].index("<thead>") : usual[1].index("</thead>")]
    assert [part.split("</button>")[0] for part in shown.split("<button>")[1:]] == heads


def test_a_figure_reads_in_the_unit_of_its_metric():
    found = Estimate({1: 0.5})
    assert with_interval(found, unit=SELECTION.unit) == "50.00"
    assert with_interval(found, unit=FEATURE_STD.unit) == "0.5"
    assert (heading(FEATURE_STD), heading(SELECTION, "test")) == ("feature deviation", "test kNN k=200, %")
    assert set(METRICS) >= {metric.name for metric in TESTED}
