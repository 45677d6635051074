"""The names of methods, which are known without PyTorch."""

import difflib
from collections.abc import Iterable

from algorithms import METHODS
from bench.errors import UserError

WARM = "-warm"
"""How the name of a method ends in a run where its encoder begins with pretrained weights."""
FROZEN = "frozen-"
"""How the names of baselines begin that are pretrained networks, never trained here."""


def check_methods(names: Iterable[str]) -> list[str]:
    """The names as given, without repetitions. Raises UserError, with the nearest names, for an unknown one."""
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=3) or sorted(METHODS)
            raise UserError(f"there is no method '{name}'; did you mean {' or '.join(near)}?")
    return names
