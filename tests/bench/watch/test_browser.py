"""Runs that are watched in a real browser."""

import shutil
import time

import pytest

from bench.files import write_atomically
from bench.report import results
from bench.search.fold import read
from tests.bench import synthetic_run
from tests.bench.harness import start
from tests.bench.watch.browser import Browser, needs_browser
from tests.bench.watch.serving import serving

pytestmark = [pytest.mark.slow, needs_browser]

WIDE = (
    "[...document.querySelectorAll('section, .card')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
)


def check_widths(browser):
    """Nothing is wider than the window, however narrow."""
    for width in (400, 700, 1000, 1600):
        browser.resize(width)
        browser.wait(f"document.documentElement.scrollWidth <= {width} && !{WIDE}", timeout=20)  # as charts follow
    browser.resize(1400)


def reached(browser, most=400):
    """What the key Tab comes to, in words, until it comes to nothing again."""
    browser.see("document.activeElement.blur()")
    found = []
    for _ in range(most):
        browser.press("Tab")
        text = "(e => e === document.body ? null : `${e.tagName} ${e.ariaLabel ?? e.innerText ?? ''}`.trim())"
        if (word := browser.see(f"{text}(document.activeElement)")) is None:
            break
        found.append(word)
    return found


def test_a_run_is_renewed_in_place_from_its_start_to_its_end(tmp_path, monkeypatch):
    from bench.watch import watched

    monkeypatch.setattr(watched, "PAUSE", 0.5)
    monkeypatch.setattr(watched, "PART", 1)
    folder = tmp_path / "run"
    over = tmp_path / "over"
    options = {"methods": {"simclr": None, "byol": None}, "epochs": 8, "seeds": 1, "baselines": ["pixels"]}
    options |= {"settings": {"seconds": 1.0}, "until": f"__import__('os').path.exists({str(over)!r})"}
    with serving(folder, expected=True) as server, Browser(tmp_path / "profile") as browser:
        browser.open(server.url)
        browser.see("window.untouched = true")
        assert "Nothing is written yet" in browser.see("document.querySelector('#live').innerText")
        process = start(folder, "9cpu-hours", **options)
        try:
            browser.wait("document.querySelector('#live td details')")
            browser.wait("document.querySelector('#live .chart .main-svg')")
            trial = "document.querySelector('#live .chart').dataset.figure"
            name, points = browser.see(trial), f"(figures[{trial}]?.data[0].x.length ?? 0)"
            grown = f"figures['{name}'].data[0].x.length"
            before = browser.see(grown)
            browser.wait(f"{grown} > {before} || {trial} !== '{name}'")
            assert browser.see(points) > 0
            browser.wait(
                "document.querySelector('#results tbody tr') && document.querySelectorAll('#methods details').length"
            )
            # What a reader does: sorts, opens the second of the methods, zooms, scrolls there.
            browser.wait("document.querySelectorAll('#methods details').length === 2")
            browser.see("document.querySelector('#results th:nth-child(2) button').click()")
            fold = "document.querySelectorAll('#methods details')[1]"
            key = browser.see(f"{fold}.dataset.key")
            fold = f"document.querySelector('#methods [data-key={key}]')"
            browser.see(f"{fold}.open = true; {fold}.scrollIntoView()")
            chart = f"{fold}.querySelector('.chart')"
            browser.wait(f"{chart}.querySelector('.main-svg')")
            browser.see(f"window.kept = {fold}; window.chart = {chart}; 0")
            browser.see("Plotly.relayout(chart, {'xaxis.range': [1, 3]}).then(() => 0)")
            browser.see("scrollBy(0, -80)")
            place = browser.see("kept.getBoundingClientRect().top")
            made = "[...document.querySelectorAll('#live .muted')].find(each => /is of/.test(each.innerText)).innerText"
            before = browser.see(made)
            browser.wait(f"{made} !== {before!r}")
            browser.see("new Promise(done => setTimeout(done, 300))")
            assert browser.see("kept.isConnected && kept.open && window.untouched")
            assert browser.see("document.querySelectorAll('#methods details[open]').length") == 1
            assert abs(browser.see("kept.getBoundingClientRect().top") - place) <= 1
            assert browser.see("chart.layout.xaxis.range") == [1, 3]
            assert browser.see("document.querySelector('#results th:nth-child(2)').ariaSort") == "descending"
            # A command that stops a trial stays open to be copied.
            browser.wait("document.querySelector('#live td details')")
            browser.see("window.stops = document.querySelector('#live td details'); stops.open = true")
            assert browser.see("stops.querySelector('code').innerText").startswith(f"ssl-bench stop {folder} ")
            check_widths(browser)
            over.touch()
            out, err = process.communicate(timeout=120)
            assert process.returncode == 130, out + err
        finally:
            process.kill()
        browser.wait("document.querySelector('#live').innerText.includes('The run was interrupted')")
        browser.wait("document.querySelector('header').innerText.includes('The run ended early')")
        assert not browser.see("document.querySelector('#live td details')")
        assert browser.see("window.untouched")
        assert browser.errors == []
        server.shutdown()
        browser.wait("document.querySelector('#watcher').innerText.includes('does not answer')")
    assert read(folder / "ledger.jsonl").closed == "interrupted"


