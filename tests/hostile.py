"""For tests: a working directory in which everything is called as something that is imported."""

from pathlib import Path

SEARCHER = """
import optuna


def find(seed):
    return optuna.samplers.RandomSampler(seed)
"""


def hostile(folder: Path) -> None:
    """Put files into a folder that fail when they are imported, and `mine.py` with a searcher, which works."""
    for name in ("algorithms/__init__.py", "bench/__init__.py", "search_spaces/__init__.py", "profile.py", "queue.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f'raise SystemExit("{name} was imported")')
    (folder / "mine.py").write_text(SEARCHER)
