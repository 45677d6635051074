"""Few labels, on the page."""

import pytest

from algorithms.evaluation.metrics import NUMBERS
from bench.report import results
from bench.report.labels import WORTH, efficiency
from bench.report.page import GREY
from bench.report.rows import rows
from tests.bench import synthetic_run
from tests.bench.report.pages import UNEVEN, charts, make

METHODS = ("byol", "simclr")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The page of a run with all protocols, and the run."""
    path, page = make(tmp_path_factory.mktemp("judged"), METHODS, protocols=synthetic_run.PROTOCOLS)
    return page, results.load(path.parent)


def test_a_line_stands_at_the_true_numbers_of_labels_with_its_intervals(judged):
    page, run = judged
    told = efficiency(rows(run), run)
    for name, curves in (("labels-linear", told.linear), ("labels-knn", told.knn)):
        lines = charts(page)[name]["data"]
        for line, curve in zip(lines, [*curves, told.scratch], strict=True):
            assert line["x"] == [10, 50, 200, 500, 1000, 5000, 50000]
            assert line["y"] == pytest.approx([100 * estimate.mean for estimate in curve.points.values()])
            halves = [100 * (estimate.half_width or 0) for estimate in curve.points.values()]
            assert line["error_y"]["array"] == pytest.approx(halves)
        assert charts(page)[name]["layout"]["xaxis"]["type"] == "log"


def test_training_from_scratch_is_bold_and_grey(judged):
    *others, scratch = charts(judged[0])["labels-linear"]["data"]
    assert scratch["line"]["color"] == GREY
    assert scratch["line"]["width"] > max(line["line"]["width"] for line in others)


def test_the_table_says_what_labels_are_worth_and_where_it_crosses(judged):
    page, run = judged
    told = efficiency(rows(run), run)
    section = page[page.index('<section id="labels">') : page.index('<section id="classes">')]
    assert WORTH in section
    for number, count in told.labels.items():
        assert f"<th>{NUMBERS[number]} ({count:,})</th>" in section
    for curve in told.linear:
        assert f"<td>{told.worth(curve)}</td>" in section
    assert '<td class="text wrap">ahead up to 1,000, behind from 5,000 on</td>' in section


def test_what_was_left_out_is_not_drawn(tmp_path):
    _, page = make(tmp_path, METHODS, **UNEVEN)
    assert all(len(line["x"]) == 5 for line in charts(page)["labels-linear"]["data"])
    assert "where a class has fewer images (the least 15)" in page


def test_a_run_without_evaluations_has_no_such_section(usual):
    assert not {"labels-linear", "labels-knn", "classes"} & set(charts(usual[1]))
    for text in (WORTH, "Class by class", "Judging one encoder", "Linear probe"):
        assert text not in usual[1]


def test_what_judging_took_is_told_by_protocol(judged):
    took = "7 s (linear), 14 s (few), 28 s (finetune) and 21 s (scratch), medians; all "
    assert f"Judging one encoder took {took}" in judged[0]
