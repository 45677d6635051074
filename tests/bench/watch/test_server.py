"""What the server gives, to whom, and what it does not."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.report import results
from bench.search.fold import read
from bench.watch.server import PORT, Server, is_loopback
from bench.watch.several import Runs
from tests.bench import older_runs, synthetic_run
from tests.bench.commands.answering import answer_of, check_refusal
from tests.bench.execution.test_stopping import begun
from tests.bench.report.pages import Checker
from tests.bench.watch.serving import ask, serving

ROOT = Path(__file__).resolve().parents[3]
LEDGER = ROOT / "tests/bench/search/interrupted.jsonl"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has its tables alone."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    synthetic_run.write(folder, ("byol", "moco"), trials=3)
    (folder / "secret.txt").write_text("secret")
    return folder


def test_a_run_is_served_whole_and_its_folder_stays_as_it_was(finished):
    before = content(finished)
    with serving(finished) as server:
        assert ask(server, "/") == (302, "/finished/", b"")
        status, kind, page = ask(server, "/finished/")
        assert (status, kind) == (200, "text/html; charset=utf-8")
        run = next(iter(server.runs.known.values()))
        assert run.made.wait(60)
        page = ask(server, "/finished/")[2].decode()
        checked = Checker(page)
        assert checked.handlers == []
        assert len(set(checked.ids)) == len(checked.ids)
        for section in ("live", "results", "protocol"):
            assert f'<section id="{section}">' in page
        assert "Its tables are here, its ledger is not." in page
        assert "had not ended" not in page
        for address in checked.addresses:
            if not address.startswith(("#", "https://")):
                assert ask(server, f"/finished/{address}")[0] == 200, address
        for name in ("trials.parquet", "epochs.parquet"):
            assert ask(server, f"/finished/{name}")[2] == before[name]
        version = page.split('data-version="')[1].split('"')[0]
        told = json.loads(ask(server, f"/finished/state?since={version}")[2])
        assert (told["version"], told["parts"], told["figures"]) == (version, {}, {})
        assert ask(server, "/finished/", "HEAD")[2] == b""
    assert content(finished) == before


@pytest.mark.parametrize(
    "path",
    [
        *("/finished/secret.txt", "/finished/ledger.jsonl", "/finished/../finished/secret.txt", "/secret.txt"),
        *("/finished/..%2fsecret.txt", "/../../etc/passwd", "//etc/passwd", "/finished//etc/passwd", "/etc/passwd"),
        *(
            "/finished/table.md/x",
            "/finished/%2e%2e/",
            "/finished/trials.parquet%00",
            "/none/",
            "/none",
            "/finished/lock",
        ),
        *("/state", "/side-by-side", "/finished/templates/live.html", "*", "/finished/report.html"),
    ],
)
def test_nothing_else_is_served(path, finished):
    with serving(finished) as server:
        status, _, said = ask(server, path)
        assert status in (400, 404)
        assert b"secret" not in said
        assert b"root:" not in said


def test_pages_from_elsewhere_cannot_read_it_under_a_name_of_theirs(finished):
    with serving(finished) as server:
        port = server.server_port
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "",
            "localhost.evil.example",
            "[",
        ):
            status, _, said = ask(server, "/finished/state", host=host)
            assert status == 403
            assert b"parts" not in said
        for host in (f"localhost:{port}", "LOCALHOST", "127.0.0.1", f"[::1]:{port}", "127.0.0.9:9000"):
            assert ask(server, "/finished/state", host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(method, finished):
    with serving(finished) as server:
        assert ask(server, "/finished/", method)[0] == 501


def test_the_next_free_port_is_taken_but_one_that_was_asked_for_is_refused(finished):
    first, second = Server(Runs([finished])), Server(Runs([finished]))
    try:
        assert PORT <= first.server_port < second.server_port
        with pytest.raises(UserError, match=r"cannot be served at \(Address already in use\); give another"):
            Server(Runs([finished]), port=first.server_port)
    finally:
        first.server_close()
        second.server_close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_only_this_machines_own_addresses_are_taken_for_loopback(host, loopback):
    assert is_loopback(host) == loopback


def test_what_cannot_be_watched_is_told_in_one_line(tmp_path, finished):
    (tmp_path / "empty").mkdir()
    busy = socket.create_server(("127.0.0.1", 0))
    port = str(busy.getsockname()[1])
    for words in (
        *([], [str(tmp_path / "none")], [str(tmp_path / "empty")], [str(finished), "--port", "0"]),
        *([str(finished), "--port", port], [str(finished), "--host", "no.such.host.invalid"]),
        [str(finished), "--host", "192.0.2.1"],
    ):
        status, out, err = answer_of(["watch", *words])
        check_refusal(status, err)
        assert out == ""
    busy.close()
    assert not (tmp_path / "none").exists()


def test_a_run_in_the_making_is_served_before_it_is_there_and_renewed(tmp_path):
    folder = tmp_path / "run"
    with serving(folder, expected=True) as server:
        page = ask(server, "/run/")[2].decode()
        assert "Nothing is written yet" in page
        (run,) = server.runs.known.values()
        assert run.made.wait(60)
        ledger = begun(folder)
        ledger.append("session", **{k: v for k, v in ledger.fold.sessions[0].items() if k not in ("event", "time")})
        told = json.loads(ask(server, "/run/state?since=")[2])
        assert "simclr-0001" in told["parts"]["live"]
        version = told["version"]
        assert json.loads(ask(server, f"/run/state?since={version}")[2])["parts"] == {}
        ledger.append("held", held={"simclr-0001": 7.0}, startup=0.0)
        assert json.loads(ask(server, f"/run/state?since={version}")[2])["parts"].keys() == {"live"}
        ledger.append("closed", reason="done")
        ledger.close()
        assert "all was done" in json.loads(ask(server, f"/run/state?since={version}")[2])["parts"]["live"]


def test_a_page_is_made_once_for_a_state_and_not_for_heartbeats_or_when_nobody_looks(tmp_path, monkeypatch):
    from bench.watch import watched

    monkeypatch.setattr(watched, "PAUSE", 0.0)
    monkeypatch.setattr(watched, "PART", 0)
    ledger = begun(tmp_path)
    run = watched.Watched(tmp_path)
    assert not run.due
    run.look()
    assert run.due
    run.make()
    assert not run.due
    ledger.append("held", held={"simclr-0001": 7.0}, startup=0.0)
    run.look()
    assert not run.due
    ledger.append("cut", uid="simclr-0001", held=8.0, startup=0.0, reason="x")
    run.look()
    assert run.due
    monkeypatch.setattr(watched, "WANTED", 0.0)
    assert not run.due
    ledger.close()


def test_the_tables_of_a_state_are_those_of_the_files_that_it_is_written_to(tmp_path):
    fold = read(LEDGER)
    results.write(fold, tmp_path / "run")
    written, known = results.load(tmp_path / "run"), results.of(fold, "run")
    assert written.trials.equals(known.trials)
    assert written.epochs.equals(known.epochs)
    assert written.run == known.run


def test_of_a_ledger_of_an_earlier_version_its_own_tables_are_shown_and_their_lack_is_told(tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(older_runs.FIRST, folder)
    runs = Runs([tmp_path])
    (run,) = runs.known.values()
    run.look()
    run.results = run._load()
    assert run.results.run["held_out"]
    (folder / "trials.parquet").unlink()
    run.make()
    run.look()
    assert "trials.parquet is missing" in run.page()


def test_several_runs_are_listed_and_those_that_are_chosen_stand_side_by_side(tmp_path, finished):
    shutil.copytree(finished, tmp_path / "one")
    synthetic_run.write(tmp_path / "Zwei & <b>", ("byol",), trials=2, dataset="shapes")
    ledger = begun(tmp_path / "three")
    (tmp_path / "none").mkdir()
    with serving(tmp_path) as server:
        assert list(server.runs.known) == ["zwei-b", "one", "three"]
        ask(server, "/")
        for run in server.runs.known.values():
            assert run.made.wait(60)
        page = ask(server, "/")[2].decode()
        Checker(page)
        assert "Zwei &amp; &lt;b&gt;" in page
        assert "3 runs" in page
        assert "byol" in page
        assert page.count(" won with ") == 2
        assert ask(server, "/one") == (302, "/one/", b"")
        shutil.copytree(finished, tmp_path / "later")
        told = json.loads(ask(server, "/state?since=")[2])
        assert 'href="later/"' in told["parts"]["runs"]
        beside = ask(server, "/side-by-side?run=one&run=zwei-b&run=../x&run=one&run=three")[2].decode()
        Checker(beside)
        assert "different images" in beside
        assert beside.count('class="chart"') == 1
        assert next(line for line in beside.splitlines() if line.startswith("<tr><td>moco</td>")).count("—") == 2
        assert "No run was chosen" in ask(server, "/side-by-side?run=none")[2].decode()
    ledger.close()


@pytest.mark.slow
def test_the_command_tells_where_warns_of_other_hosts_and_ends_with_its_signal(finished, tmp_path):
    line = [sys.executable, "-c", "import sys; from bench.commands.main import main; sys.exit(main())", "watch"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    # A suite that runs in the background of a shell ignores SIGINT, and so would what it starts.
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([*line, str(finished), "--host", "0.0.0.0"], **pipes)
    told = process.stdout.readline()
    assert told.startswith("Watch: http://0.0.0.0:")
    nice = os.getpriority(os.PRIO_PROCESS, process.pid)
    process.send_signal(2)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (0, "")
    assert err == "warning: whoever reaches 0.0.0.0 can read these runs; there is no password\n"
    assert nice == 19


@pytest.mark.slow
def test_beside_a_run_it_ends_with_the_process_that_has_it(tmp_path):
    line = [sys.executable, "-m", "bench.watch.server", str(tmp_path / "run")]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline().startswith("Watch: http://127.0.0.1:")
    time.sleep(0.5)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert not (tmp_path / "run").exists()
