"""A search, and a calibration that takes no time."""

import types

import pytest

from bench.execution import calibration as calibrating
from bench.search import planning
from bench.search.search import Search
from bench.search.simulate import MemoryLedger
from tests.bench.search.driving import small
from tests.bench.search.planned import CALIBRATING


@pytest.fixture
def search():
    plan, _ = small(slots=4)
    return Search(plan, MemoryLedger(keep=True), clock=lambda: 0.0)


@pytest.fixture
def calibrated(monkeypatch):
    """Calibration as the fake trainer would give it, without its process."""
    calls = []

    now = [100.0]

    def calibrate(experiment):
        calls.append(experiment)
        now[0] += CALIBRATING
        names = [*experiment.spaces, *experiment.baselines]
        seconds = {name: {"epoch": 0.5, "evaluation": 0.1, "start": 0.0} for name in names}
        return {"calibration": seconds, "startup": 2.0, "choices": {}, "halved": []}

    monkeypatch.setattr(planning, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(calibrating, "calibrate", calibrate)
    return calls
