"""The page in a real browser."""

import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.report import report
from tests.bench.report import inspected_run
from tests.bench.report.pages import KINDS, charts, make

pytestmark = pytest.mark.slow

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
@pytest.mark.parametrize("kind", ["no trial yet", "all failed", "troubled", "judged, every kind, uneven classes"])
def test_a_run_without_some_results_makes_no_error_in_a_browser(kind, tmp_path):
    path, page = make(tmp_path / "run", **KINDS[kind])
    found = browse(path.parent, 400, tmp_path)
    assert found["errors"] == []
    assert found["all"] == [len(charts(page))] * 2
    assert found["overflow"] <= 0


@needs_browser
def test_long_names_of_networks_leave_a_narrow_screen_room(tmp_path):
    network = {"weights": "timm:vit_small_patch14_reg4_dinov2.lvd142m", "trained_on": "LVD-142M", "image_size": 518}
    origins = {"simclr-warm": network, "frozen-vit-518px-1a2b3c4d": network}
    path, page = make(tmp_path / "run", ("simclr", "simclr-warm"), origins=origins)
    found = browse(path.parent, 400, tmp_path)
    assert found["errors"] == []
    assert found["all"] == [len(charts(page))] * 2
    assert (found["overflow"], found["wide"]) == (0, 0)


@needs_browser
def test_the_page_opens_from_a_file_without_a_server(usual, tmp_path):
    line = [BROWSER, *FLAGS, "--window-size=1400,9000", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
    done = subprocess.run([*line, usual[0].as_uri()], capture_output=True, text=True, timeout=240)
    assert done.stdout.count('class="main-svg"') >= 16


@needs_browser
def test_what_encoders_learned_is_drawn_on_a_narrow_screen(tmp_path):
    page = report.write(inspected_run.write(tmp_path / "run", ("byol",), trials=2, seeds=1))
    found = browse(page.parent, 400, tmp_path)
    assert found["errors"] == []
    assert found["all"] == [len(charts(page.read_text()))] * 2
    assert (found["overflow"], found["wide"]) == (0, 0)
