"""Many values of which a few tell enough every day."""

from collections.abc import Iterable
from typing import Any

import pytest


def daily(values: Iterable[Any], some: Iterable[Any]) -> list[Any]:
    """The values as parameters of a test: `some` of them always, the others nightly. A tuple is of several names."""
    kept = list(some)

    def marked(value: Any) -> Any:
        return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.nightly)

    return [value if value in kept else marked(value) for value in values]
