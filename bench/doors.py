"""Doors for what users bring: `package.module:attribute`, or `path/to/file.py:attribute`."""

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import UserError


def is_door(name: str) -> bool:
    """Whether a name on the command line leads to what a user brings, and is none of ours."""
    return ":" in name


def absolute(name: str) -> str:
    """The same door for a process that works in another folder."""
    place, colon, attribute = name.rpartition(":")
    return f"{Path(place).resolve()}{colon}{attribute}" if place.endswith(".py") else name


def short(name: str) -> str:
    """What a door is called in tables: the same from whichever folder."""
    place, colon, attribute = name.rpartition(":")
    return f"{Path(place).name}{colon}{attribute}" if place.endswith(".py") else name


def load(kind: str, name: str, otherwise: str) -> Any:
    """What the door leads to. `kind` (such as "encoder") and `otherwise`, what would be right, are for the message.

    Raises UserError where there is no such file, module or attribute, and where the file cannot be imported.
    """
    place, _, attribute = name.rpartition(":")
    missing = UserError(f"there is no {kind} {name!r}; {otherwise}")
    of_file = place.endswith(".py")
    if not place or not attribute or (not os.path.isfile(place) if of_file else place.startswith(".")):
        raise missing
    try:
        module = _module(place)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise missing from None
        raise refused(kind, name, "be imported", error, otherwise) from None
    if not hasattr(module, attribute):
        raise missing
    return getattr(module, attribute)


def refused(kind: str, name: str, does: str, error: BaseException, otherwise: str) -> UserError:
    """What to raise where a user's own code fails."""
    line = (str(error).splitlines() or [""])[0]
    return UserError(f"the {kind} {name!r} cannot {does} ({type(error).__name__}: {line}); {otherwise}")


def file(name: str) -> Path:
    """The file behind a door that was loaded. Raises UserError where there is none, as of what is built in."""
    path = getattr(_module(name.rpartition(":")[0]), "__file__", None)
    if path is None:
        raise UserError(f"{name!r} is in no file; write it into one of your own")
    return Path(path)


def source(name: str) -> str:
    """The SHA-256 of the file behind a door that was loaded, 12 hexadecimal digits: with it, a run is of that code."""
    return hashlib.sha256(file(name).read_bytes()).hexdigest()[:12]


def _module(place: str) -> ModuleType:
    return _of_file(Path(place).resolve()) if place.endswith(".py") else importlib.import_module(place)


def _of_file(path: Path) -> ModuleType:
    """The module in a file, imported once; under a name that hides no other module."""
    name = f"door_{hashlib.sha256(bytes(path)).hexdigest()[:12]}"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        try:
            specification.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
