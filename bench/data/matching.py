"""Which image a row of a table means: the one whose path it is, or whose path ends like it."""

from collections.abc import Iterable, Sequence

from bench.data.formats import SUFFIXES
from bench.data.labels_file import normal
from bench.data.tree import suffix_of

SEVERAL = -2
"""The place of an image where several may be meant."""


def places_of(texts: list[str], names: Sequence[str]) -> list[int]:
    """The place of the image that each text means; -1 for none, `SEVERAL` where it may be any of several.

    Images and texts may be millions: they find each other by hashing, by one rule after the other.
    """
    found = [-1] * len(texts)
    wanted = [plain_path(text) for text in texts]
    paths = [plain_path(name) for name in names]
    for stems in (False, True):
        if stems:
            paths = [path[: path.rindex(".")] if suffix_of(path) in SUFFIXES else path for path in paths]
        whole = _table(paths)
        missing = [i for i, place in enumerate(found) if place == -1 and wanted[i]]
        for i in missing:
            found[i] = whole.get(wanted[i], -1)
        for depth in sorted({wanted[i].count("/") + 1 for i in missing if found[i] == -1}):
            tails = _table("/".join(path.split("/")[-depth:]) for path in paths)
            for i in missing:
                if found[i] == -1 and wanted[i].count("/") + 1 == depth:
                    found[i] = tails.get(wanted[i], -1)
        for i in missing:
            rest = wanted[i]
            while found[i] == -1 and "/" in rest:
                rest = rest.split("/", 1)[1]
                found[i] = whole.get(rest, -1)
    return found


def _table(paths: Iterable[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for place, path in enumerate(paths):
        table[path] = SEVERAL if path in table else place
    return table


def plain_path(text: str) -> str:
    """A path in one form: / between its parts, none of which are empty or dots."""
    text = normal(text).replace("\\", "/")
    if not text.startswith((".", "/")) and "/." not in text and "//" not in text:
        return text  # most are
    return "/".join(part for part in text.split("/") if part not in ("", ".", ".."))
