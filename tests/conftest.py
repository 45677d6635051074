"""What holds for every test."""

import pytest
import torch
from hypothesis import HealthCheck, settings

# Timing decides no test: a busy machine is not a bug.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def float32():
    """On every machine, whether it computes in bfloat16 or not: what is compared is compared to more digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        yield
