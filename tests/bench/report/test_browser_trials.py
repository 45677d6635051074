"""The table of all trials in a real browser."""

import csv
import io
import json

import pytest

from bench.report import report, results
from tests.bench import synthetic_run
from tests.bench.report import test_browser
from tests.bench.report.pages import HOSTILE

pytestmark = [pytest.mark.slow, test_browser.needs_browser]

PROBE = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="found"></pre><iframe></iframe><script>
const frame = document.querySelector("iframe"), found = {};
frame.style = "border:0;height:3000px;width:WIDTHpx";
frame.src = "report.html#trials?method=byol,swav&sort=-test";
frame.onload = async () => {
  const inside = frame.contentWindow, page = frame.contentDocument;
  const pause = () => new Promise(done => setTimeout(done, 100));
  const all = name => [...page.querySelectorAll(name)];
  const press = name => page.querySelector(`#trial-table [data-do=${name}]`).click();
  const cells = () => {
    const titles = all("#trial-table thead th").map(head => head.innerText.replace("≠ ", "").trim());
    const told = row => [...row.cells].map((cell, at) => [titles[at], cell.innerText.trim()]);
    return all("#trial-table tbody tr").map(row => Object.fromEntries(told(row)));
  };
  const blobs = [];
  inside.URL.createObjectURL = blob => { blobs.push(blob); return "#"; };
  found.shared = cells();
  page.querySelector("[data-sort=seconds]").click();
  found.sorted = cells();
  const search = page.querySelector("#trial-table input[type=search]");
  search.value = "byol PRUNED"; search.dispatchEvent(new inside.Event("input"));
  found.filtered = cells();
  press("all");
  found.status = [page.querySelector("#trial-table [role=status]").innerText];
  press("on");
  found.status.push(page.querySelector("#trial-table [role=status]").innerText);
  press("back");
  press("csv");
  found.csv = await blobs[0].text();
  for (const chip of ["search", "byol"]) page.querySelector(`#trial-table [data-value=${chip}]`).click();
  all("#trial-table tbody input").slice(2, 4).forEach(tick => tick.click());
  press("compare");
  found.compared = cells();
  const heads = all("#trial-table thead th").map(head => head.innerText);
  found.marked = heads.filter(head => head.startsWith("≠")).map(head => head.slice(2));
  found.differing = all("#trial-table td.differs").length;
  found.address = inside.location.hash;
  found.overflow = page.documentElement.scrollWidth - WIDTH;
  inside.location.hash = found.address.replace(/&compare=1/, "");
  await pause();
  found.ticked = all("#trial-table tbody input:checked").length;
  inside.location.hash = "#failures";
  await pause();
  found.alerts = inside.alerted || 0;
  document.querySelector("#found").textContent = JSON.stringify(found)
    .replace(/[<>&]/g, letter => "\\\\u00" + letter.charCodeAt(0).toString(16));
  frame.remove();
};
</script></body>"""


@pytest.fixture(scope="module", params=[400, 1400])
def opened(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trials, epochs, run = synthetic_run.rows()
    for row in trials:
        row["reason"] = row["reason"] and f'=1+1,"{HOSTILE}"'
    results.save(trials, epochs, run, folder)
    report.write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_browser, "PROBE", PROBE)
        found = test_browser.browse(folder, request.param, tmp_path_factory.mktemp("browser"))
    return found, results.load(folder).trials


def test_a_view_is_shared_by_its_address_and_sorted(opened):
    found, trials = opened
    some = trials[trials.method.isin(["byol", "swav"])]
    assert sorted(row["trial"] for row in found["shared"]) == sorted(some.uid)
    tested = [row["test kNN k=200, %"] for row in found["shared"]]
    numbers = [float(value) for value in tested if value != "—"]
    assert numbers == sorted(numbers, reverse=True)
    assert tested == [*tested[: len(numbers)], *["—"] * (len(tested) - len(numbers))]  # what was not measured is last
    seconds = [float(row["device-seconds"]) for row in found["sorted"]]
    assert seconds == sorted(seconds, reverse=True)


def test_the_filter_looks_into_all_cells_and_pages_are_turned(opened):
    found, trials = opened
    pruned = trials[(trials.method == "byol") & (trials.state == "pruned")]
    assert sorted(row["trial"] for row in found["filtered"]) == sorted(pruned.uid)
    assert found["status"] == [f"1 to 100 of {len(trials)}", f"101 to {len(trials)} of {len(trials)}"]


def test_chosen_trials_are_compared_and_what_they_differ_in_is_marked(opened):
    found, _ = opened
    one, other = found["compared"]
    settings = synthetic_run.search_space("byol")["hyperparameters"]
    differing = {name for name in settings if one.get(name) != other.get(name)}
    assert set(found["marked"]) == differing
    assert found["differing"] == 2 * len(differing) > 0
    assert f"{one['trial']}" in found["address"]
    assert found["ticked"] == 2


def test_csv_has_what_is_shown_and_is_no_formula_to_a_spreadsheet(opened):
    found, trials = opened
    assert found["csv"].count("\r\n") == len(trials) + 1
    lines = list(csv.DictReader(io.StringIO(found["csv"], newline="")))
    assert sorted(line["trial"] for line in lines) == sorted(trials.uid)
    reasons = {line["reason"] for line in lines}
    assert reasons == {"", "'=1+1,\"" + HOSTILE + '"'}


def test_the_table_scrolls_in_its_box_and_runs_nothing_of_the_files(opened):
    found, _ = opened
    assert found["overflow"] <= 0
    assert found["alerts"] == 0
    assert json.dumps(found).count("<script>alert") > 0  # it is text
