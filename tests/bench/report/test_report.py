import json
import os
import re
import shutil
import subprocess
import threading
import warnings
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.report import method_report, report, results, table
from bench.report.page import ORDER, Page
from tests.bench import synthetic_run

ROOT = Path(report.__file__).parents[2]
HOSTILE = "<script>alert('name')</script>{{cards}}%{x}"
TROUBLED = {
    "failing": {
        ("byol", "confirm"): 1,
        ("byol", "published"): 2,
        ("moco", "search"): 12,
        ("simsiam", "published"): 3,
        ("supervised", "baseline"): 1,
    },
    "fitted": {"swav": {"prototypes": 400}, "byol": {"prototypes": 400}},
}
TWO = {
    "published": {"byol": {"learning_rate": 0.7, "optimizer": "larc"}, "swav": {"prototypes": 3000}},
    "recipes": {
        "byol": {"source": "a repository's byol.py", "adapted": "8 <parts>"},
        "simclr": {"source": "a paper", "adapted": "a smaller head"},
    },
}
KINDS = {
    "usual": {},
    "no trial yet": {"methods": (), "baselines": False},
    "none finished": {"finished": False},
    "all failed": {"all_failed": True},
    "one method, one seed": {"methods": ("byol",), "seeds": 1, "trials": 3},
    "one trial": {"methods": ("byol",), "seeds": 1, "trials": 1, "baselines": False},
    "without baselines": {"methods": ("byol", "simclr"), "baselines": False},
    "one epoch": {"epochs": 1},
    "cut before an epoch": {"finished": False, "epochs": 2, "trials": 1, "baselines": False},
    "all methods": {"methods": ORDER, "trials": 6},
    "troubled": TROUBLED,
    "two recipes": TWO,
    "two recipes, troubled": TROUBLED | TWO,
}


