"""WebDataset: images and labels in .tar shards, file beside file, a sample being those whose names begin alike.

Of `0001.jpg` and `0001.cls` the key is `0001`. The label is the text of `.cls`, or in `.json` what stands at `label`,
`class` or `cls`. After "The WebDataset Format", https://github.com/webdataset/webdataset.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import numpy as np

from bench.data.archives import Archive, stem_of
from bench.data.conventions import IMAGES, joined_names, joining, split_of
from bench.data.formats import SUFFIXES
from bench.data.paths import Paths
from bench.data.source import VALIDATION_UNUSED, Asked, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import Progress, counts
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

FIELDS = ("label", "class", "cls")
"""Where a label stands in .json."""
MAIN = {"", "input", *IMAGES}
"""What the kind of a sample's own image begins with, unlike that of a mask: jpg, image.png; seg.png."""
Shards = Sequence[tuple[str, Archive]]
"""The path below the root of each, which is empty where it is the root itself; and what it holds."""
Label = int | str | None


def is_webdataset(archives: Iterable[Archive], series: bool) -> bool:
    """Whether the files in archives are samples and not files in class folders; `series` says whether the archives are
    numbered."""
    told = alone = 0
    folders = 1
    for archive in archives:
        found = set()
        for folder, kinds in _samples(archive):
            if images := sum(map(_is_image, kinds)):
                if "cls" in kinds:
                    return True
                found.add(folder)
                told += len(kinds) > images or images > 1
                alone += len(kinds) == 1
        folders = max(folders, len(found))
    return folders == 1 and told + alone > 0 and (series or told >= alone)


def find(root: Path, shards: Shards, asked: Asked) -> EncodedSource:
    """The images in shards. Raises UserError where there are none."""
    by_split: dict[str, list[tuple[str, Archive]]] = {}
    for name, archive in shards:
        by_split.setdefault(split_of(Path(stem_of(name))) or "", []).append((name, archive))
    remarks, others = [], list[tuple[str, Archive]]()
    if train := by_split.pop("train", []):
        if others := by_split.pop("", []):
            named = enumeration(valid(name) for name, _ in others)
            remarks.append(f"{amount(len(others), 'shard')} beside those of splits passed over: {named}")
    elif not (train := by_split.pop("", [])):
        remarks.append(f"there are no shards of training images: those of {enumeration(by_split)} are taken together")
        train, by_split = [each for of in by_split.values() for each in of], {}
    splits = {"train": train} | {split: by_split[split] for split in ("test", "validation") if split in by_split}
    if asked.everything and others:
        splits[""] = others
    order, said = _kinds(archive for each in splits.values() for _, archive in each)
    parts = {split: _Part(each, order) for split, each in splits.items()}
    if not len(parts["train"].paths):
        raise UserError(f"{root} holds no training images in its shards")
    unread = asked.unlabelled or asked.labels is not None
    values: dict[str, list[Label]] = {
        split: [None] * len(part.paths) if unread else part.labels() for split, part in parts.items()
    }
    labels, classes, more = _labels(root, values)
    remarks += said + more
    if not classes and not unread:
        remarks.append("no image has a label: samples have no .cls of two classes, and none in .json (label, class)")
    judged = [split for split in ("test", "validation") if split in parts and len(parts[split].paths)]
    for split in [split for split in judged if classes and not (labels[split] >= 0).any()]:
        judged.remove(split)
        remarks.append(f"{amount(len(parts[split].paths), f'{split} image')} without labels left out")
    aside = [split for split in parts if split not in ("train", *judged[:1])] if asked.everything else []
    return EncodedSource(
        parts["train"].encoded(labels["train"]),
        parts[judged[0]].encoded(labels[judged[0]]) if judged else None,
        classes,
        VALIDATION_UNUSED if len(judged) > 1 else "",
        tuple(remarks),
        judged[0] if judged else "test",
        {split: parts[split].encoded(labels[split]) for split in aside},
    )


def _is_image(kind: str) -> bool:
    return "." + kind.rpartition(".")[2] in SUFFIXES


def _samples(archive: Archive) -> Iterator[tuple[str, dict[str, int]]]:
    """Of each sample its folder, and the numbers of its files by kind, such as jpg, seg.png, cls."""

    def key(number: int) -> tuple[str, str]:
        folder, _, name = archive.names[number].rpartition("/")
        return folder, name.partition(".")[0]

    by_name = sorted(range(len(archive.names)), key=archive.names.__getitem__)  # their order is often any
    for (folder, stem), group in groupby(by_name, key=key):
        numbers = list(group)
        if archive.cut_off and len(archive.names) - 1 in numbers:
            continue  # its label may be cut off
        if all(map(counts, [stem or ".", *(part for part in folder.split("/") if part not in ("", "."))])):
            yield folder, {archive.names[i].rpartition("/")[2].partition(".")[2].lower(): i for i in numbers}


