"""What holds for every test.

Those marked `slow` take more than a second or two: `-m "not slow"` leaves them out. Those marked `nightly` run where
SSL_BENCH_NIGHTLY_TESTS=1 is set: they show of each method, or of each value, what others show of some.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch: two tests run at a time

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# Timing decides no test: a busy machine is not a bug.
NIGHTLY = "SSL_BENCH_NIGHTLY_TESTS"
EXAMPLES = 100 if os.environ.get(NIGHTLY) == "1" else 40
settings.register_profile("untimed", deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a second or two")
    config.addinivalue_line("markers", f"nightly: runs where {NIGHTLY}=1 is set")


def pytest_collection_modifyitems(items):
    if os.environ.get(NIGHTLY) != "1":
        for item in items:
            if item.get_closest_marker("nightly"):
                item.add_marker(pytest.mark.skip(reason=f"nightly; {NIGHTLY}=1 runs it"))


@pytest.fixture(autouse=True, scope="session")
def data_cache() -> Iterator[Path]:
    """Images are decoded into a folder of the tests' own."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_BENCH_CACHE", folder)
        yield Path(folder)


@pytest.fixture(autouse=True, scope="session")
def float32():
    """On every machine, whether it computes in bfloat16 or not: what is compared is compared to more digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        yield
