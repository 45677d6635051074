"""Runs on Ray Tune, of a fake trainer."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.execution import tune
from bench.execution.session import Session
from bench.execution.signals import Signals
from bench.search.ledger import Ledger
from bench.search.simulate import plan_for, synthetic
from tests.bench.harness import ROOT, check, drive, signs, start, wait_for_reports

pytestmark = pytest.mark.slow

METHODS = {"simclr": None, "byol": None}


def test_a_worker_that_starts_slowly_is_waited_for_while_the_others_go_on(tmp_path):
    done = drive(
        tmp_path / "run",
        "9cpu-hours",
        executor="ray",
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


def test_several_trials_share_a_gpu_and_are_charged_their_part_of_it(tmp_path):
    trace = tmp_path / "trace"
    done = drive(
        tmp_path / "run",
        "9gpu-hours",
        executor="ray",
        methods={"simclr": None},
        slots=3,
        rate=0.5,  # two GPUs would hold four, and three are used
        settings={"seconds": 0.3, "trace": str(trace)},
        epochs=3,
        seeds=1,
        until="sum(trial.final for trial in fold.trials.values()) > 12",
    )
    assert done.returncode == 130, done.stdout + done.stderr
    fold = check(tmp_path / "run", trace, rate=0.5)
    assert len({sign["pid"] for sign in signs(trace)}) == 3
    assert any(trial.state == "complete" for trial in fold.trials.values())


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
    for name in ("bench/__init__.py", "queue.py", "profile.py", "ray.py"):
        (here / name).write_text('raise SystemExit("a file of the user was imported")')
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "known-to-others", "TMPDIR": str(temporary)}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    trace = folder / "trace"
    options = {"methods": METHODS, "settings": {"seconds": 0.2, "trace": str(trace)}, "epochs": 4, "seeds": 1}
    options |= {"executor": "ray", "cwd": here, "environment": environment, "words": (os.fsdecode(b"donn\xe9es"),)}
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
        "signs": signs(trace),
    }


def test_workers_are_kept_from_trial_to_trial(guarded):
    assert len({sign["uid"] for sign in guarded["signs"]}) > 2
    assert len({sign["pid"] for sign in guarded["signs"]}) == 2


def test_workers_run_with_the_priority_of_the_command(guarded):
    assert {sign["niceness"] for sign in guarded["signs"]} == {os.nice(0)}


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


def test_an_end_of_rays_loop_that_nobody_asked_for_is_an_error_and_no_signal(tmp_path, monkeypatch):
    class Tuner:
        def __init__(self, *_, **__):
            pass

        def fit(self):
            pass

    monkeypatch.setattr(tune.tune, "Tuner", Tuner)
    monkeypatch.setattr(tune.ray_cluster, "connected", lambda *_: contextlib.nullcontext("/nowhere"))
    monkeypatch.setattr(tune.ray, "nodes", list)
    calibration, _ = synthetic(1)
    ledger = Ledger(tmp_path)
    session = Session(plan_for(calibration, slots=2, trials=25, epochs=9), ledger, tmp_path, Signals())
    tune.RayTune().run(session)
    assert session.signals.received is None
    with pytest.raises(RuntimeError, match="though there was work left"):
        session.close()
    assert ledger.fold.closed == "error"
    ledger.close()
