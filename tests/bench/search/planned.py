"""Experiments and their plans, for tests."""

import dataclasses
from typing import ClassVar

from bench.execution import calibration as calibrating
from bench.execution.factory import Calibration
from bench.search import planning
from bench.search.events import FORMAT
from bench.search.experiment import Experiment
from bench.search.ledger import Ledger
from bench.search.simulate import Space
from tests.bench.fake_trainer import Fake, Settings

FAKE = "tests.bench.fake_trainer:Fake"


CALIBRATING = 7.0
"""Seconds that a calibration takes in these tests."""


SPACES = {method: Space(method) for method in ("simclr", "byol", "moco")}


def experiment(**values):
    values = {"spaces": SPACES, "factory": FAKE, "settings": {"seconds": 0.5}} | values
    settings = Settings(values.pop("settings"), values.pop("local", {}))
    return Experiment(settings=settings, **values)


def make(*asked, **options):
    return planning.make(*asked, **options, calibrate=lambda experiment: calibrating.calibrate(experiment))


def start(run_dir, plan):
    ledger = Ledger(run_dir)
    ledger.append("run", format=FORMAT, settings=plan.experiment.identity(), plan=plan.to_json())
    ledger.close()


H100 = {"device": "NVIDIA H100 in bfloat16", "versions": {"torch": "2.11.0", "ray": "2.60"}}


T4 = {"device": "Tesla T4 in float32", "versions": {"torch": "2.11.0", "ray": "2.60"}}


NEWER = {"device": "Tesla T4 in float32", "versions": {"torch": "2.12.0", "ray": "2.60"}}


def session(run_dir, facts, **values):
    """Adds a session to the run in the folder, with the `plan` that it calibrated anew (`bench.execution.tune.run`)."""
    ledger = Ledger(run_dir)
    budget = {"device": "gpu", "seconds": 3600}
    number = len(ledger.fold.sessions)
    ledger.append("session", number=number, budget=budget, slots=1, rate=1.0, share=1.0, facts=facts, **values)
    ledger.close()


class Choices(Space):
    """`x` and two choices, of which some train the same (`Heads` below)."""

    choices: ClassVar = {"heads": [1, 2, 3, 4], "queue": [8, 16, 32]}

    def narrowed(self, choices):
        return dataclasses.replace(self, hash=f"{self.hash} of {choices}")


class Heads(Fake):
    """At most two heads, of a halved trial three, and the queue that the settings name, if any."""

    def calibrate(self, job):
        if self.settings.get("holds half") and not job.halved:
            raise MemoryError
        return Calibration(1.0, 0.0, 5, 7)

    def effective(self, job):
        given, most = job.hyperparameters, 3 if job.halved else 2
        queue = self.settings["queue"] or given["queue"]
        return {"x": given["x"], "heads": min(given["heads"], most), "queue": queue}


def with_batches(**sizes):
    """Methods with these batches, in a memory that holds 64 images."""
    spaces = {method: Space(method, defaults={"x": 0.5, "batch_size": size}) for method, size in sizes.items()}
    return experiment(spaces=spaces, settings={"seconds": 0.5, "holds": 64}, baselines=("random",))
