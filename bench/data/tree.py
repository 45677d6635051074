"""The files below a folder, and which of them are images."""

import os
import stat
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from bench.data.conventions import UNLABELLED
from bench.data.formats import SUFFIXES
from bench.data.paths import Paths, Place, join
from bench.data.source import Encoded
from bench.data.wording import amount, enumeration, valid

MAY_BE_IMAGES = {*SUFFIXES, ""}
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
"""Of files without a suffix, these are images; and WebP, which begins as other media do."""
BY_SYSTEMS = {
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx"),
    *("thumbs.db", "desktop.ini"),
}
"""What storage and operating systems put between a user's files, thumbnails of the same images among it."""


class Tree:
    """The files below a folder, each once; hidden ones and those of `BY_SYSTEMS` are passed over."""

    def __init__(self, root: Path):
        self.root = root
        self.images: dict[Place, list[str]] = {}
        """The names of the images in each folder, sorted."""
        self.others: dict[Place, list[str]] = {}
        """Those of all other files."""
        self.below: dict[Place, list[str]] = {}
        """Those of the folders in each folder that are in the tree."""
        self.stamps: dict[Place, bytes] = {}
        """Of each folder: a hash of its images' names, sizes and times."""
        self.again: list[tuple[Place, Place]] = []
        """(link, folder) where a link leads to a folder that is in the tree already."""
        self.unreadable: list[tuple[str, str]] = []
        """Folders, and why."""
        self._list()

    def _list(self) -> None:
        seen: dict[str, Place] = {}
        progress = Progress(f"listing {self.root}")
        starts: list[Place] = [()]
        for start in starts:  # which grows: links are looked into last, so that a folder goes by its own name
            stack = [start]
            while stack:
                place = stack.pop()
                folder = os.path.join(self.root, *place)
                real = os.path.realpath(folder)
                if real in seen:
                    self.again.append((place, seen[real]))
                    continue
                seen[real] = place
                try:
                    folders, links = self._scan(place, folder)
                except NotADirectoryError:
                    continue  # a file
                except OSError as error:
                    if not place:
                        raise
                    self.unreadable.append((valid("/".join(place)), str(error.strerror)))
                    continue
                stack += [(*place, name) for name in reversed(folders)]
                starts += [(*place, name) for name in links]
                progress.tell(len(self.images[place]) + len(self.others[place]))
        for place in self.images:
            self.below[place] = sorted(name for name in self.below[place] if (*place, name) in self.images)

    def _scan(self, place: Place, folder: str) -> tuple[list[str], list[str]]:
        """List one folder; returns the folders in it, and the links to folders."""
        folders, links, names, apart = list[str](), list[str](), list[str](), list[str]()
        facts = array("q")  # the size of each and when it last changed, which no copying or unpacking can set back
        with os.scandir(folder) as entries:
            for entry in entries:
                if not counts(entry.name):
                    continue
                try:
                    if entry.is_dir():
                        (links if entry.is_symlink() else folders).append(entry.name)
                        continue
                    found = entry.stat()
                    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
                        apart.append(entry.name)
                        continue
                    facts.extend((found.st_size, found.st_ctime_ns))
                except OSError:  # of a link that leads nowhere, which decoding will tell
                    facts.extend((-1, -1))
                names.append(entry.name)
        order = sorted(range(len(names)), key=names.__getitem__)
        stamp = sha256()
        for i in order:
            if suffix_of(names[i]) in MAY_BE_IMAGES:
                stamp.update(b"%s\0%d %d\n" % (os.fsencode(names[i]), facts[2 * i], facts[2 * i + 1]))
        self._add(place, [names[i] for i in order], stamp.digest(), sorted(folders) + sorted(links))
        if not self.images[place]:  # then what has no suffix is looked at
            looked = {
                name
                for name in self.others[place]
                if not suffix_of(name) and _looks_like_an_image(os.path.join(folder, name))
            }
            self.images[place] = [name for name in self.others[place] if name in looked]
            self.others[place] = [name for name in self.others[place] if name not in looked]
        self.others[place] += apart
        return sorted(folders), sorted(links)

    def _add(self, place: Place, names: list[str], stamp: bytes, below: list[str]) -> None:
        """Add the files and folders of these names in a folder."""
        self.images[place] = [name for name in names if suffix_of(name) in SUFFIXES]
        self.others[place] = [name for name in names if suffix_of(name) not in SUFFIXES]
        self.below[place] = below
        self.stamps[place] = stamp

    def files(self, top: Place = ()) -> Iterator[tuple[Place, str]]:
        """The images below a folder, in the order of their paths."""
        stack = [self._entries(top)]
        while stack:
            for place, name, is_folder in stack[-1]:
                if is_folder:
                    stack.append(self._entries((*place, name)))
                    break
                yield place, name
            else:
                stack.pop()

    def _entries(self, place: Place) -> Iterator[tuple[Place, str, bool]]:
        if not (below := self.below[place]):
            return ((place, name, False) for name in self.images[place])
        entries = [(name, False) for name in self.images[place]] + [(name, True) for name in below]
        return ((place, name, is_folder) for name, is_folder in sorted(entries))

    def folders(self, top: Place = ()) -> list[str]:
        """The folders in `top` that hold images at some depth."""
        return [name for name in self.below[top] if any(True for _ in self.files((*top, name)))]

    def places(self, top: Place) -> list[Place]:
        """The folder `top` and all folders below it."""
        found = [top]
        for place in found:  # which grows
            found += [(*place, name) for name in self.below[place]]
        return found

    def classes(self, top: Place = ()) -> dict[str, Paths]:
        """The images below each folder in `top`, by its name; those in `top` itself are unlabelled."""
        found: dict[str, Paths] = {}
        for child in self.folders(top):
            name = "unlabelled" if child.lower() in UNLABELLED else valid(child)
            join(found, {name: Paths(self.files((*top, child)))})
        if loose := self.images[top]:
            join(found, {"unlabelled": Paths((top, name) for name in loose)})
        return found

    def content(self, place: Place, name: str) -> bytes:
        return self.root.joinpath(*place, name).read_bytes()

    def order(self, paths: Paths) -> list[int] | None:
        """The order in which images can be read, where it is not any."""
        return None

    def read(self, paths: Paths, places: Iterable[int]) -> Iterator[tuple[str, Encoded]]:
        """The name and the encoded image at each of these rising places."""
        return ((paths[i], self.root.joinpath(*paths.places[i], paths.names[i])) for i in places)

    def stamp(self, paths: Paths) -> str:
        """A hash of these images' names, sizes and times."""
        digest = sha256()
        for place in dict.fromkeys(paths.places):
            digest.update(self.stamps[place])
        for place, name in paths.files():
            digest.update(valid("/".join((*place, name))).encode() + b"\0")
        return digest.hexdigest()


class Progress:
    """Lines on stderr for work that takes long."""

    def __init__(self, what: str):
        self.what = what
        self.files = 0
        self.began = self.told = time.monotonic()

    def tell(self, more: int) -> None:
        self.files += more
        if (now := time.monotonic()) - self.told > 3:
            self.told = now
            print(valid(f"{self.what}: {self.files:,} files, {now - self.began:.0f} s"), file=sys.stderr)


def passed_over(folders: Iterable[list[str]]) -> list[str]:
    """A remark on files that are of no use here, given by their names in each folder."""
    kinds = Counter(suffix_of(name) or "without a suffix" for names in folders for name in names)
    named = enumeration(f"{count:,} {valid(kind)}" for kind, count in kinds.most_common())
    return [f"{amount(kinds.total(), 'other file')} passed over: {named}"] if kinds else []


def counts(name: str) -> bool:
    """Whether a file or folder of this name is a user's own."""
    return not name.startswith(".") and name.lower() not in BY_SYSTEMS


def suffix_of(name: str) -> str:
    """The suffix in lower case, with its dot; empty where there is none."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and suffix and stem.strip(".") else ""


def _looks_like_an_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(BEGINNINGS) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


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