class Checker(HTMLParser):
    """Notes what a browser would execute or fetch, and whether the tags are balanced."""

    EMPTY = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self, page):
        super().__init__()
        self.open, self.scripts, self.handlers, self.addresses, self.ids = [], 0, [], [], []
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append((tag, name))
            if name in ("src", "href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def make(folder, *arguments, **options):
    path = report.write(synthetic_run.write(folder, *arguments, **options))
    return path, path.read_text()


def charts(page):
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return make(tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_whole_whatever_the_run_has(kind, tmp_path):
    _, page = make(tmp_path, **KINDS[kind])
    found = Checker(page)
    assert found.scripts == 3  # plotly.min.js, the charts, the page's own
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
    for part in ("Rank at four budgets", "Failures", "How to read this", "trials.parquet", "table.csv", "Spearman"):
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
    assert found.scripts == 3
    assert not found.handlers
    assert not any("javascript:" in address for address in found.addresses)
    assert "<script>alert" not in page
    for figure in charts(page).values():  # Plotly reads a part of HTML, and fills in what stands in braces
        assert "<script>" not in json.dumps(figure)
        assert "%{x}%" not in json.dumps(figure)
    assert page.count("&lt;script&gt;alert") > 10  # it is shown, not dropped


def test_thousands_of_trials_stay_below_five_megabytes(tmp_path):
    path, page = make(tmp_path, ORDER, trials=200, epochs=30, slots=32)
    assert len(results.load(tmp_path).trials) > 3000
    assert path.stat().st_size < 5_000_000
    assert "120 of 200 trials are drawn" in page


def test_the_winner_is_among_the_curves_drawn_of_many():
    trials = pd.DataFrame({"validation_knn_200": np.random.default_rng(0).random(1000)})
    drawn = method_report._sample(trials, 100)
    assert len(drawn) == 100
    assert trials.validation_knn_200.idxmax() in drawn.index


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


def test_best_and_recipe_are_shown_as_they_were_trained_to_be_tested(tmp_path):
    """A search has fewer images, which may ask for other values."""
    trials, epochs, run = synthetic_run.rows(("byol", "swav"), fitted={"swav": {"prototypes": 300}})
    for trial in trials:
        if trial["stage"] == "search" and trial["effective"]:
            trial["effective"] = trial["effective"].replace('"prototypes": 300', '"prototypes": 270')
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    asked = json.loads(next(t for t in trials if t["uid"] == run["winners"]["swav"])["hyperparameters"])["prototypes"]
    lines = re.findall(r"<tr><td>prototypes</td>(.*?)</tr>", page)
    assert len(lines) == 2
    assert sum("300" in line for line in lines) == 1
    line = next(line for line in lines if "300" in line)
    best, recipe = re.findall(r"<td[^>]*>(.*?)</td>", line)[:2]
    assert best.startswith(f'300 <span class="flag">asked for {asked}</span>')
    assert recipe == '300 <span class="flag">published: 512</span>'
    assert page.count("as they were trained") == 1


def test_both_recipes_are_on_the_page_with_their_source_and_how_they_are_adapted(tmp_path):
    _, page = make(tmp_path, ("byol", "simclr"), **TWO)
    assert "our recipe, %</button>" in page
    assert re.search(r'<td data-value="0\.7\d*">\d\d\.\d\d ± \d\.\d\d ‡</td>', page)
    assert "‡ The published recipe is adapted" in page
    assert "Published recipe: a repository&#x27;s byol.py; adapted: 8 &lt;parts&gt;." in page
    assert [trace.get("name") for trace in charts(page)["gain"]["data"]][1:] == [
        "published recipe",
        "tuned",
        "our recipe",
    ]
    places = {method: page.index(f"{method}</strong>") for method in ("byol", "simclr")}
    first, second = sorted(places, key=places.get)
    parts = {first: page[places[first] : places[second]], second: page[places[second] :]}
    heads = {method: re.findall(r"<th[^>]*>([^<]+)</th>", part)[:6] for method, part in parts.items()}
    assert heads["byol"] == ["hyper-parameter", "best", "published recipe", "our recipe", "searched", "source"]
    assert "our recipe" not in heads["simclr"]
    line = re.search(r"<tr><td>learning_rate</td>(.*?)</tr>", parts["byol"])[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", line)[1:3] == ["0.7", "0.06"]
    # A recipe beyond the range of its hyper-parameter has no place in its chart; ours is dashed there.
    place = 0 if first == "byol" else 1
    dashes = [[s["line"]["dash"] for s in charts(page)[f"slice-{place}-{n}"]["layout"]["shapes"]] for n in range(5)]
    assert dashes == [["dot"], ["dash"], ["dot"], ["dot"], ["dot"]]


def test_where_our_recipe_won_it_is_the_best_of_its_method_on_the_page(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",), baselines=False, trials=2, **TWO)
    run["winners"]["byol"] = next(t["uid"] for t in trials if t["our_recipe"] and t["stage"] == "search")
    results.save([t for t in trials if t["stage"] != "confirm"], epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    line = re.search(r"<tr><td>optimizer</td>(.*?)</tr>", page)[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", line)[:3] == ["sgd", "larc", "sgd"]
    assert "our recipe won" in page


def test_remarks_about_the_data_stand_at_the_head_of_the_page_once(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",))
    run["facts"]["remarks"] = ["The test folder has no labels.", "<script>alert(1)</script>"]
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    assert Checker(page).scripts == 3
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
    assert Checker(page).scripts == 3
    assert "4 slots" in page
    assert "commit 0123abc" in page


def test_the_report_says_that_the_run_goes_on(tmp_path):
    assert "had not ended when this page was made" in make(tmp_path, finished=False)[1]


def test_a_method_has_the_same_colour_in_every_run(usual):
    one = Page(results.load(usual[0].parent), table.rows(results.load(usual[0].parent)))
    assert one.color("byol") == Page(one.results, one.rows[:1]).color("byol")
    looks = {(one.color(method), one.shape(method)) for method in ORDER}
    assert len(looks) == len({one.color(method) for method in ORDER}) == len(ORDER)


# ---- what is computed for the page ----


def test_progress_counts_all_compute_and_never_falls():
    trials, epochs, _ = synthetic_run.rows()
    trials, epochs = pd.DataFrame(trials), pd.DataFrame(epochs)
    for method, curve in report.progress(trials, epochs).items():
        search = trials[(trials.method == method) & (trials.stage == "search")]
        assert curve.device_seconds.iloc[-1] == pytest.approx(search.device_seconds.sum())
        assert curve.device_seconds.is_monotonic_increasing
        assert curve.best.dropna().is_monotonic_increasing
        # Never the best epoch: the last.
        assert curve.best.iloc[-1] == search[search.state == "complete"].validation_knn_200.max()


def test_progress_is_in_the_order_of_time_not_of_trials():
    """Two trials side by side: what the second has reached early does not wait for the first's end."""
    moment = pd.Timestamp("2026-01-01", tz="UTC")
    trials = pd.DataFrame(
        {
            "uid": ["a", "b"],
            "method": "byol",
            "stage": "search",
            "epochs": [2, 1],
            "device_seconds": [20.0, 10.0],
            "ended": [moment + pd.Timedelta(seconds=20), moment + pd.Timedelta(seconds=10)],
        }
    )
    epochs = pd.DataFrame(
        {
            "uid": ["a", "a", "b"],
            "method": "byol",
            "epoch": [1, 2, 1],
            "knn_200": [0.1, 0.2, 0.5],
            "device_seconds": [10.0, 20.0, 5.0],
            "reported": [moment + pd.Timedelta(seconds=s) for s in (10, 20, 5)],
        }
    )
    curve = report.progress(trials, epochs)["byol"]
    assert curve.device_seconds.iloc[0] == 5.0
    assert set(curve.best) == {0.5}


def test_trials_that_follow_one_another_share_a_slot_and_others_do_not():
    moment = pd.Timestamp("2026-01-01", tz="UTC")
    times = [(0, 10), (0, 5), (5, 12), (10, 20), (11, 13)]
    trials = pd.DataFrame(
        [(moment + pd.Timedelta(minutes=a), moment + pd.Timedelta(minutes=b)) for a, b in times],
        columns=["started", "ended"],
    )
    assert report.slots(trials) == [0, 1, 1, 0, 2]


def test_an_interrupted_run_that_fits_no_timeline_says_so(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",), trials=4)
    run["slots"] = 1
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    assert "timeline" not in charts(page)
    assert "do not fit on 1 slot" in page


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ({"low": 0.001, "high": 1.0, "scale": "log"}, 0.00101, "lower"),
        ({"low": 0.001, "high": 1.0, "scale": "log"}, 0.03, ""),
        ({"low": 0.001, "high": 1.0, "scale": "log"}, 0.99, "upper"),
        ({"low": 0.9, "high": 0.9999, "scale": "log1m"}, 0.99988, "upper"),
        ({"low": 0.9, "high": 0.9999, "scale": "log1m"}, 0.99, ""),
        ({"low": 0, "high": 100, "scale": "linear"}, 3, "lower"),
        ({"choices": [128, 256, 512]}, 512, "upper"),
        ({"choices": [128, 256, 512]}, 256, ""),
        ({"choices": ["sgd", "lars", "adamw"]}, "sgd", ""),
        ({"default": 1}, 1, ""),
    ],
)
def test_a_best_value_at_the_edge_of_its_range_is_flagged(entry, value, said):
    flag = method_report._edge(entry, value)
    assert flag == (f"at the {said} end of its range" if said else "")


@pytest.mark.parametrize("scale", [(0.05, 1.0, "log"), (0.9, 0.9999, "log1m"), (0.0, 2.0, "linear"), (0.1, 0.3, "log")])
def test_axes_have_a_few_ticks_inside_their_range(scale):
    entry = dict(zip(("low", "high", "scale"), scale, strict=True))
    places, labels = method_report._ticks(entry)
    low, high = (method_report._scaled(entry, end) for end in scale[:2])
    assert 2 <= len(places) == len(set(labels)) <= 8
    assert all(low - 1e-6 <= place <= high + 1e-6 for place in places)


def test_importance_finds_the_hyperparameter_that_matters_and_needs_enough_trials(tmp_path):
    generator = np.random.default_rng(0)
    settings = pd.DataFrame(
        {
            "temperature": 0.05 * 20 ** generator.random(80),
            "ema_momentum": 1 - 0.1 * 0.001 ** generator.random(80),
            "learning_rate": 0.005 * 100 ** generator.random(80),
            "weight_decay": 1e-6 * 1000 ** generator.random(80),
            "prototypes": generator.choice([128, 256, 512, 1024], 80).tolist(),
            "optimizer": "sgd",
        }
    )
    accuracy = -np.abs(np.log(settings.temperature / 0.2))
    found = method_report.importances(synthetic_run.search_space("byol"), settings, accuracy)
    assert set(found) == {"temperature", "ema_momentum", "learning_rate", "weight_decay", "prototypes"}
    assert max(found, key=found.get) == "temperature"
    assert all(low <= middle <= high for middle, low, high in found.values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody who runs a benchmark is to read Optuna's
        method_report.importances(synthetic_run.search_space("byol"), settings, accuracy * 0)
    page = make(tmp_path, ("byol",), trials=20)[1]
    assert not any(name.startswith("importance") for name in charts(page))
    assert "unreliable below 40 full trials" in page


# ---- in a real browser ----

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions", "--virtual-time-budget=30000"),
)
PROBE = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="found"></pre><iframe></iframe><script>
const frame = document.querySelector("iframe"), errors = [];
frame.style = "border:0;height:20000px;width:WIDTHpx";
frame.src = "report.html";
const hook = setInterval(() => {
  const inside = frame.contentWindow;
  if (inside.probed || inside.location.pathname !== "/report.html") return;
  inside.probed = true;
  inside.addEventListener("error", event => errors.push(String(event.message || event.target.src)), true);
  inside.addEventListener("unhandledrejection", event => errors.push(String(event.reason)));
  inside.console.error = (...words) => errors.push(words.join(" "));
}, 1);
frame.onload = async () => {
  clearInterval(hook);
  const page = frame.contentDocument, pause = () => new Promise(done => setTimeout(done, 3000));
  await pause();
  const shown = () => [...page.querySelectorAll(".chart")].filter(chart => chart.getBoundingClientRect().width > 0);
  const drawn = () => shown().filter(chart => chart.querySelector(".main-svg")).length;
  const found = {first: [drawn(), shown().length], overflow: page.documentElement.scrollWidth - WIDTH};
  const lines = () => [...page.querySelectorAll(".sortable tbody:first-of-type tr")];
  const order = () => lines().map(row => row.cells[0].innerText.trim());
  found.before = order();
  const button = page.querySelector(".sortable th:nth-child(2) button");
  if (button) { button.click(); button.click(); }
  found.after = order();
  page.querySelectorAll(".buttons button").forEach(press => press.click());
  page.querySelector("#open-all")?.click();
  frame.contentWindow.dispatchEvent(new Event("beforeprint"));
  await pause();
  found.all = [drawn(), page.querySelectorAll(".chart").length];
  found.lines = page.querySelectorAll(".chart path.js-line").length;
  found.wide = [...page.querySelectorAll("section, .card")].filter(e => e.getBoundingClientRect().right > WIDTH).length;
  found.errors = errors;
  document.querySelector("#found").textContent = JSON.stringify(found);
  frame.remove();
};
</script></body>"""


def browse(folder, width, tmp_path):
    """Open the report in Chromium, use it, and return what was found; served from this machine, not from the net."""
    (folder / "probe.html").write_text(PROBE.replace("WIDTH", str(width)))
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/probe.html"
        line = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", address]
        dumped = subprocess.run(line, capture_output=True, text=True, timeout=240).stdout
    finally:
        server.shutdown()
        server.server_close()
        (folder / "probe.html").unlink()
    found = re.search(r'<pre id="found">(.+?)</pre>', dumped, re.DOTALL)
    assert found, dumped[-2000:]
    return json.loads(found[1])


@needs_browser
@pytest.mark.parametrize("width", [400, 1400])
def test_every_chart_is_drawn_in_a_browser_without_an_error(usual, width, tmp_path):
    found = browse(usual[0].parent, width, tmp_path)
    assert found["errors"] == []
    assert found["first"][0] == found["first"][1] > 8
    assert found["all"][0] == found["all"][1] == len(charts(usual[1]))
    assert found["lines"] > 100
    assert found["overflow"] <= 0
    assert found["wide"] == 0
    assert found["after"] == found["before"][::-1] != found["before"]


@needs_browser
@pytest.mark.parametrize("kind", ["no trial yet", "all failed", "troubled"])
def test_a_run_without_some_results_makes_no_error_in_a_browser(kind, tmp_path):
    path, page = make(tmp_path / "run", **KINDS[kind])
    found = browse(path.parent, 400, tmp_path)
    assert found["errors"] == []
    assert found["all"] == [len(charts(page))] * 2
    assert found["overflow"] <= 0


@needs_browser
def test_the_page_opens_from_a_file_without_a_server(usual, tmp_path):
    line = [BROWSER, *FLAGS, "--window-size=1400,9000", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
    done = subprocess.run([*line, usual[0].as_uri()], capture_output=True, text=True, timeout=240)
    assert done.stdout.count('class="main-svg"') >= 16