def _kinds(archives: Iterable[Archive]) -> tuple[dict[str, int], list[str]]:
    """The kinds of images, those that are taken rather first; and a remark where samples have several."""
    found: Counter[str] = Counter()
    several: Counter[str] = Counter()
    for archive in archives:
        for _, kinds in _samples(archive):
            images = [kind for kind in kinds if _is_image(kind)]
            found.update(images)
            several.update(images if len(images) > 1 else ())
    order = sorted(found, key=lambda kind: (kind.rpartition(".")[0] not in MAIN, -found[kind], kind))
    among = [kind for kind in order if kind in several]
    remarks = [f"samples have several images ({enumeration(map(valid, among))}); {among[0]} is taken"] if among else []
    return {kind: place for place, kind in enumerate(order)}, remarks


class _Part:
    """The samples of a split that have an image."""

    def __init__(self, shards: Shards, order: dict[str, int]):
        self.shards = shards
        self.paths = Paths()
        self.images: list[list[int]] = []
        """The number of each sample's image in its shard, by shard."""
        self.told: list[list[int]] = []
        """Of the file that says its label, -1 where there is none."""
        for name, archive in shards:
            samples = []
            for _, kinds in _samples(archive):
                if found := sorted(filter(_is_image, kinds), key=order.__getitem__):
                    samples.append((kinds[found[0]], kinds.get("cls", kinds.get("json", -1))))
            samples.sort()  # as an archive that is compressed can be read
            self.images.append([image for image, _ in samples])
            self.told.append([label for _, label in samples])
            place = (name,) if name else ()
            self.paths.extend((place, archive.names[image]) for image, _ in samples)

    def labels(self) -> list[Label]:
        """What each sample's label is, None where it has none."""
        found: list[Label] = []
        progress = Progress("reading labels")
        for (name, archive), told in zip(self.shards, self.told, strict=True):
            numbers = sorted({number for number in told if number >= 0})
            label_of: dict[int, Label] = {-1: None}
            for number, content in zip(numbers, archive.read(numbers), strict=True):
                progress.tell(1)
                read = content() if callable(content) else content
                assert isinstance(read, bytes), "archives give bytes"
                label_of[number] = _label(f"{name or archive.path}/{archive.names[number]}", read)
            found += [label_of[number] for number in told]
        return found

    def encoded(self, labels: Integers) -> EncodedSplit:
        starts = np.cumsum([0, *map(len, self.images)])
        stamp = sha256()
        for _, archive in self.shards:
            stamp.update(archive.stamp())
        for path in self.paths:
            stamp.update(path.encode() + b"\0")

        def read(places: Integers) -> Iterator[tuple[str, Encoded]]:
            for (_, archive), images, start, end in zip(self.shards, self.images, starts, starts[1:], strict=False):
                wanted = places[(places >= start) & (places < end)].tolist()
                numbers = (images[place - int(start)] for place in wanted)
                yield from zip((self.paths[place] for place in wanted), archive.read(numbers), strict=True)

        return EncodedSplit(labels, read, names=self.paths, stamp=stamp.hexdigest())


def _label(name: str, content: bytes) -> Label:
    """The label in a .cls or .json."""
    text = content.decode(errors="replace").strip()
    value: object = text
    if name.lower().endswith(".json"):
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise UserError(f"{valid(name)} is no JSON, so that it says no label") from None
        value = next((fields[field] for field in FIELDS if field in fields), None) if isinstance(fields, dict) else None
    elif text.lstrip("+-").isdecimal():
        value = int(text)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "" or (isinstance(value, int) and value < 0):
        return None
    if not isinstance(value, int | str):
        raise UserError(f"the label in {valid(name)} is {valid(repr(value)[:60])}; labels are integers or strings")
    return str(value) if isinstance(value, bool) else value


def _labels(root: Path, values: dict[str, list[Label]]) -> tuple[dict[str, Integers], tuple[str, ...], list[str]]:
    """Labels as places in one list of classes, that list, and remarks."""
    known = {split: set(of) - {None} for split, of in values.items()}
    kinds = {type(value) for of in known.values() for value in of}
    if len(kinds) > 1:
        raise UserError(f"some labels in the shards of {root} are strings and some are integers; they should be alike")
    remarks: list[str] = []
    spelled: dict[str, dict[Label, Label]] = {split: {} for split in values}
    if kinds == {str}:
        for split in values.keys() - {"train"}:
            joined = joined_names(map(str, known[split]), {str(name) for name in known["train"]})
            spelled[split] = {name: known_as for name, known_as in joined.items()}
            remarks += joining(split, joined)
    if len(known["train"]) < 2:
        return {split: np.full(len(of), -1, dtype=np.int64) for split, of in values.items()}, (), remarks
    every = sorted({spelled[split].get(value, value) for split, of in known.items() for value in of}, key=_order)
    place: dict[Label, int] = {None: -1} | {value: number for number, value in enumerate(every)}
    labels = {
        split: np.array([place[spelled[split].get(value, value)] for value in of], dtype=np.int64)
        for split, of in values.items()
    }
    return labels, tuple(valid(str(value)) for value in every), remarks


def _order(label: Label) -> tuple[int, str]:
    return (label, "") if isinstance(label, int) else (0, str(label))
