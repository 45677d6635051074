"""How long the page of a large run takes: to be made, and to open in Chromium.

    python tests/speed/page.py --trials 5000

The run is made up, of all methods. In Chromium, milliseconds after the address was given, the medians of `--rounds`:
*first paint*, when something can be read; *usable*, when the page's script has run and all answers; *drawn*, when the
charts in sight are there. Files come from a server on this machine. `--profile` prints where the making's time goes;
`--opened` measures the page that lies in the folder `--keep`, as another version may have made it.
"""

import argparse
import cProfile
import json
import pstats
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from algorithms import METHODS
from bench.report import report, results
from tests.bench import synthetic_run
from tests.speed.timing import about_this_machine, print_table

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PROBE = """<script>
const usable = performance.now();
let loaded;
addEventListener("DOMContentLoaded", () => { loaded = performance.now(); });
const told = () => {
  const inSight = [...document.querySelectorAll(".chart")].filter(chart => {
    const {top, bottom, width} = chart.getBoundingClientRect();
    return width > 0 && bottom > 0 && top < innerHeight;
  });
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  if (!loaded || !paint || !inSight.every(chart => chart.querySelector(".main-svg"))) return setTimeout(told, 5);
  const come = performance.getEntriesByType("navigation")[0].responseEnd;
  const body = JSON.stringify({come, paint: paint.startTime, usable, drawn: performance.now()});
  fetch("/found", {method: "POST", body});
};
told();
</script>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--keep", type=Path, help="A folder for the run, which stays; a run that lies there is taken.")
    parser.add_argument("--opened", action="store_true")
    asked = parser.parse_args()
    print(about_this_machine(1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary) / "run"
        if not asked.opened:
            make_page(folder, asked.trials, asked.epochs, asked.profile)
        if BROWSER is None:
            print("No Chromium on this machine: how the page opens was not measured.")
            return
        opened = [open_page(folder) for _ in range(asked.rounds)]
        names = ("come", "paint", "usable", "drawn")
        rows = [[name, statistics.median(each[name] for each in opened)] for name in names]
        print_table("In Chromium", ["", "ms"], rows)


def make_page(folder: Path, trials: int, epochs: int, profiled: bool) -> None:
    """The page of a run of so many trials, made up where the folder holds none, and how long it took."""
    folder.mkdir(parents=True, exist_ok=True)
    methods = tuple(METHODS)
    if not (folder / "trials.parquet").exists():
        synthetic_run.write(folder, methods, trials=trials // len(methods), epochs=epochs, slots=32)
    began, cpu = time.perf_counter(), time.process_time()
    profile = cProfile.Profile()
    path = profile.runcall(report.write, folder) if profiled else report.write(folder)
    rows = [
        ["wall, s", time.perf_counter() - began],
        ["CPU, s", time.process_time() - cpu],
        ["the page, MB", path.stat().st_size / 1e6],
        ["plotly.min.js, MB", (folder / "plotly.min.js").stat().st_size / 1e6],
    ]
    print_table(f"Making the page of {len(results.load(folder).trials):,} trials", ["", "seconds or MB"], rows)
    if profiled:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def open_page(folder: Path) -> dict[str, float]:
    """Milliseconds until the page has its first paint, answers and is drawn, in a browser that has never seen it."""
    probed, answer = folder / "probed.html", {}
    there = threading.Event()
    probed.write_text((folder / "report.html").read_text().replace("</body>", f"{PROBE}</body>"))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            answer.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            there.set()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{server.server_port}/probed.html"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        line = [BROWSER, *flags, "--window-size=1400,900", f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        browser = subprocess.Popen([*line, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if not there.wait(120):
                raise SystemExit("the page was not drawn in two minutes")
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
            server.server_close()
            probed.unlink()
    return answer


if __name__ == "__main__":
    main()
