"""Doors for what users bring: `package.module:attribute`, or `path/to/file.py:attribute`."""

import hashlib
import importlib
import importlib.util
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
    if not place or not attribute or (place.startswith(".") and not of_file):
        raise missing
    try:
        module = _of_file(Path(place)) if of_file else importlib.import_module(place)
    except Exception as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}.")
        if absent or isinstance(error, FileNotFoundError):
            raise missing from None
        raise refused(kind, name, "be imported", error, otherwise) from None
    if not hasattr(module, attribute):
        raise missing
    return getattr(module, attribute)


def refused(kind: str, name: str, does: str, error: BaseException, otherwise: str) -> UserError:
    """What to raise where a user's own code fails."""
    line = (str(error).splitlines() or [""])[0]
    return UserError(f"the {kind} {name!r} cannot {does} ({type(error).__name__}: {line}); {otherwise}")


def _of_file(path: Path) -> ModuleType:
    """The module in a file, imported once; under a name that hides no other module."""
    path = path.resolve()
    name = f"door_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
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


def source(name: str) -> str:
    """The SHA-256 of the file behind a door that was loaded, 12 hexadecimal digits: with it, a run is of that code."""
    place, _, _ = name.rpartition(":")
    module = _of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    content = Path(module.__file__).read_bytes() if module.__file__ else b""
    return hashlib.sha256(content).hexdigest()[:12]
