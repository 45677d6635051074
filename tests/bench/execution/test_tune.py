"""Whole runs of a fake trainer on Ray Tune."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.execution import tune
from bench.search.job import Assignment
from bench.search.ledger import Fold, Ledger, read, read_events
from bench.search.search import Full
from bench.search.simulate import plan_for, synthetic
from tests.bench.harness import ROOT, check, drive, start, wait_for_reports

METHODS = {"simclr": None, "byol": None}


def kinds(events):
    return Counter(event["event"] for event in events)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run, then the same command again, then with a larger budget."""
    for seconds in (54, 108, 216, 432):  # on a busy machine the workers' start alone takes a small budget
        folder = tmp_path_factory.mktemp("run")
        trace, results = folder / "trace", folder / "results.json"
        options = {
            "methods": METHODS,
            "settings": {"seconds": 0.1, "trace": str(trace)},
            "epochs": 4,
            "seeds": 2,
            "baselines": ["pixels", "random"],
            "results": str(results),
        }
        first = drive(folder / "run", f"{seconds}cpu-seconds", timeout=600, **options)
        if "closed: done" in first.stdout:
            break
    events = [read_events(folder / "run" / "ledger.jsonl")[0]]
    again = drive(folder / "run", f"{seconds}cpu-seconds", **options)
    events.append(read_events(folder / "run" / "ledger.jsonl")[0])
    signs = [json.loads(line) for line in trace.read_text().splitlines()]
    for more in (seconds * 7 // 5, seconds * 3, seconds * 9):
        larger = drive(folder / "run", f"{more}cpu-seconds", timeout=900, **options)
        if kinds(read_events(folder / "run" / "ledger.jsonl")[0])["suggested"] > kinds(events[-1])["suggested"]:
            break
    return {
        "folder": folder,
        "first": first,
        "again": again,
        "larger": larger,
        "events": events,
        "workers": len({sign["pid"] for sign in signs}),
        "niceness": {sign["niceness"] for sign in signs},
        "budgets": (seconds, more),
    }


def test_a_run_ends_well_and_its_ledger_is_consistent(run):
    for name in ("first", "again", "larger"):
        assert run[name].returncode == 0, run[name].stdout + run[name].stderr
    check(run["folder"] / "run", run["folder"] / "trace", run["events"])


def test_every_method_is_searched_and_confirmed_and_baselines_are_there(run):
    fold = read(run["folder"] / "run" / "ledger.jsonl")
    for method in METHODS:
        assert fold.winner(method) is not None
        assert len(list(fold.of(method, "search"))) > 3
        complete = [trial.number for trial in fold.confirming(method) if trial.state == "complete"]
        assert {0, 1} <= set(complete)  # and more seeds, where the larger budget has room for them
    assert {t.uid for t in fold.trials.values() if t.stage == "baseline"} == {"pixels-s1", "random-s1", "random-s2"}
    trial = fold.trials["byol-0000"]
    assert trial.facts == {"encoder_parameters": 1000, "own_encoder": False, "device": "cpu"}


def test_the_budget_is_kept(run):
    last = read_events(run["folder"] / "run" / "ledger.jsonl")[0]
    for budget, events in zip(run["budgets"], (run["events"][0], last), strict=True):
        fold = Fold()
        for event in events:
            fold.apply(event)
        assert fold.charged <= budget + max(0.02 * budget, 2 * 0.1 * 3)


def test_workers_are_kept_from_trial_to_trial(run):
    assert run["workers"] == 2


def test_workers_run_with_the_priority_of_the_command(run):
    assert run["niceness"] == {os.nice(0)}


def test_a_worker_that_starts_slowly_is_waited_for_while_the_others_go_on(tmp_path):
    done = drive(
        tmp_path / "run",
        "9cpu-hours",
        methods=METHODS,
        settings={"seconds": 0.2, "uneven": str(tmp_path)},
        epochs=3,
        seeds=1,
        until="len(fold.trials) > 24",
    )
    assert done.returncode == 130, done.stdout + done.stderr
    check(tmp_path / "run")
    calibration = 1
    assert len(list(tmp_path.glob("process-*"))) == calibration + 2


def test_the_same_command_on_a_finished_run_starts_no_worker(run):
    before, after = run["events"]
    assert [event["event"] for event in after[len(before) :]] in (["session", "closed"], ["session"])


def test_a_larger_budget_continues_the_run(run):
    events = read_events(run["folder"] / "run" / "ledger.jsonl")[0]
    assert kinds(events)["suggested"] > kinds(run["events"][1])["suggested"]


def test_progress_and_ends_of_trials_are_told(run):
    out = run["first"].stdout
    assert "byol-0000: complete at epoch 4 of 4" in out
    assert f" of {run['budgets'][0] / 60:.1f} cpu-min (" in out
    assert "best " in out
    assert not run["first"].stderr.strip(), run["first"].stderr


def test_results_are_written_while_it_runs_and_checkpoints_of_ended_trials_are_gone(run):
    assert json.loads((run["folder"] / "results.json").read_text())["byol"] > 0
    fold = read(run["folder"] / "run" / "ledger.jsonl")
    left = {path.name for path in (run["folder"] / "run" / "checkpoints").iterdir()}
    assert left <= set(fold.open)


def test_several_trials_share_a_gpu_and_are_charged_their_part_of_it(tmp_path):
    trace = tmp_path / "trace"
    done = drive(
        tmp_path / "run",
        "40gpu-seconds",
        methods={"simclr": None},
        slots=3,
        rate=0.5,  # two GPUs would hold four, and three are used
        settings={"seconds": 0.3, "trace": str(trace)},
        epochs=3,
        seeds=1,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fold = check(tmp_path / "run", trace, rate=0.5)
    assert len({json.loads(line)["pid"] for line in trace.read_text().splitlines()}) == 3
    assert any(trial.state == "complete" for trial in fold.trials.values())


def test_a_run_in_which_every_trial_fails_ends_by_itself_and_says_why(tmp_path):
    options = {"methods": METHODS, "factory": "tests.bench.fake_trainer:Broken", "baselines": ["random"], "seeds": 1}
    done = drive(tmp_path / "run", "9cpu-hours", epochs=4, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "closed: done" in done.stdout
    fold = check(tmp_path / "run")
    assert fold.given_up.keys() == METHODS.keys()
    assert {(trial.state, trial.kind) for trial in fold.trials.values()} == {("failed", "error")}
    assert fold.charged < 600
    for method in METHODS:
        assert f"{method} is given up: " in done.stdout
    assert re.search(r"The run ends: all 2 methods .*RecursionError: too deep \(fake_trainer.py:\d+\)", done.stdout)


def test_a_method_whose_batch_memory_does_not_hold_goes_on_with_half_of_it_in_the_same_run(tmp_path):
    went_on = "any(trial.attempts == 2 and trial.state == 'complete' for trial in fold.of('large', 'search'))"
    options = {"methods": {"large": "batch"}, "epochs": 2, "seeds": 1, "scheduler": "full", "until": went_on}
    done = drive(tmp_path / "run", "9cpu-hours", **options)
    assert done.returncode == 130, done.stdout + done.stderr
    fold = check(tmp_path / "run", scheduler=Full)
    published, *others = [trial for trial in fold.of("large", "search") if trial.final]
    assert (published.halved, published.state, published.attempts) == (False, "complete", 1)  # it has no fault
    assert {(trial.halved, trial.state) for trial in others} == {(True, "complete")}
    assert 2 in {trial.attempts for trial in others}
    told = re.findall(r"(large-\d+): cut at epoch 0 of 2, search, .*\(out of memory: CUDA out of memory", done.stdout)
    assert {trial.uid for trial in others if trial.attempts == 2} <= set(told)
    warning = "warning: memory does not hold a whole batch of large; its trials go on with half of it"
    assert done.stdout.count(warning) == 1


def test_the_parts_that_need_no_worker_import_neither_ray_nor_torch():
    modules = "bench.search.search, bench.search.plan, bench.search.simulate"
    code = f"import sys, {modules}; print([m for m in ('ray', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


ASK = """
import sys
from ray._raylet import GcsClient
try:
    print(GcsClient(address=sys.argv[1]).cluster_id)
except Exception as error:
    print(type(error).__name__, error)
"""


def processes(driver):
    """The driver's process and all below it: pid -> environment."""
    parents, found = {}, [driver]
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    environments = {}
    for pid in found:
        with contextlib.suppress(OSError):
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            environments[pid] = dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)
    return environments


def titled(pid):
    """Whether Ray has written a title over the beginning of what the kernel shows as the process' environment."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    return True


def listening(pids):
    """(pid, address as in /proc/net, port) of all TCP sockets on which these processes listen."""
    sockets = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A":
                sockets[f"socket:[{inode}]"] = local
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if (local := sockets.get(os.readlink(entry))) is not None:
                        address, _, port = local.partition(":")
                        found.add((pid, address, int(port, 16)))
    return found


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A run where the environment would open it, its temporary folder has a long path, the working directory has
    modules of other people's, a word of the command is not UTF-8, and whoever read its output goes away."""
    folder = tmp_path_factory.mktemp("guarded")
    here, temporary = folder / "here", folder / ("long-" * 15)
    (here / "bench").mkdir(parents=True)
    temporary.mkdir()
    for name in ("bench/__init__.py", "queue.py", "ray.py"):
        (here / name).write_text('raise SystemExit("a file of the user was imported")')
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "known-to-others", "TMPDIR": str(temporary)}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    options = {"methods": METHODS, "settings": {"seconds": 0.2}, "epochs": 4, "seeds": 1, "cwd": here}
    options |= {"environment": environment, "words": (os.fsdecode(b"donn\xe9es"),)}
    process = start(folder / "run", "9cpu-hours", **options)
    try:
        wait_for_reports(process, folder / "run", 1)
        assert process.poll() is None, process.communicate()
        running = processes(process.pid)
        shown = [values for pid, values in running.items() if pid != process.pid and values and not titled(pid)]
        sockets = listening(running)
        token = Path(shown[0]["RAY_AUTH_TOKEN_PATH"])
        modes = [path.stat().st_mode & 0o777 for path in (token, token.parent)]
        port = next(port for pid, _, port in sockets if Path(f"/proc/{pid}/comm").read_text().strip() == "gcs_server")
        answers = {}
        for name, found in {"none": {}, "other": {"RAY_AUTH_TOKEN": "known-to-others"}, "own": token}.items():
            stranger = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
            stranger |= {"HOME": str(folder), "RAY_AUTH_MODE": "token" if found else "disabled"}
            stranger |= {"RAY_AUTH_TOKEN_PATH": str(token)} if found is token else found
            words = [sys.executable, "-c", ASK, f"127.0.0.1:{port}"]
            asked = subprocess.run(words, env=stranger, capture_output=True, text=True, timeout=60, check=False)
            answers[name] = asked.stdout
        process.stdout.close()
        wait_for_reports(process, folder / "run", 20)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        error = process.stderr.read()
    finally:
        process.kill()
    return {
        "run": folder / "run",
        "driver": process,
        "error": error,
        "environments": shown,
        "sockets": sockets,
        "token": token,
        "modes": modes,
        "answers": answers,
        "files": list(temporary.iterdir()),
    }


def test_all_sockets_of_a_run_are_on_the_loopback_address(guarded):
    assert len({pid for pid, _, _ in guarded["sockets"]}) >= 5  # the driver, Ray's two and its agent, workers
    assert {address for _, address, _ in guarded["sockets"]} <= LOOPBACK


def test_a_run_answers_only_who_has_its_token_which_only_its_user_can_read(guarded):
    assert guarded["modes"] == [0o600, 0o700]
    assert guarded["answers"]["none"].startswith("AuthenticationError")
    assert guarded["answers"]["other"].startswith("AuthenticationError")
    assert "Error" not in guarded["answers"]["own"]
    assert len(guarded["environments"]) >= 2  # Ray's own
    for environment in guarded["environments"]:
        assert environment["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" not in environment


def test_a_run_works_in_any_folder_and_ends_in_good_order_though_its_reader_has_gone(guarded):
    assert guarded["driver"].returncode == 130, guarded["error"]
    assert guarded["error"] == ""
    assert check(guarded["run"]).closed == "interrupted"


def test_a_run_leaves_none_of_rays_files(guarded):
    assert not guarded["token"].parent.exists()
    assert len(str(guarded["token"].parent)) < 50
    assert guarded["files"] == []


@pytest.fixture
def session(tmp_path):
    """A session on a cluster, without Ray."""
    calibration, _ = synthetic(1)
    ledger = Ledger(tmp_path)
    ledger.append("run", format=1, settings={}, plan={})
    plan = plan_for(calibration, slots=2, trials=25, epochs=9)
    session = {"budget": {"device": "cpu", "seconds": 9}, "slots": 2, "share": 1, "rate": 1.0, "facts": {}}
    ledger.append("session", number=0, **session)
    yield tune._Session(plan, ledger, tmp_path, cluster=True)
    ledger.close()


def test_on_a_cluster_a_trial_is_charged_from_the_sign_of_life_of_its_own_attempt(session, monkeypatch):
    monkeypatch.setattr(tune, "_slots", lambda *_: 2)
    now = [100.0]
    monkeypatch.setattr(session.search, "clock", lambda: now[0])
    assignment = Assignment.from_json(json.loads(session.suggest("first")["assignment"]))
    folder = session.run_dir / "checkpoints" / assignment.job.uid
    folder.mkdir(parents=True)
    (folder / "attempt-9.alive").touch()
    before = session.search.charged
    now[0] += 500
    session.beat()
    assert session.search.charged == before
    (folder / "attempt-1.alive").touch()
    session._heartbeat_due = 0.0
    session.beat()
    now[0] += 7
    assert session.search.charged == before + 7
    assert session.search.startup == 7


def test_nodes_of_different_gpus_are_named_in_a_warning():
    def node(gpu, alive=True):
        return {"Alive": alive, "Resources": {"CPU": 8.0, "node:10.0.0.1": 1.0, f"accelerator_type:{gpu}": 1.0}}

    assert tune._different_gpus([node("H100"), node("H100"), node("T4", alive=False)]) is None
    assert tune._different_gpus([{"Alive": True, "Resources": {"CPU": 8.0}}]) is None
    assert "(A100, T4)" in tune._different_gpus([node("T4"), node("A100"), node("T4")])


def test_a_signals_handler_says_nothing_as_it_may_come_in_the_middle_of_a_word(capsys, session):
    session._signalled(signal.SIGINT)
    assert capsys.readouterr().out == ""
    assert session.signal == signal.SIGINT
    with pytest.raises(tune._Leave):
        session.beat()


def test_an_end_of_rays_loop_that_nobody_asked_for_is_an_error_and_no_signal(session, monkeypatch):
    class Tuner:
        def __init__(self, *_, **__):
            pass

        def fit(self):
            pass

    monkeypatch.setattr(tune.tune, "Tuner", Tuner)
    monkeypatch.setattr(tune, "_ray", lambda *_: contextlib.nullcontext("/nowhere"))
    monkeypatch.setattr(tune.ray, "nodes", list)
    session.run(None)
    assert session.signal is None
    with pytest.raises(RuntimeError, match="though there was work left"):
        session.close()
    assert session.ledger.fold.closed == "error"
