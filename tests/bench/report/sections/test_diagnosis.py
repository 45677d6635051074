"""What failed, on the page."""

import re

from bench.report import report, results
from tests.bench import synthetic_run
from tests.bench.report.pages import TROUBLED, charts, make


def test_what_failed_is_shown_in_its_rows_and_charts(tmp_path):
    _, page = make(tmp_path, **TROUBLED)
    rows = {method: re.search(rf"<tr[^>]*><td data-value=.{method}.*?</tr>", page)[0] for method in ("byol", "simsiam")}
    assert "<small>2 of 3 seeds;<br>1 failed</small>" in rows["byol"]  # its accuracy
    assert "<small>1 of 3 seeds;<br>2 failed</small>" in rows["byol"]  # its recipe's
    assert rows["simsiam"].count("<small>0 of 3 seeds;<br>3 failed</small>") == 2
    assert "class=best" not in rows["byol"]
    assert "the method is not ranked" in page
    shown = charts(page)
    assert "byol<br>2 of 3 seeds; 1 failed" in shown["accuracy"]["layout"]["yaxis"]["ticktext"]
    assert any("failed" in note["text"] for note in shown["gain"]["layout"]["annotations"])


def test_a_search_that_was_given_up_is_said_where_failures_are_told(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol", "moco"), failing={("moco", "search"): 12})
    run["given_up"]["moco"] = "<b>all failed alike</b>"
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    failures = page[page.index('<section id="failures">') :]
    assert "moco was given up: &lt;b&gt;all failed alike&lt;/b&gt;" in failures
    assert "given up: &lt;b&gt;all failed" in page[page.index('<section id="methods">') :]
    assert '<td class="text wrap">diverged</td>' in failures
