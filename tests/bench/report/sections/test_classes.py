"""The accuracies of classes, on the page."""

import pytest

from bench.report import report, results
from bench.report.rows import rows
from tests.bench import synthetic_run
from tests.bench.report.pages import HOSTILE, Checker, charts, make

METHODS = ("byol", "simclr")


def test_classes_stand_by_how_well_they_are_known_the_worst_first(tmp_path):
    path, page = make(tmp_path, METHODS, protocols=synthetic_run.PROTOCOLS)
    run = results.load(path.parent)
    (chart,) = charts(page)["classes"]["data"]
    assert chart["y"] == ["fine-tuned, all, %", "fine-tuned, 10 %, %", "linear probe, %", "kNN k=200, %"]
    best = rows(run)[0].classes["linear"]
    assert chart["z"][2] == pytest.approx(sorted(100 * value for value in best), rel=1e-5)
    assert "class 0 (" in page


def test_classes_are_called_by_their_names_where_these_are_told(tmp_path):
    trials, epochs, run = synthetic_run.rows(METHODS, protocols=("linear",))
    run["facts"]["images"]["classes"] = [HOSTILE, *"bcdefghij"]
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    assert Checker(page).scripts == 4
    section = page[page.index('<section id="classes">') :]
    assert "&lt;script&gt;alert" in section
    assert "b (" in section


@pytest.mark.parametrize("classes", [1, 201])
def test_too_many_classes_are_not_drawn(classes, tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",), protocols=("linear",))
    for trial in trials:
        for name in ("test_linear_classes", "test_knn_200_classes"):
            trial[name] = [0.5] * classes if trial.get(name) else None
    results.save(trials, epochs, run, tmp_path)
    assert "classes" not in charts(report.write(tmp_path).read_text())