def test_finished_runs_are_listed_opened_and_set_beside_each_other_by_keys_alone(tmp_path):
    runs = tmp_path / "runs"
    synthetic_run.write(runs / "first", ("byol", "moco"), trials=3)
    synthetic_run.write(runs / "second", ("byol", "simclr"), trials=4)
    with serving(runs) as server, Browser(tmp_path / "profile") as browser:
        browser.open(server.url)
        browser.wait("document.body.innerText.includes('won with')")
        check_widths(browser)
        assert reached(browser)[-6:] == [
            *("INPUT Choose first", "A first", "INPUT Choose second", "A second"),
            *("BUTTON Side by side", "A All runs"),
        ]
        for choice in ("first", "second"):
            browser.see(f"document.querySelector('[value={choice}]').focus()")
            browser.press("Space")
        time.sleep(2.5)  # a renewal later they are still chosen
        assert browser.see("document.querySelectorAll(':checked').length") == 2
        browser.see("document.querySelector('form button').focus()")
        browser.press("Enter")
        browser.wait("location.pathname === '/side-by-side' && document.querySelector('.chart .main-svg')")
        assert browser.see("document.querySelectorAll('#accuracy thead th').length") == 3
        check_widths(browser)
        browser.open(f"{server.url}first/")
        browser.wait("document.querySelector('#results tbody tr')")
        browser.see("document.querySelector('#accuracy').scrollIntoView()")  # charts are drawn when they come near
        browser.wait("document.querySelector('#accuracy .chart .main-svg')")
        check_widths(browser)
        words = reached(browser)
        for word in ("A Now", "A Results", "BUTTON open all", "BUTTON method"):
            assert word in words, words
        assert sum(word.startswith("SUMMARY") for word in words) == 2
        assert browser.errors == []


def test_a_run_without_a_ledger_is_renewed_when_its_tables_are_written_again(tmp_path, monkeypatch):
    from bench.watch import watched

    monkeypatch.setattr(watched, "PAUSE", 0.0)
    monkeypatch.setattr(watched, "PART", 0)
    folder = synthetic_run.write(tmp_path / "run", ("byol",), trials=2)
    with serving(folder) as server, Browser(tmp_path / "profile") as browser:
        browser.open(server.url)
        browser.wait("document.querySelectorAll('#results tbody:first-of-type tr').length === 1")
        # What a reader does in the table of all trials: types, ticks one, sorts, and stands in the field.
        table, field = "document.querySelector('#trial-table')", "document.querySelector('#trial-table input')"
        browser.see(f"{field}.value = 'search'; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")
        browser.see(f"{table}.querySelector('td input').click()")
        uid = browser.see(f"{table}.querySelector('td input:checked').value")
        browser.see(f"{table}.querySelector('[data-sort=trial]').click()")
        browser.see(f"location.hash = 'results'; {field}.focus()")
        more = synthetic_run.write(tmp_path / "run-2", ("byol", "moco"), trials=2)
        for name in ("epochs.parquet", "trials.parquet"):
            write_atomically(folder / name, (more / name).read_bytes())
        browser.wait("document.querySelectorAll('#results tbody:first-of-type tr').length === 2")
        browser.wait(f"{table}.innerText.includes('moco-search')")
        assert browser.see(f"{field}.value") == "search"
        assert browser.see(f"document.activeElement === {field}")
        assert browser.see(f"{table}.querySelector('td input:checked').value") == uid
        assert browser.see(f"{table}.querySelector('th [data-sort=trial]').parentElement.ariaSort") == "ascending"
        assert [
            *map(str, browser.see(f"[...{table}.querySelectorAll('.chips [data-chip=method]')].map(e => e.innerText)"))
        ] == ["byol", "moco", "pixels", "random", "supervised"]
        assert browser.errors == []
    shutil.rmtree(more)
    assert len(results.load(folder).trials)
