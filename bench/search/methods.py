"""The names of methods, which are known without PyTorch."""

import difflib
from collections.abc import Iterable

from algorithms import METHODS, WITH_TEACHER
from bench.errors import UserError

WARM = "-warm"
"""How the name of a method ends in a run where its encoder begins with pretrained weights."""
FROZEN = "frozen-"
"""How the names of baselines begin that are pretrained networks, never trained here."""


def base(name: str) -> str:
    """The method that a warm-started one is."""
    return name.removesuffix(WARM)


def check_methods(names: Iterable[str]) -> list[str]:
    """The names as given, without repetitions. Raises UserError, with the nearest names, for an unknown one."""
    names, known = list(dict.fromkeys(names)), METHODS | WITH_TEACHER
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise UserError(f"there is no method '{name}'; did you mean {' or '.join(near)}?")
    return names
