"""A search for tests."""

import pytest

from bench.search.search import Search
from bench.search.simulate import MemoryLedger
from tests.bench.search.driving import small


@pytest.fixture
def search():
    plan, _ = small(slots=4)
    return Search(plan, MemoryLedger(keep=True), clock=lambda: 0.0)
