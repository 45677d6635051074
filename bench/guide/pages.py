"""All pages as files."""

from pathlib import Path

from bench.files import write_atomically
from bench.guide.index import NAMES, index
from bench.guide.page import page


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {"index.md": index(), **{f"{name}.md": page(name) for name in NAMES}}


def write(folder: Path) -> list[Path]:
    """Write every page into a folder. Raises OSError."""
    written = []
    for file, text in pages().items():
        write_atomically(folder / file, text)
        written.append(folder / file)
    return written
