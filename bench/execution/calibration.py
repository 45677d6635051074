"""Measures what trainings cost here, before a run: `python -m bench.execution.calibration`, a process of its own on one
slot."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.execution import factory, interpreter
from bench.execution.factory import Calibration
from bench.execution.failures import kind_of_error
from bench.search.description import duration
from bench.search.experiment import Experiment
from bench.search.job import Job
from bench.search.plan import Costs
from bench.search.planning import MOST_EPOCHS


def calibrate(experiment: Experiment) -> dict[str, Any]:
    """`calibration`, {method or baseline: {"epoch", "evaluation", "start" and, where the published recipe is another
    one than ours, "published": seconds, and "protocols": {protocol: seconds}}} (`Plan.calibration`); `startup`, a
    worker's seconds; `choices`, those that are left of the search spaces (`Plan.choices`); `halved`, what is measured
    with half the images in a step, as the memory was out with all; `memory`, {method or baseline: peak bytes on the
    device}; `device_memory`, its bytes (both 0 where not told).

    Measured in a process of its own on one slot, so that nothing stays behind in this one. Raises UserError with
    the process's last line if it fails.
    """
    spaces = {m: space.defaults for m, space in experiment.spaces.items()} | {b: {} for b in experiment.baselines}
    print("Calibrating, once in a run:", end="", flush=True)
    jobs = [
        Job(
            uid=f"{method}-calibration",
            method=method,
            stage="search" if method in experiment.spaces else "baseline",
            seed=experiment.seed,
            hyperparameters=hyperparameters,
            epochs=experiment.epochs or MOST_EPOCHS,
        )
        for method, hyperparameters in spaces.items()
    ]
    task = {
        "factory": experiment.factory,
        "settings": experiment.settings.to_json(),
        "jobs": [job.to_json() for job in jobs],
        "choices": {method: space.choices for method, space in experiment.spaces.items()},
        "recipes": {method: space.recipes for method, space in experiment.spaces.items()},
        "protocols": experiment.protocols,
    }
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "calibration.json"
        limit = max(60.0, experiment.patience) * len(jobs)
        try:
            process = subprocess.run(
                interpreter.module("bench.execution.calibration", str(answer)),
                input=json.dumps(task),
                text=True,
                errors="replace",
                stderr=subprocess.PIPE,
                env=interpreter.environment(),
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"calibration took more than {duration(limit)}; the device may hang") from None
        finally:
            print(flush=True)
        if process.returncode != 0:
            last = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise UserError(f"calibration failed: {last}")
        measured: dict[str, Any] = json.loads(answer.read_text())
        return measured


def _calibration_process(answer: str) -> None:
    began = time.monotonic()
    task = json.load(sys.stdin)
    trainers = factory.make(task["factory"], task["settings"])
    trainers.prepare()
    startup = time.monotonic() - began
    calibration, choices, halved, memory, device_memory = {}, {}, [], {}, 0

    def measure(job: Job) -> list[tuple[Calibration, float]]:
        """Of each recipe, with the seconds that beginning takes; the last is ours."""
        measured = []
        for recipe in task["recipes"].get(job.method, [job.hyperparameters]):
            one = dataclasses.replace(job, hyperparameters=recipe)
            found = trainers.calibrate(one)
            before = time.monotonic()  # data and imports are in place now, as they are in a warm worker
            trainers.build(one)
            measured.append((found, time.monotonic() - before))
        return measured

    for job in map(Job.from_json, task["jobs"]):
        method = job.method
        print(f" {method}", end="", flush=True)
        found = None
        try:
            found = measure(job)
        except Exception as error:
            if kind_of_error(error) != "memory":
                raise
        if found is None:  # here, where the error no longer keeps what filled the memory
            halved.append(method)
            job = dataclasses.replace(job, halved=True)
            found = measure(job)
        if left := _distinct(job, task["choices"].get(method, {}), trainers.effective):
            choices[method] = left
        ours, start = found[-1]
        published = found[0][0].epoch if len(found) > 1 else None
        judging = trainers.judging_seconds(job, task["protocols"]) if task["protocols"] else {}
        calibration[method] = Costs(ours.epoch, ours.evaluation, start, published, judging).to_json()
        memory[method] = max(each.memory for each, _ in found)
        device_memory = max(device_memory, ours.device_memory)
    content = {"calibration": calibration, "startup": startup, "choices": choices, "halved": halved}
    Path(answer).write_text(json.dumps(content | {"memory": memory, "device_memory": device_memory}))


def _distinct(
    job: Job, choices: Mapping[str, list[Any]], effective: Callable[[Job], Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """What is left of the choices of each hyper-parameter of which several have the same effect, the others being as
    the job has them: of those that have it, the job's own choice, else the first."""
    own, left = job.hyperparameters, {}
    for name, values in choices.items():
        kept: dict[str, Any] = {}
        for value in sorted(values, key=lambda value: value != own[name]):
            effect = effective(dataclasses.replace(job, hyperparameters={**own, name: value}))
            kept.setdefault(json.dumps(effect, sort_keys=True), value)
        if len(kept) < len(values):
            left[name] = [value for value in values if value in kept.values()]
    return left


if __name__ == "__main__":
    _calibration_process(sys.argv[1])
