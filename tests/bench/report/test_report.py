"""The whole page."""

import json
import os
import re
import shutil

import pyarrow.parquet as pq
import pytest

from bench.report import report, results
from bench.report.page import ORDER
from tests.bench import synthetic_run
from tests.bench.report.pages import HOSTILE, KINDS, Checker, charts, make
from tests.daily import daily

DAILY = (
    *("usual", "no trial yet", "all failed", "one method, one seed", "one trial", "all methods", "troubled"),
    *("two recipes, troubled", "every kind", "no labels", "no labels, no trial yet", "few labels"),
    *("judged, every kind, uneven classes", "judged, none finished", "a preset, troubled"),
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", daily(KINDS, DAILY))
def test_the_page_is_whole_whatever_the_run_has(kind, tmp_path):
    _, page = make(tmp_path, **KINDS[kind])
    found = Checker(page)
    assert found.scripts == 3 + ("trial-data" in found.ids)  # plotly.min.js, the charts, the page's own; all trials
    assert len(found.ids) == len(set(found.ids))
    assert not re.search(r"\bnan\b|\bNaT\b|\bNone\b|{{", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    drawn = re.findall(r'class="chart" data-figure="([^"]+)"', page)
    assert sorted(drawn) == sorted(charts(page))


def test_a_usual_run_shows_every_part(usual):
    _, page = usual
    names = set(charts(page))
    assert {
        "accuracy",
        "gain",
        "spent",
        "compute-training",
        "compute-all",
        "anytime",
        "best-curves",
        "timeline",
    } <= names
    for place in range(len(synthetic_run.METHODS)):
        assert {f"knn_200-{place}", f"loss-{place}", f"parallel-{place}", f"slice-{place}-0"} <= names
    for part in ("Rank at four budgets", "Diagnosis", "How to read this", "trials.parquet", "table.csv", "Spearman"):
        assert part in page


def test_the_page_needs_nothing_from_the_network(usual):
    path, page = usual
    local = {"plotly.min.js", "table.csv", "table.md", "trials.parquet", "epochs.parquet"}
    for address in Checker(page).addresses:
        assert address in local or address.startswith(("#", "https://arxiv.org/abs/"))
    for name in local:
        assert (path.parent / name).is_file()
    assert (path.parent / "plotly.min.js").stat().st_size > 1_000_000


def test_the_page_is_made_from_the_parquet_files_alone_and_is_the_same_again(usual, tmp_path):
    path, page = usual
    for name in ("trials.parquet", "epochs.parquet"):
        shutil.copy(path.parent / name, tmp_path)
    assert report.write(tmp_path).read_text() == page


def test_plotly_is_written_once(usual):
    path, _ = usual
    script = path.parent / "plotly.min.js"
    os.utime(script, (1, 1))
    report.write(path.parent)
    assert script.stat().st_mtime == 1


def test_no_text_of_the_run_becomes_markup_or_script(tmp_path):
    trials, epochs, run = synthetic_run.rows((HOSTILE, "byol"))
    for row in trials:
        row["device"] = row["dataset"] = row["encoder"] = HOSTILE
        row["reason"] = row["reason"] and HOSTILE
        settings = json.loads(row["hyperparameters"])
        row["hyperparameters"] = json.dumps(settings | ({"optimizer": HOSTILE} if settings else {}))
    space = run["facts"]["search_spaces"][HOSTILE]
    space["paper"] = "javascript:alert(1)"
    space["hyperparameters"]["optimizer"] = {"default": HOSTILE, "source": HOSTILE}
    run |= {"name": HOSTILE, "closed": HOSTILE, "facts": run["facts"] | {"commit": HOSTILE, "dataset_note": HOSTILE}}
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    found = Checker(page)
    assert found.scripts == 4
    assert not found.handlers
    assert not any("javascript:" in address for address in found.addresses)
    assert "<script>alert" not in page
    for figure in charts(page).values():  # Plotly reads a part of HTML, and fills in what stands in braces
        assert "<script>" not in json.dumps(figure)
        assert "%{x}%" not in json.dumps(figure)
    assert page.count("&lt;script&gt;alert") > 10  # it is shown, not dropped


@pytest.mark.slow
def test_thousands_of_trials_stay_below_five_megabytes(tmp_path):
    path, page = make(tmp_path, ORDER, trials=200, epochs=30, slots=32)
    assert len(results.load(tmp_path).trials) > 3000
    assert path.stat().st_size < 5_000_000
    assert "120 of 200 trials are drawn" in page


def test_remarks_about_the_data_stand_at_the_head_of_the_page_once(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",))
    run["facts"]["remarks"] = ["The test folder has no labels.", "<script>alert(1)</script>"]
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    assert Checker(page).scripts == 4
    assert page.count("The test folder has no labels.") == 1
    assert page.index("About the data") < page.index('class="cards"')


def test_devices_of_all_sessions_are_on_the_page(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",))
    sessions = [{"slots": 4, "rate": 1.0, "device": f"device {n}", "versions": {"torch": f"2.{n}"}} for n in (7, 8)]
    results.save(trials, epochs, run | {"sessions": sessions}, tmp_path)
    page = report.write(tmp_path).read_text()
    cards = page[page.index('class="cards"') : page.index("<nav")]
    for said in ("device 7", "device 8", "H100"):
        assert said in cards
    assert "torch 2.7 and 2.8" in page


def test_files_of_an_earlier_version_still_give_a_page(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol", "simclr"))
    for name in ("sessions", "given_up"):
        run.pop(name, None)
    results.save(trials, epochs, run | {"commits": ["0123abc"]}, tmp_path)
    path = tmp_path / "trials.parquet"
    pq.write_table(pq.read_table(path).drop_columns(sorted(results.ADDED)), path)
    page = report.write(tmp_path).read_text()
    assert "our recipe" not in re.sub(r"<section id=.protocol.*", "", page, flags=re.DOTALL)
    assert Checker(page).scripts == 4
    assert "4 slots" in page
    assert "commit 0123abc" in page


def test_the_report_says_that_the_run_goes_on(tmp_path):
    assert "had not ended when this page was made" in make(tmp_path, finished=False)[1]
