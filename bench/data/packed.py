"""Images in archives: one that is given, or those in a folder that holds no images beside them.

An archive stands for the folder that it was made of, and shards of one series for one folder; unless they are
WebDataset's.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import groupby, tee
from pathlib import Path

import numpy as np

from bench.data import folders, webdataset
from bench.data.archives import Archive, is_archive, opened, stem_of
from bench.data.paths import Paths, Place
from bench.data.source import Asked, Encoded, EncodedSource
from bench.data.tree import Tree, counts
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

NUMBERED = re.compile(r"(.*?)[-_.]?(\d{3,})(?:-of-(\d+))?")
"""The name of a shard: of a series, its number, how many there are."""


def find(tree: Tree, asked: Asked) -> EncodedSource | None:
    """The images in archives, None where there are no archives, or images beside them."""
    root = tree.root
    if root.is_file():
        files: list[tuple[Place, str]] = [((), "")] if is_archive(root.name) else []
    elif any(tree.images.values()):
        return None
    else:
        files = [(place, name) for place in sorted(tree.others) for name in tree.others[place] if is_archive(name)]
    if not files:
        return None
    mounts = [_mount(place, name) if len(files) > 1 else place for place, name in files]
    series = len(set(mounts)) < len(files)
    archives: list[tuple[str, Place, Archive]] = []
    remarks, lost = _missing(files) if series else [], list[UserError]()
    for mount, (place, name) in zip(mounts, files, strict=True):
        try:
            archives.append(("/".join((*place, name)), mount, opened(root.joinpath(*place, name))))
        except UserError as error:
            if mounts.count(mount) == 1:
                raise
            lost.append(error)
    if not archives:
        raise UserError(f"none of the {len(files)} shards in {root} can be read; the first: {lost[0]}")
    remarks += [f"a shard is left out: {error}" for error in lost]
    every = [archive for _, _, archive in archives]
    remarks += [remark for archive in every for remark in archive.told()]
    if webdataset.is_webdataset(every, series):
        source = webdataset.find(root, [(name, archive) for name, _, archive in archives], asked)
        if not root.is_file():
            others = sum(map(len, tree.others.values())) - len(files)
            remarks += [f"{amount(others, 'other file')} beside the shards passed over"] if others else []
    else:
        source = folders.find(ArchiveTree(root, [(mount, archive) for _, mount, archive in archives]), asked)
    return replace(source, remarks=(*remarks, *source.remarks))


def _mount(place: Place, name: str) -> Place:
    """The folder for which an archive stands."""
    stem = stem_of(name)
    if match := NUMBERED.fullmatch(stem):
        return (*place, match[1]) if match[1] else place
    return (*place, stem)


def _missing(files: list[tuple[Place, str]]) -> list[str]:
    """A remark for each series of shards in which numbers are missing."""
    found: dict[tuple[Path, int], set[int]] = {}
    for place, name in files:
        if match := NUMBERED.fullmatch(stem_of(name)):
            found.setdefault((Path(*place, match[1]), int(match[3] or 0)), set()).add(int(match[2]))
    remarks = []
    for (series, of), numbers in found.items():
        expected = range(of) if of else range(min(numbers), max(numbers) + 1)
        if lost := sorted(set(expected) - numbers):
            named = enumeration(map(str, lost))
            remarks.append(f"{len(lost)} of the {len(expected)} shards of {valid(str(series))} are missing: {named}")
    return remarks


class ArchiveTree(Tree):
    """The files in archives, each of which stands for the folder at which it is mounted."""

    def __init__(self, root: Path, mounted: list[tuple[Place, Archive]]):
        self.mounted = mounted
        self.firsts = np.cumsum([0, *(len(archive.names) for _, archive in mounted)])
        """The number of each archive's first file among the files of all."""
        self.numbers: dict[Place, dict[str, int]] = {}
        """The number of each file, by folder and name."""
        super().__init__(root)

    def _list(self) -> None:
        folders: dict[Place, set[str]] = {(): set()}
        stamp = sha256()
        for (top, archive), first in zip(self.mounted, self.firsts.tolist(), strict=False):
            stamp.update(archive.stamp())
            known: dict[str, Place] = {}
            for number, path in enumerate(archive.names):
                folder, _, name = path.rpartition("/")
                if (place := known.get(folder)) is None:
                    place = known[folder] = (*top, *(part for part in folder.split("/") if part not in ("", ".", "..")))
                    for depth in range(len(place)):
                        folders.setdefault(place[:depth], set()).add(place[depth])
                    folders.setdefault(place, set())
                if name and counts(name) and all(map(counts, place)):
                    of_place = self.numbers.setdefault(place, {})
                    if of_place.get(name, first) < first:
                        raise UserError(f"{self.root} has {valid(path)} in two archives; give one of them")
                    of_place[name] = first + number  # of two of one name in an archive the later is meant
        for place in sorted(folders):
            if all(map(counts, place)):
                names = sorted(self.numbers.get(place, {}))
                self._add(place, names, stamp.digest(), sorted(filter(counts, folders[place])))

    def content(self, place: Place, name: str) -> bytes:
        archive, number = self._found(self.numbers[place][name])
        return self.mounted[archive][1].content(number)

    def order(self, paths: Paths) -> list[int] | None:
        if not any(archive.in_order for _, archive in self.mounted):
            return None
        numbers = [self.numbers[place][name] for place, name in paths.files()]
        return sorted(range(len(numbers)), key=numbers.__getitem__)

    def read(self, paths: Paths, places: Iterable[int]) -> Iterator[tuple[str, Encoded]]:
        found = ((int(i), *self._found(self.numbers[paths.places[i]][paths.names[i]])) for i in places)
        for archive, files in groupby(found, key=lambda each: each[1]):
            first, second = tee(files)
            read = self.mounted[archive][1].read(number for _, _, number in second)
            yield from zip((paths[i] for i, _, _ in first), read, strict=True)

    def _found(self, number: int) -> tuple[int, int]:
        """Which archive, and which of its files."""
        archive = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return archive, number - int(self.firsts[archive])
