"""The names of data sets, and whether there is one of a name or at a path: known without PyTorch."""

import difflib
import os
import re
from pathlib import Path

from bench import doors
from bench.errors import UserError

NAMES = ("shapes", "cifar10", "cifar100", "stl10", "svhn", "fashionmnist")


def name_of(name_or_path: str | Path) -> str | None:
    """The name that is meant, in whatever case and form (CIFAR-10), unless there is something at such a path."""
    given = str(name_or_path)
    if given in NAMES:
        return given
    name = re.sub("[-_ ]", "", given.lower())
    return name if name in NAMES and not os.path.lexists(given) else None


def check(name_or_path: str | Path) -> None:
    """Raises UserError, with the nearest names, where there is no data set of this name and nothing at this path, and
    it is no door."""
    known = str(name_or_path)
    if name_of(name_or_path):
        return
    if not known.strip():
        raise UserError("the data set has no name; give a path, or one of " + ", ".join(NAMES))
    try:
        exists = Path(name_or_path).expanduser().exists()
    except RuntimeError:  # without a home: who reads it says what to do
        return
    except OSError as error:  # such as of a name that is too long
        raise UserError(f"there is no data set and no path '{known[:60]}' ({error.strerror})") from None
    if not exists and not doors.is_door(known):
        near = difflib.get_close_matches(known.lower(), NAMES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"give a path, or one of {', '.join(NAMES)}"
        raise UserError(f"there is no data set and no path '{known}'; {hint}")
