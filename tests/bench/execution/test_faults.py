"""What a run must survive: drivers, workers and nodes that die, trainers that go wrong, signals, a full disk, clocks
that jump; on plain processes, and what Ray has a part in on Ray too. After each, `harness.check` holds. (Torn ledgers,
old formats and a second driver's lock are in test_ledger.py, full disks without a run in test_full_disk.py.)"""

import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

from bench.search import ledger as ledgers
from bench.search.events import read_events
from bench.search.fold import read
from bench.search.ledger import Ledger
from bench.search.schedulers import Full
from bench.search.simulate import plan_for, simulate, synthetic
from tests.bench.harness import check, drive, reports, signs, start, wait_for_reports
from tests.daily import daily

pytestmark = pytest.mark.slow

METHODS = {"simclr": None, "byol": None}
FAULTS = ("nan", "infinity", "collapse", "exception", "memory", "hang", "kill", "untellable")


@pytest.mark.parametrize(
    ("executor", "kills"), daily([("processes", 8), ("processes", 20), ("ray", 1)], [("processes", 8), ("ray", 1)])
)
def test_kills_of_the_driver_lose_nothing_and_repeat_nothing(tmp_path, executor, kills):
    run_dir, trace = tmp_path / "run", tmp_path / "trace"
    generator, former = random.Random(0), []
    budget = "3000cpu-seconds"  # more than is spent before the last kill, however busy the machine
    options = {
        "methods": METHODS,
        # Ray takes longer from trial to trial, which the charge has and the trace has not.
        "settings": {"seconds": 0.3 if executor == "ray" else 0.1, "trace": str(trace)}
        | {"stateless": executor == "processes"},
        "epochs": 9,
        "seeds": 1,
        "executor": executor,
    }
    while not (run_dir / "ledger.jsonl").exists() or reports(run_dir) < 3:  # calibrated, begun
        process = start(run_dir, budget, **options)
        wait_for_reports(process, run_dir, 3)
        process.kill()
        process.communicate()
    for kill in range(1, kills):
        former.append(read_events(run_dir / "ledger.jsonl")[0])
        process = start(run_dir, budget, **options)
        if kill % 2:  # while it works
            wait_for_reports(process, run_dir, generator.randint(1, 6))
            time.sleep(generator.uniform(0, 0.2))
        else:  # while it starts
            time.sleep(generator.uniform(0, 2))
        assert process.poll() is None
        process.kill()
        process.communicate()
    former.append(read_events(run_dir / "ledger.jsonl")[0])
    spent = read(run_dir / "ledger.jsonl").charged
    done = drive(run_dir, f"{spent + (40 if executor == 'ray' else 20):.0f}cpu-seconds", **options)
    assert done.returncode == 0, done.stdout + done.stderr
    fold = check(run_dir, trace, former)
    assert len(fold.sessions) >= max(2, kills // 2)
    if fold.closed == "done":
        for method in METHODS:
            states = [trial.state for trial in fold.confirming(method)]
            assert states[0] == "complete"  # the seed that was asked for; more, where time was left, may be cut
            assert set(states) <= {"complete", "cut"}


@pytest.mark.parametrize(("executor", "faults"), [("processes", FAULTS), ("ray", ("hang", "untellable"))])
def test_trainers_that_go_wrong_fail_with_the_reason_and_the_others_do_not_suffer(tmp_path, executor, faults):
    trace = tmp_path / "trace"
    failed = "any(trial.state == 'failed' for trial in fold.by_method.get(method, ()))"
    done = drive(
        tmp_path / "run",
        "9cpu-hours",
        methods={"clean": None} | {fault: fault for fault in faults},
        settings={"seconds": 0.1, "trace": str(trace)},
        epochs=4,
        seeds=1,
        scheduler="full",
        patience=1.0,
        executor=executor,
        until=f"all({failed} for method in {faults})",
    )
    assert done.returncode == 130, done.stdout + done.stderr
    fold = check(tmp_path / "run", trace, scheduler=Full)
    reasons = {
        "nan": r"loss is nan at epoch 3",
        "infinity": r"loss is inf at epoch 3",
        "collapse": r"collapsed: feature_std is 0.001 at epoch 3",
        "exception": r"ValueError: three is too many \(fake_trainer.py:\d+\)",
        "memory": r"out of memory: .*1 TiB \(fake_trainer.py:\d+\)",
        "hang": r"time limit: an epoch took more than 0:00:0\d.*, at fake_trainer.py:\d+",
        "kill": r"lost 3 workers without an epoch between them: its worker died",
        "untellable": r"lost 3 workers without an epoch between them: its worker ended with TypeError: .*complex.*",
    }
    kinds = {"nan": "diverged", "infinity": "diverged", "collapse": "collapsed", "exception": "error"}
    kinds |= {"memory": "memory", "hang": "hung", "kill": "lost", "untellable": "lost"}
    for method in faults:
        faulty = [t for t in fold.of(method, "search") if t.number > 0 and t.final]
        assert faulty
        for trial in faulty:
            assert trial.state == "failed"
            assert re.fullmatch(reasons[method], trial.reason), trial.reason
            assert trial.kind == kinds[method]
            assert trial.epoch == (3 if method in ("nan", "infinity", "collapse") else 2)
            assert trial.attempts == (3 if method in ("kill", "untellable") else 1)
        assert fold.trials[f"{method}-0000"].state == "complete"
    assert {t.state for t in fold.of("clean", "search")} <= {"complete", "cut"}
    assert "Traceback" not in done.stdout + done.stderr


def test_a_killed_worker_costs_at_most_the_epochs_since_the_last_checkpoint(tmp_path):
    trace, once = tmp_path / "trace", tmp_path / "once"
    once.mkdir()
    done = drive(
        tmp_path / "run",
        "9cpu-hours",
        methods={"simclr": "kill"},
        settings={"seconds": 0.3, "stateless": False, "trace": str(trace), "once": str(once)},
        epochs=5,
        seeds=1,
        scheduler="full",
        until="sum(trial.attempts == 2 and trial.final for trial in fold.trials.values()) >= 2",
    )
    assert done.returncode == 130, done.stdout + done.stderr
    fold = check(tmp_path / "run", trace, scheduler=Full)
    assert fold.closed == "interrupted"
    assert all(trial.state != "running" for trial in fold.trials.values())
    killed = [trial for trial in fold.trials.values() if trial.final and trial.attempts == 2]
    assert len(killed) >= 2
    told = signs(trace)
    for trial in killed:
        assert trial.state == "complete"
        own = [(sign["pid"], sign["epoch"]) for sign in told if sign["uid"] == trial.uid]
        first, second = (min(e for p, e in own if p == pid) for pid in dict.fromkeys(p for p, _ in own))
        assert first == 0
        assert second >= 1  # what the first worker had saved was not trained again


def test_a_node_that_dies_gives_its_trials_to_the_others(tmp_path):
    run_dir, trace = tmp_path / "run", tmp_path / "trace"
    options = {"methods": METHODS, "settings": {"seconds": 0.3, "trace": str(trace)}, "epochs": 5, "seeds": 1}
    until = "any(trial.attempts == 2 and trial.final for trial in fold.trials.values()) and len(fold.trials) > 12"
    process = start(run_dir, "9cpu-hours", nodes=2, until=until, **options)
    try:
        wait_for_reports(process, run_dir, 12)
        process.send_signal(signal.SIGUSR2)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 130, out + err
    fold = check(run_dir, trace)
    events = read_events(run_dir / "ledger.jsonl")[0]
    lost = [event["uid"] for event in events if event["event"] == "lost"]
    assert len(lost) == 1
    assert fold.trials[lost[0]].attempts == 2
    assert fold.trials[lost[0]].final
    running, most = set(), [0]  # how many trials held a slot at a time, before the loss and after it
    for event in events:
        if event["event"] == "assigned":
            running.add(event["uid"])
        elif event["event"] in ("lost", "cut", "failed") or event.get("decision", "continue") != "continue":
            running.discard(event["uid"])
        if event["event"] == "lost":
            most.append(0)
        most[-1] = max(most[-1], len(running))
    assert most == [2, 1]


def test_nothing_is_charged_after_a_signal_though_a_worker_is_starting(tmp_path):
    """SIGUSR1, which Tune takes for itself, made it wait for that worker; a trial beside it was charged till then."""
    run_dir, trace = tmp_path / "run", tmp_path / "trace"
    options = {"settings": {"seconds": 0.3, "trace": str(trace)}, "epochs": 12, "seeds": 1, "scheduler": "full"}
    process = start(run_dir, "9cpu-hours", executor="ray", methods={"simclr": "kill"}, **options)
    try:
        wait_for_reports(process, run_dir, 1)
        while not any(event["event"] == "lost" for event in read_events(run_dir / "ledger.jsonl")[0]):
            wait_for_reports(process, run_dir, 1)
        wait_for_reports(process, run_dir, 1)
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGUSR1, out + err
    assert "the same command continues" in out
    assert check(run_dir, trace, scheduler=Full).closed == "interrupted"


def test_signals_end_a_run_in_good_order_and_the_same_command_continues(tmp_path):
    """And a second driver is refused while the first one runs."""
    run_dir, trace, former, cut = tmp_path / "run", tmp_path / "trace", [], []
    options = {"methods": METHODS, "settings": {"seconds": 0.3, "trace": str(trace)}, "epochs": 5, "seeds": 1}
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(run_dir, "9cpu-hours", **options)
        try:
            wait_for_reports(process, run_dir, 8)
            second = drive(run_dir, "9cpu-hours", **options) if number == signal.SIGINT else None
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        if second is not None:
            assert second.returncode == 2
            assert re.fullmatch(r"error: .* is in use by another run \(process \d+ on .*\); .*\n", second.stdout)
        assert process.returncode == 128 + number, out + err
        assert "the same command continues" in out
        assert "Traceback" not in out + err
        check(run_dir, trace, former)
        events = read_events(run_dir / "ledger.jsonl")[0]
        assert events[-1]["reason"] == "interrupted"
        began = max(place for place, event in enumerate(events) if event["event"] == "session")
        now = [event["uid"] for event in events[began:] if event["event"] == "cut"]
        assert 1 <= len(now) <= 2
        cut += now
        former.append(events)
    again = f"all(fold.trials[uid].final for uid in {cut})"
    done = drive(run_dir, "9cpu-hours", until=again, **options)
    assert done.returncode == 130, done.stdout + done.stderr
    fold = check(run_dir, trace, former)
    for uid in cut:
        assert fold.trials[uid].attempts == 1 + cut.count(uid)


def test_a_full_disk_stops_the_run_with_one_line_and_it_continues_when_there_is_space(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("test of a full disk: this user may not mount a tmpfs")
    run_dir, trace = place / "run", tmp_path / "trace"
    options = {"methods": {"simclr": None}, "settings": {"seconds": 0.2, "trace": str(trace)}, "epochs": 5, "seeds": 1}
    try:
        process = start(run_dir, "9cpu-hours", **options)
        try:
            wait_for_reports(process, run_dir, 60)  # beside which what a full disk leaves uncharged is little
            with open(place / "filler", "wb") as file:
                try:
                    while process.poll() is None:
                        os.write(file.fileno(), b"0" * 1024)
                except OSError:
                    pass
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 2, out + err
        last = out.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert "No space left" in last
        assert "Traceback" not in out + err
        check(run_dir, trace)
        former = read_events(run_dir / "ledger.jsonl")[0]
        os.unlink(place / "filler")
        done = drive(run_dir, "9cpu-hours", until=f"len(fold.arrivals) > {reports(run_dir) + 10}", **options)
        assert done.returncode == 130, done.stdout + done.stderr
        check(run_dir, trace, [former])
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_clock_that_jumps_changes_no_charge_and_no_decision(tmp_path, monkeypatch):
    calibration, curve = synthetic(2)
    plan = plan_for(calibration, slots=2, trials=25, epochs=9)
    steady = Ledger(tmp_path / "steady")
    simulate(plan, curve, steady)
    generator = random.Random(1)
    monkeypatch.setattr(ledgers.time, "time", lambda: generator.uniform(-1e9, 3e9))
    jumping = Ledger(tmp_path / "jumping")
    simulate(plan, curve, jumping)
    monkeypatch.undo()
    used = sum(curve(trial.job, epoch)[1] for trial in jumping.fold.trials.values() for epoch in trial.reports)
    assert jumping.fold.charged == pytest.approx(used)
    for ledger in (steady, jumping):
        ledger.close()
    events = [read_events(ledger.path)[0] for ledger in (steady, jumping)]
    for event in events[0] + events[1]:
        del event["time"]
    assert events[0] == events[1]
    assert jumping.fold.spent == steady.fold.spent


@pytest.mark.parametrize("first", ['{"event":"run","format":0,"settings":{}}\n', 'not a ledger\n{"event":"session"}\n'])
def test_a_folder_of_another_version_is_refused_in_one_line_and_left_alone(tmp_path, first):
    path = tmp_path / "ledger.jsonl"
    path.write_text(first)
    done = drive(tmp_path, "50cpu-seconds", methods=METHODS, epochs=3)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*(format 0, this version reads 1 and 2|line 1 is damaged).*--fresh.*\n", done.stdout)
    assert path.read_text() == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["ledger.jsonl"]
