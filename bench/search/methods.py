"""The names of methods, which are known without PyTorch."""

import difflib
from collections.abc import Iterable

from algorithms import GROUPS, METHODS, WITH_TEACHER
from bench import doors
from bench.errors import UserError

WARM = "-warm"
"""How the name of a method ends in a run where its encoder begins with pretrained weights."""
FROZEN = "frozen-"
"""How the names of baselines begin that are pretrained networks, never trained here."""


def base(name: str) -> str:
    """The method that a warm-started one is."""
    return name.removesuffix(WARM)


def check_methods(names: Iterable[str], groups: Iterable[str] = ()) -> list[str]:
    """The names as given, without repetitions. Raises UserError, with the nearest of the names and `groups`, for an
    unknown one."""
    names, known = list(dict.fromkeys(names)), METHODS | WITH_TEACHER
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, [*groups, *known], n=3) or sorted(known)
            raise UserError(f"there is no method '{name}'; did you mean {' or '.join(near)}?")
    return names


def named(text: str, teacher: bool = False) -> tuple[str, ...]:
    """The methods that a text names: groups (`algorithms.GROUPS`), names and doors with commas between them; a minus
    sign takes a name or a group out of those before it. Methods that follow a teacher are among all where there is one.
    Raises UserError."""
    chosen: dict[str, None] = {}
    for word in text.split(","):
        name = word.removeprefix("-")
        if name in GROUPS:
            some: tuple[str, ...] = GROUPS[name] + (tuple(WITH_TEACHER) if teacher and name == "all" else ())
        else:
            some = (name,) if doors.is_door(name) else tuple(check_methods([name], GROUPS))
        if word == name:
            chosen |= dict.fromkeys(some)
        elif not chosen.keys() & set(some):
            raise UserError(f"{word} takes out nothing: no {name} stands before it, as in all,{word}")
        else:
            chosen = {one: None for one in chosen if one not in some}
    if not chosen:
        raise UserError(f"{text} leaves no method; name one")
    return tuple(chosen)
