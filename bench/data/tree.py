"""The files below a folder, and which of them are images."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.data.conventions import UNLABELLED
from bench.data.formats import SUFFIXES
from bench.data.wording import amount, enumeration, valid

BY_SYSTEMS = {
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx"),
    *("thumbs.db", "desktop.ini"),
}
"""What storage and operating systems put between a user's files, thumbnails of the same images among it."""

Place = tuple[str, ...]
"""A folder below the root: the names on the way to it."""


class Tree:
    """The files below a folder, each once; hidden ones and those of `BY_SYSTEMS` are passed over."""

    def __init__(self, root: Path):
        self.root = root
        self.images: dict[Place, list[str]] = {}
        """The names of the images in each folder, sorted."""
        self.others: dict[Place, list[str]] = {}
        """Those of all other files."""
        self.again: list[tuple[Place, Place]] = []
        """(link, folder) where a link leads to a folder that is in the tree already."""
        self.unreadable: list[tuple[str, str]] = []
        """Folders, and why."""
        seen: dict[str, Place] = {}
        starts = [root]
        for start in starts:  # which grows: links are looked into last, so that a folder goes by its own name
            for folder, folders, files in os.walk(start, onerror=self._note):
                place, real = Path(folder).relative_to(root).parts, os.path.realpath(folder)
                if real in seen:
                    self.again.append((place, seen[real]))
                    folders.clear()
                    continue
                seen[real] = place
                folders[:] = sorted(filter(_counts, folders))
                names = sorted(filter(_counts, files))
                self.images[place] = [name for name in names if suffix_of(name) in SUFFIXES]
                self.others[place] = [name for name in names if suffix_of(name) not in SUFFIXES]
                starts += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]

    def _note(self, error: OSError) -> None:
        folder = Path(error.filename)
        if folder == self.root:
            if isinstance(error, NotADirectoryError):
                return  # a file
            raise error
        self.unreadable.append((valid(str(folder.relative_to(self.root))), str(error.strerror)))

    def folders(self) -> list[str]:
        """The folders in the root itself, also those to which links lead."""
        return sorted({place[0] for place in [*self.images, *(link for link, _ in self.again)] if place})

    def children(self, top: Place) -> dict[str, list[Place]]:
        """The folders in the folder `top`, each with itself and all folders below it."""
        below: dict[str, list[Place]] = {}
        for place in self.images:
            if len(place) > len(top) and place[: len(top)] == top:
                below.setdefault(place[len(top)], []).append(place)
        return below

    def paths(self, places: Iterable[Place]) -> list[Path]:
        """The images in these folders, sorted."""
        return sorted(self.root.joinpath(*place, name) for place in places for name in self.images[place])

    def classes(self, top: Place = ()) -> dict[str, list[Path]]:
        """The images below each folder in `top`, by its name; folders without images are left out."""
        folders: dict[str, list[Path]] = {}
        for child, places in self.children(top).items():
            if paths := self.paths(places):
                name = "unlabelled" if child.lower() in UNLABELLED else valid(child)
                folders[name] = sorted(folders.get(name, []) + paths)
        return folders


def passed_over(folders: Iterable[list[str]]) -> list[str]:
    """A remark on files that are of no use here, given by their names in each folder."""
    kinds = Counter(suffix_of(name) or "without a suffix" for names in folders for name in names)
    named = enumeration(f"{count:,} {valid(kind)}" for kind, count in kinds.most_common())
    return [f"{amount(kinds.total(), 'other file')} passed over: {named}"] if kinds else []


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in BY_SYSTEMS


def suffix_of(name: str) -> str:
    return os.path.splitext(name)[1].lower().rstrip(".")


def snapshot(root: Path) -> tuple[Path, list[str]]:
    """The newest snapshot where `root` is a data set in Hugging Face's cache, else `root`; and a remark on it."""
    if not (root / "snapshots").is_dir() or not (root / "blobs").is_dir():
        return root, []
    found = sorted(
        (child for child in (root / "snapshots").iterdir() if child.is_dir()),
        key=lambda child: (child.stat().st_mtime, child.name),
    )
    if not found:
        return root, []
    latest = root / "refs" / "main"
    named = latest.read_text(errors="replace").strip() if latest.is_file() else None
    newest = next((child for child in found if child.name == named), found[-1])
    others = len(found) - 1
    return newest, [f"{valid(newest.name)} is the newest of {others + 1} snapshots and is used"] if others else []
