"""Other processes of this Python, which find the modules that this one finds."""

import os
import sys
from pathlib import Path


def module(name: str, *words: str) -> list[str]:
    """The command that runs a module, and takes nothing in the working directory for another module."""
    return [sys.executable, "-P", "-m", name, *words]


def environment() -> dict[str, str]:
    """That of this process, with `import_path`."""
    return os.environ | {"PYTHONPATH": import_path()}


def import_path() -> str:
    """The PYTHONPATH of a process that is to find the modules that this one finds. The working directory comes last, so
    that nothing there is taken for another module, unless the project lies there."""
    here, project = os.getcwd(), str(Path(__file__).resolve().parents[2])
    entries = [os.path.abspath(entry) for entry in sys.path]
    first = [entry for entry in entries if here == project or os.path.realpath(entry) != here]
    return os.pathsep.join(dict.fromkeys([*first, here]))
