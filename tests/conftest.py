"""What holds for every test.

Those marked `slow` run where SSL_BENCH_SLOW_TESTS=1 is set, as every night: they show of each method, or of each value,
what others show of some.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

# Timing decides no test: a busy machine is not a bug.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


SLOW = "SSL_BENCH_SLOW_TESTS"


def pytest_configure(config):
    config.addinivalue_line("markers", f"slow: runs where {SLOW}=1 is set")


def pytest_collection_modifyitems(items):
    if os.environ.get(SLOW) != "1":
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason=f"slow; {SLOW}=1 runs it"))


@pytest.fixture(autouse=True, scope="session")
def float32():
    """On every machine, whether it computes in bfloat16 or not: what is compared is compared to more digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        yield
