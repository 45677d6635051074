"""Prints what the harness costs, a line each: `python -m tests.bench.figures` (minutes; the machine should be idle), or
`python -m tests.bench.figures NAME ...` for some of them.

slots       eight logical slots, epochs of a second: share of slot time in training, gap between two trials on a slot
memory      memory of the driver for each thousand trials
resume      seconds to resume a run of 5,000 trials
overhead    a real small trainer: what a trial costs besides its epochs in a warm worker, and in a fresh one
simulation  1,000 slots and 20,000 trials in virtual time, with the default searcher
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from bench.execution import driver, session
from bench.execution.calibration import calibrate
from bench.execution.tune import RayTune
from bench.search.budget import Budget
from bench.search.experiment import Experiment
from bench.search.ledger import Ledger
from bench.search.plan import Costs, Plan
from bench.search.planning import make
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, fairness, plan_for, simulate, synthetic
from tests.bench.fake_trainer import Settings
from tests.bench.harness import FaultySpace

FAKE = "tests.bench.fake_trainer:Fake"
TINY = "tests.bench.fake_trainer:Tiny"


def resident_megabytes() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def experiment(factory: str, methods: int = 4, epochs: int = 9, **settings) -> Experiment:
    spaces = {name: FaultySpace(name) for name in ("simclr", "byol", "moco", "swav")[:methods]}
    return Experiment(spaces, factory, Settings(settings), baselines=(), epochs=epochs, seeds=1)


def quiet_run(plan: Plan, folder: Path, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        return driver.run(plan, folder, RayTune(), **options)


def slots(folder: Path) -> None:
    trace = folder / "trace"
    asked = experiment(FAKE, epochs=9, seconds=1.0, trace=str(trace))
    calibration = {method: Costs(1.0, 0.0) for method in asked.spaces}
    plan = Plan(asked, Budget("cpu", 720.0), 8, 1.0, 9, calibration, 0.0, 0.0)
    fold = quiet_run(plan, folder / "slots")
    signs: dict[int, list[tuple[float, str]]] = {}
    for line in trace.read_text().splitlines():
        entry = json.loads(line)
        signs.setdefault(entry["pid"], []).append((entry["now"], entry["uid"]))
    steady = max(times[0][0] for times in signs.values()), min(times[-1][0] for times in signs.values())
    gaps, busy = [], 0.0
    for times in signs.values():
        for (a, before), (b, after) in pairwise(times):
            if not steady[0] <= a <= b <= steady[1]:
                continue
            if before != after:
                gaps.append(b - a)
            else:
                busy += min(b - a, 0.1)  # life signs come each 0.05 s; a longer silence is no training
    share = busy / (len(signs) * (steady[1] - steady[0]))
    p95 = statistics.quantiles(gaps, n=20)[-1]
    print(
        f"slots: {share:.3f} of slot time in training in steady state (reference 0.986); gap between two trials on a "
        f"slot {statistics.median(gaps):.3f} s, 95 % below {p95:.3f} s (reference 0.03 s; Ray Tune's defaults 8.7 s); "
        f"eight slots for {steady[1] - steady[0]:.0f} s, {len(fold.trials)} trials, {len(signs)} worker processes"
    )


def memory(folder: Path) -> None:
    asked = experiment(FAKE, epochs=3, seconds=0.0)
    calibration = {method: Costs(0.02, 0.0) for method in asked.spaces}
    points: list[tuple[int, float]] = []
    plan = Plan(asked, Budget("cpu", 60.0), 2, 1.0, 3, calibration, 0.0, 0.0)
    session.RESULTS = 0.0
    quiet_run(
        plan,
        folder / "memory",
        on_results=lambda fold: points.append((len(fold.trials), resident_megabytes())),
    )
    settled = [point for point in points if point[0] >= 100] or points
    (first, low), (last, high) = settled[0], settled[-1]
    grown = f"{1000 * (high - low) / (last - first):.0f} MB" if last > first else "not measured, too few trials"
    print(
        f"memory: {grown} of the driver for each thousand trials (reference 52 to 76 MB: Ray Tune alone); "
        f"from {first} to {last} trials, {high:.0f} MB at the end"
    )


def resume(folder: Path) -> None:
    calibration, curve = synthetic(16)
    plan = plan_for(calibration, slots=64, trials=5000, epochs=27)
    ledger = MemoryLedger(keep=True)
    simulate(plan, curve, ledger)
    path = folder / "resume" / "ledger.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in ledger.events))
    began = time.perf_counter()
    opened = Ledger(path.parent)
    search = Search(plan, opened)
    for method in plan.experiment.spaces:
        search.proposals.studies.study(method)
    took = time.perf_counter() - began
    opened.close()
    print(
        f"resume: {took:.1f} s for a run of {len(opened.fold.trials)} trials (reference: none; a worker takes longer "
        f"to start); {len(ledger.events)} events, {path.stat().st_size / 1e6:.0f} MB, all studies and rungs included"
    )


def overhead(folder: Path) -> None:
    fold = quiet_run(
        make(experiment(TINY, 2, epochs=6), Budget("cpu", 40.0), 1, calibrate=calibrate), folder / "overhead"
    )
    extra = [
        trial.held - sum(report.seconds for report in trial.reports.values())
        for trial in fold.trials.values()
        if trial.final
    ]
    print(
        f"overhead: besides its epochs a trial costs {statistics.median(extra[1:]):.3f} s in a warm worker (reference "
        f"0.018 s), and {fold.startup + extra[0]:.2f} s in a fresh one (reference 2.95 s without PyTorch); a real "
        f"small trainer on one slot, median of {len(extra) - 1} trials"
    )


def simulation(folder: Path) -> None:
    calibration, curve = synthetic(16)
    # TPE's trials survive pruning more often than a plan assumes, so that fewer of them fit than are asked for.
    plan = plan_for(calibration, slots=1000, trials=27_000, epochs=27, searcher="tpe")
    began = time.process_time()
    fold, _ = simulate(plan, curve)
    took = time.process_time() - began
    print(
        f"simulation: {took:.0f} s of processor time for {len(fold.trials)} trials on {plan.slots} slots (reference: "
        f"below 60 s for 20,000); most/least device time of a method {fairness(fold, plan):.3f} (reference 1.05)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {figure.__name__: figure for figure in (slots, memory, resume, overhead, simulation)}
    parser.add_argument("figures", nargs="*", metavar="NAME", default=list(known), help=", ".join(known))
    for name in parser.parse_args().figures:
        with tempfile.TemporaryDirectory() as folder:
            known[name](Path(folder))


if __name__ == "__main__":
    main()
