"""Where the images at a path are and what their labels are: in class folders, or in Parquet files."""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.errors import UserError, one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow would run Ghostscript for some others
SUFFIXES = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
SPLITS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "validation": {"validation", "valid", "val", "dev"},
}
UNLABELLED = {"unlabelled", "unlabeled"}
UNUSED = "; its validation images left out"
BY_SYSTEMS = {
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx"),
    *("thumbs.db", "desktop.ini"),
}
"""What storage and operating systems put between a user's files, thumbnails of the same images among it."""
PARTS = {
    *("image", "images", "img", "imgs", "jpegimages", "picture", "pictures"),
    *("annotation", "annotations", "label", "labels", "mask", "masks", "segmentation", "segmentations", "trimaps"),
}
"""Folders of these names, side by side, are two views of the same things and not two classes."""
NAMED_LABELS = ("label", "labels", "class", "category", "target")
NOT_LABELS = re.compile(r"(^|[_-])(id|ids|idx|index|row|width|height|size)([_-]|$)")
"""Columns of integers with such names are no labels, even where there is no other."""

Encoded = bytes | Path | None


@dataclass(frozen=True)
class Listing:
    """Encoded images, and how to get at them."""

    labels: np.ndarray
    """int64 [N]; -1 = unlabelled."""
    read: Callable[[np.ndarray], Iterator[tuple[str, Encoded]]]
    """Rising places -> the name and the encoded image of each."""


@dataclass(frozen=True)
class Found:
    train: Listing
    test: Listing | None
    classes: tuple[str, ...]
    note: str = ""
    remarks: tuple[str, ...] = ()
    """What a user should know of it, a sentence each."""


def find(path: Path) -> Found:
    """The images in the Parquet files below `path` (or in that file), else those below its class folders.

    Raises UserError where it is not clear which are meant, and OSError where `path` cannot be read.
    """
    root, remarks = _snapshot(path)
    tree = _Tree(root)
    found = _list_parquet(tree) or _list_folders(tree)
    remarks += [f"the folder {name} cannot be read and is left out ({why})" for name, why in tree.unreadable]
    return replace(found, remarks=(*remarks, *found.remarks))


def valid(text: str) -> str:
    """`text` as valid Unicode: in names of files, what is not UTF-8 comes as lone surrogates; they are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def amount(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def enumeration(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _snapshot(root: Path) -> tuple[Path, list[str]]:
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


Place = tuple[str, ...]
"""A folder below the root: the names on the way to it."""


class _Tree:
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
                self.images[place] = [name for name in names if _suffix(name) in SUFFIXES]
                self.others[place] = [name for name in names if _suffix(name) not in SUFFIXES]
                starts += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]

    def _note(self, error: OSError) -> None:
        folder = Path(error.filename)
        if folder == self.root:
            if isinstance(error, NotADirectoryError):
                return  # a file
            raise error
        self.unreadable.append((valid(str(folder.relative_to(self.root))), error.strerror))

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


def _passed_over(folders: Iterable[list[str]]) -> list[str]:
    """A remark on files that are of no use here, given by their names in each folder."""
    kinds = Counter(_suffix(name) or "without a suffix" for names in folders for name in names)
    named = enumeration(f"{count:,} {valid(kind)}" for kind, count in kinds.most_common())
    return [f"{amount(kinds.total(), 'other file')} passed over: {named}"] if kinds else []


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in BY_SYSTEMS


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower().rstrip(".")


def _joined(names: Iterable[str], known: Set[str]) -> dict[str, str]:
    """What training calls those of a split's class `names` that it spells otherwise: `known` names that differ from
    them in case or in Unicode's form alone."""
    names = set(names)
    by_form: dict[str, list[str]] = {}
    for name in sorted(known - names):  # where a split has both Cat and cat, they are two classes
        by_form.setdefault(_form(name), []).append(name)
    candidates = {name: by_form.get(_form(name), []) for name in sorted(names - known)}
    return {name: of[0] for name, of in candidates.items() if len(of) == 1}


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _joining(split: str, joined: dict[str, str]) -> list[str]:
    named = enumeration(f"'{name}' is '{known}'" for name, known in joined.items())
    return [f"{split} spells classes in another case or Unicode form than training: {named}"] if joined else []


# --------------------------------------------------------------------------------------------------- class folders


def _list_folders(tree: _Tree) -> Found:
    """The images below a folder of class folders."""
    root = tree.root
    if not root.is_dir():
        raise UserError(
            f"{root} is neither a folder nor a Parquet file; give a folder of Parquet files or class folders"
        )
    folder_of: dict[str, str] = {}
    for name in tree.folders():
        for split in (split for split, words in SPLITS.items() if name.lower() in words):
            if split in folder_of:
                raise UserError(f"{root} has two folders of {split} images; leave one of them")
            folder_of[split] = name
    train = tree.classes((folder_of["train"],)) if "train" in folder_of else {}
    in_splits, remarks, judged, tops = bool(train), [], [], [()]
    if in_splits:
        tops = [(folder_of["train"],)]
        for child, places in tree.children(()).items():
            if child.lower() in UNLABELLED:
                train["unlabelled"] = sorted(train.get("unlabelled", []) + tree.paths(places))
        known = train.keys() - UNLABELLED
        for split in ("test", "validation"):
            folders, said = _labelled(tree, split, folder_of.get(split), known)
            remarks += said
            if folders:
                judged.append(folders)
                tops.append((folder_of[split],))
    else:
        train = tree.classes()
        _check_splits(tree, train, folder_of)
    _check_links(tree, set(folder_of.values()) if in_splits else None)
    if not train:
        what = "holds images but no class folders" if tree.images[()] else "holds no images"
        others = "".join(f" ({said})" for said in _passed_over(tree.others.values()))
        raise UserError(f"{root} {what}; it should hold Parquet files, or a folder of images for each class{others}")
    remarks += _check_depth(tree, tops[0])
    remarks += _left_aside(tree, tops, set(folder_of.values()) if in_splits else None)
    test = judged[0] if judged else None
    classes = tuple(sorted({*train, *(test or {})} - UNLABELLED))

    def listing(folders: dict[str, list[Path]]) -> Listing:
        paths = [path for folder in sorted(folders) for path in folders[folder]]
        place = {name: number for number, name in enumerate(classes)}
        labels = [place.get(folder, -1) for folder in sorted(folders) for _ in folders[folder]]

        def read(places: np.ndarray) -> Iterator[tuple[str, Encoded]]:
            return ((valid(str(paths[i].relative_to(root))), paths[i]) for i in places)

        return Listing(np.array(labels, dtype=np.int64), read)

    note = UNUSED if len(judged) > 1 else ""
    return Found(listing(train), listing(test) if test else None, classes, note, tuple(remarks))


def _labelled(tree: _Tree, split: str, folder: str | None, known: Set[str]) -> tuple[dict[str, list[Path]], list[str]]:
    """The images of a split by their classes, as training calls them; none where they have no labels. And remarks."""
    every = tree.paths(place for place in tree.images if place[:1] == (folder,))
    if not every:
        return {}, []
    folders = tree.classes((folder,))
    annotations = f"{folder}_annotations.txt"  # Tiny ImageNet names the classes of its validation images there
    if annotations in tree.others[(folder,)]:
        tree.others[(folder,)].remove(annotations)  # it is not passed over
        lines = (tree.root / folder / annotations).read_text(errors="replace").splitlines()
        class_of = dict(line.split("\t")[:2] for line in lines if "\t" in line)
        folders = {}
        for path in every:
            folders.setdefault(class_of.get(path.name, "unlabelled"), []).append(path)
    joined = _joined(folders.keys() - UNLABELLED, known)
    merged: dict[str, list[Path]] = {}
    for name, paths in folders.items():
        merged.setdefault(joined.get(name, name), []).extend(paths)
    if merged.keys() & known:
        return {name: sorted(paths) for name, paths in merged.items()}, _joining(split, joined)
    named = enumeration(sorted(folders.keys() - UNLABELLED))
    why = f"its folders ({named}) are none of the training classes" if named else "they are in no class folders"
    return {}, [f"{amount(len(every), 'image')} without labels in {valid(folder)} left out: {why}"]


def _check_splits(tree: _Tree, train: dict[str, list[Path]], folder_of: dict[str, str]) -> None:
    """Refuse folders that are splits by their names."""
    root = tree.root
    splits = {name: split for name in train if (split := _split_of(Path(name)))}
    if len(set(splits.values())) > 1:
        if folder_of.get("train") in train:
            raise UserError(
                f"{root / folder_of['train']} holds images but no class folders; it should hold a folder of images "
                "for each class"
            )
        raise UserError(
            f"{root} has the folders {', '.join(sorted(splits))}, which look like parts of a data set and not like "
            "classes; name them train and test, or give one of them alone and a part of it is held out"
        )


def _check_links(tree: _Tree, splits: set[str] | None) -> None:
    """Refuse links that put the same folder into two classes or splits (the folders `splits`, where there are some)."""

    def owner(place: Place) -> Place:
        return place[:1] if splits is None else place[:2]

    for link, folder in tree.again:
        above = link[: len(folder)] == folder
        outside = splits is not None and not {link[0], folder[0] if folder else ""} <= splits
        if not above and not outside and owner(link) != owner(folder):
            raise UserError(
                f"{tree.root.joinpath(*link)} and {tree.root.joinpath(*folder)} lead to the same folder, so the same "
                "images would count twice; remove one of them"
            )


def _check_depth(tree: _Tree, top: Place) -> list[str]:
    """Refuse folders that are no classes: kinds of files by their names, and one that holds the classes. A remark where
    all classes hold the same folders."""
    inner: dict[str, set[str]] = {}
    for child, places in tree.children(top).items():
        holding = [place[len(top) + 1 :] for place in places if tree.images[place]]
        if holding and child.lower() not in UNLABELLED:
            inner[child] = {valid(place[0]) for place in holding if place} if () not in holding else set()
    if not inner:
        return []
    kinds = sorted(child for child in inner if child.lower() in PARTS)
    if len(kinds) > 1:
        raise UserError(
            f"{tree.root.joinpath(*top)} has the folders {', '.join(kinds)}, which look like kinds of files and not "
            "like classes; give the one that holds a folder of images for each class"
        )
    first, same = next(iter(inner.items()))
    deeper = tree.root.joinpath(*top, first)
    if len(inner) == 1 and same:
        raise UserError(
            f"{tree.root.joinpath(*top)} has images in one folder only, {first}, and that holds the folders "
            f"{enumeration(sorted(same))}; if those are the classes or splits, give {deeper}"
        )
    if len(inner) > 1 and len(same) > 1 and all(folders == same for folders in inner.values()):
        return [
            f"each of the classes {enumeration(map(valid, sorted(inner)))} holds the folders "
            f"{enumeration(sorted(same))}; if those are the classes, give one of them, such as {valid(str(deeper))}"
        ]
    return []


def _left_aside(tree: _Tree, tops: list[Place], splits: set[str] | None) -> list[str]:
    """Remarks on what lies below the root and is not used: the class folders are those in `tops`, and `splits` are the
    folders of splits, where there are some."""
    aside: Counter[str] = Counter()
    loose = 0
    for place, names in tree.images.items():
        if splits is not None and place and place[0] not in splits and place[0].lower() not in UNLABELLED:
            aside[place[0]] += len(names)
        elif place in tops or not place:
            loose += len(names)
    empty = [
        valid("/".join((*top, child)))
        for top in tops
        for child, places in tree.children(top).items()
        if any(tree.others[place] for place in places) and not any(tree.images[place] for place in places)
    ]
    remarks = [f"{amount(loose, 'image')} in no class folder passed over"] if loose else []
    if empty:
        remarks.append(f"no image of a known kind in the folders {enumeration(empty)}")
    if aside.total():
        named = enumeration(sorted(valid(name) for name, count in aside.items() if count))
        remarks.append(f"{amount(aside.total(), 'image')} beside the folders of splits passed over, in {named}")
    return remarks + _passed_over(tree.others.values())


# ----------------------------------------------------------------------------------------------------- Parquet files


def _list_parquet(tree: _Tree) -> Found | None:
    """The images in Parquet files, None where there are no such files."""
    root = tree.root
    places = sorted(
        Path(*place, name) for place, names in tree.others.items() for name in names if _suffix(name) == ".parquet"
    )
    names_of = {root / place: place for place in places}
    if root.is_file() and _suffix(root.name) == ".parquet":
        names_of = {root: Path(root.name)}
    if not names_of:
        return None
    by_split: dict[str | None, list[Path]] = {}
    for file, name in names_of.items():
        # A file that is given alone is what there is, whatever it is called.
        by_split.setdefault(None if root.is_file() else _split_of(name), []).append(file)
    others = by_split.pop(None, [])
    _check_one_set(root, by_split)
    train = by_split.get("train") or others
    if not train:
        raise UserError(
            f"{root} has no training images; the name of a Parquet file of them should contain 'train' (of a file that "
            "is given alone, a part is held out)"
        )
    note = f"; {len(others)} other files left out" if others and train is not others else ""
    remarks = _missing(names_of.values())

    image, label = _columns(train[0])
    used = {"train": train} | {split: by_split[split] for split in ("test", "validation") if split in by_split}
    tables = {
        file: _ParquetFile(file, valid(str(names_of[file])), image, label, split == "train")
        for split, files in used.items()
        for file in files
    }
    labels = {file: of for file, table in tables.items() if (of := table.labels()) is not None and len(of)}
    rows = {file: pq.read_metadata(file).num_rows for file in tables}
    labelled = {split: [file for file in files if file in labels] for split, files in used.items()}
    kinds = {of.dtype.kind: file for file, of in labels.items()}
    if len(kinds) > 1:
        raise UserError(f"the column '{label}' holds strings in {kinds['U']}, but numbers in {kinds['i']}")
    if any(tables[file].names for file in labels):
        labels, classes, joinings = _by_name(labelled, tables, labels)
    else:
        joinings = []
        if "U" in kinds:
            labels, joinings = _spelled_as_in_training(labelled, labels)
        none = "" if "U" in kinds else -1
        values = np.unique(np.concatenate([*labels.values()] or [np.empty(0, np.int64)]))
        values = values[values != none]
        labels = {file: np.where(of != none, np.searchsorted(values, of), -1) for file, of in labels.items()}
        classes = tuple(str(value) for value in values)
    labels |= {file: np.full(count, -1) for file, count in rows.items() if file not in labels}
    _check_guess(train[0], label, np.concatenate([labels[file] for file in train]))

    def listing(files: list[Path]) -> Listing:
        starts = np.cumsum([0, *(len(labels[file]) for file in files)])

        def read(places: np.ndarray) -> Iterator[tuple[str, Encoded]]:
            for file, start, end in zip(files, starts, starts[1:], strict=False):
                yield from tables[file].read(places[(places >= start) & (places < end)] - start)

        return Listing(np.concatenate([labels[file] for file in files]), read)

    # Hugging Face keeps the labels of some test splits secret: they are -1 there.
    judged = [split for split in used if split != "train" and any((labels[file] >= 0).any() for file in used[split])]
    for split in (split for split in used if split not in ("train", *judged)):
        if count := sum(rows[file] for file in used[split]):
            remarks.append(f"{amount(count, f'{split} image')} without labels left out")
    rest = ([name for name in names if _suffix(name) != ".parquet"] for names in tree.others.values())
    remarks += joinings + _passed_over([*tree.images.values(), *rest])
    note += UNUSED if len(judged) > 1 else ""
    test = listing(used[judged[0]]) if judged else None
    return Found(listing(train), test, classes, note, tuple(remarks))


def _split_of(file: Path) -> str | None:
    """The split that a file's name, or else the nearest folder's, speaks of."""
    return next(filter(None, map(_split_in, reversed([*file.parent.parts, file.stem]))), None)


def _split_in(name: str) -> str | None:
    """The split of which there is a word in this name."""
    words = re.split("[^a-z]+", name.lower())
    return next((split for word in words for split, known in SPLITS.items() if word in known), None)


def _check_one_set(root: Path, by_split: dict[str, list[Path]]) -> None:
    """Refuse several configurations of a data set, or several data sets: their images may be the same."""
    for split, files in by_split.items():
        folders = {
            root.joinpath(*takewhile(lambda part: _split_in(part) is None, file.relative_to(root).parent.parts))
            for file in files
        }
        if len(folders) > 1:
            named = enumeration(sorted(str(folder) for folder in folders))
            raise UserError(f"there are {split} images in {named}; give one of them, or leave one below {root}")


def _missing(files: Iterable[Path]) -> list[str]:
    """A remark for each set of files such as train-00001-of-00005 that is not complete."""
    found: dict[tuple[str, int], set[str]] = {}
    for file in files:
        if match := re.fullmatch(r"(.+)-(\d+)-of-(\d+)", str(file.with_suffix(""))):
            found.setdefault((match[1], int(match[3])), set()).add(match[2])
    return [
        f"{of - len(numbers)} of the {of} Parquet files of {valid(name)} are missing"
        for (name, of), numbers in found.items()
        if len(numbers) < of
    ]


def _spelled_as_in_training(
    used: dict[str, list[Path]], labels: dict[Path, np.ndarray]
) -> tuple[dict[Path, np.ndarray], list[str]]:
    """Labels that are strings, spelled as the training files spell them; and remarks."""
    known = {str(name) for file in used["train"] for name in np.unique(labels[file])}
    remarks = []
    for split, files in used.items():
        joined = _joined((str(name) for file in files for name in np.unique(labels[file])), known)
        if split != "train" and joined:
            remarks += _joining(split, joined)
            for file in files:
                values, places = np.unique(labels[file], return_inverse=True)
                spelled = np.array([joined.get(str(value), str(value)) for value in values], dtype=np.str_)
                labels[file] = spelled[places]
    return labels, remarks


def _by_name(
    used: dict[str, list[Path]], tables: dict[Path, "_ParquetFile"], labels: dict[Path, np.ndarray]
) -> tuple[dict[Path, np.ndarray], tuple[str, ...], list[str]]:
    """Labels that are places in each file's own class names, as places in one list of classes; and remarks.

    A file without names has those of the first file that has some.
    """
    classes = list(next(table.names for table in tables.values() if table.names))
    first, remarks = tuple(classes), []
    for split, files in used.items():
        own = {file: tables[file].names or first for file in files}
        joined = {}
        if split != "train":
            joined = _joined((name for names in own.values() for name in names), set(classes))
        remarks += _joining(split, joined)
        for file, names in own.items():
            if (most := labels[file].max(initial=-1)) >= len(names):
                raise UserError(f"{file} has label {most}, but its metadata names only {len(names)} classes")
            if names == first:
                continue  # where two classes have one name, it is no way to tell them apart
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise UserError(f"{file} has two classes called '{twice[0]}', and other names than the other files")
            spelled = [joined.get(name, name) for name in names]
            classes += [name for name in spelled if name not in classes]
            place = np.array([*(classes.index(name) for name in spelled), -1])
            labels[file] = place[labels[file]]
    return labels, tuple(classes), remarks


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({one_line(error)})") from None


def _features(schema: pa.Schema) -> dict:
    """What Hugging Face's metadata say of the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names of the classes of a column of integers, where the metadata have them."""
    feature = _features(schema).get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list | dict) or not pa.types.is_integer(schema.field(label).type):
        return ()
    return tuple(valid(str(name)) for name in names)


def _columns(file: Path) -> tuple[str, str]:
    """The names of the image column and of the label column."""
    schema = _schema(file)
    images = [field.name for field in schema if _is_image(field.type)]
    if not images:
        raise UserError(f"{file} has no image column (struct<bytes, path>); its columns are {', '.join(schema.names)}")
    images = [name for name in ("image", "img") if name in images][:1] or images
    if len(images) > 1:
        raise UserError(f"{file} has several image columns ({', '.join(images)}); call the right one 'image'")

    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    usable = [field.name for field in schema if _may_be_labels(field.type)]
    called = [name for known in NAMED_LABELS for name in schema.names if name.lower() == known]
    exact = [name for name in NAMED_LABELS[:2] if name in usable]
    # CIFAR-100 has two kinds of labels; its fine ones come first.
    with_names = [name for name in integers if _class_names(schema, name)]
    if certain := exact or with_names or [name for name in called if name in usable]:
        return images[0], certain[0]
    if called:
        kind = schema.field(called[0]).type
        raise UserError(f"the column '{called[0]}' of {file} is of type {kind}; labels are integers or strings")
    candidates = [name for name in integers if not NOT_LABELS.search(name.lower())]
    if len(candidates) != 1:
        ids = [name for name in integers if name not in candidates]
        but = f" but {', '.join(ids)}, which does not look like labels" if ids and not candidates else ""
        raise UserError(
            f"{file} has {'several columns' if candidates else 'no column'} of integers{but}; labels are integers or "
            f"strings, in a column called 'label' (its columns are {', '.join(schema.names)})"
        )
    return images[0], candidates[0]


def _check_guess(file: Path, label: str, labels: np.ndarray) -> None:
    """Refuse a column that was taken for want of another where most of its values are there once: it numbers rows."""
    labels = labels[labels >= 0]
    if label.lower() in NAMED_LABELS or _class_names(_schema(file), label):
        return
    if len(labels) and 2 * len(np.unique(labels)) > len(labels):
        raise UserError(
            f"the column '{label}' of {file}, its only one of integers, has {len(np.unique(labels)):,} values in "
            f"{len(labels):,} rows; if they are labels, call it 'label'"
        )


def _is_image(kind: pa.DataType) -> bool:
    bytes_types = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return pa.types.is_struct(kind) and any(
        part.name == "bytes" and any(is_type(part.type) for is_type in bytes_types) for part in kind
    )


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings, or booleans, which have names as well."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text_types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean)
    return any(is_type(kind) for is_type in text_types)


def _may_be_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type that is called a label can be one; floating-point numbers must be whole."""
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)


@dataclass(frozen=True)
class _ParquetFile:
    path: Path
    name: str
    """What messages call it: its path within the data set."""
    image: str
    label: str
    of_training: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its classes, where its metadata have them."""
        schema = _schema(self.path)
        return _class_names(schema, self.label) if self.label in schema.names else ()

    def labels(self) -> np.ndarray | None:
        """What the label column holds: int64 [N], what is null or negative as -1; or strings [N], null as ''.

        None where a file of test or validation images has no column that could hold labels.
        """
        schema = _schema(self.path)
        if self.image not in schema.names:
            raise UserError(f"{self.path} has no column '{self.image}', unlike the data set's other files")
        if self.label not in schema.names:
            others = (field.name for field in schema if _may_be_labels(field.type))
            if self.of_training or not all(NOT_LABELS.search(name.lower()) for name in others):
                raise UserError(f"{self.path} has no column '{self.label}', unlike the data set's other files")
            return None
        try:
            column = pq.read_table(self.path, columns=[self.label], partitioning=None).column(0)
            if _is_text(column.type):
                return column.cast(pa.string()).fill_null("").to_numpy().astype(np.str_)
            if pa.types.is_floating(column.type):
                values = np.nan_to_num(column.to_numpy().astype(np.float64), nan=-1)
                if not ((np.floor(values) == values) & (np.abs(values) < 2**53)).all():
                    raise UserError(f"the column '{self.label}' of {self.path} holds fractions, which are no labels")
                return np.maximum(values.astype(np.int64), -1)
            return np.maximum(column.cast(pa.int64()).fill_null(-1).to_numpy(), -1)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({one_line(error)})") from None

    def read(self, rows: np.ndarray) -> Iterator[tuple[str, Encoded]]:
        """The name and the bytes of the images in these rows (rising)."""
        start = 0
        try:
            for batch in pq.ParquetFile(self.path).iter_batches(256, columns=[self.image]):
                wanted = rows[(rows >= start) & (rows < start + len(batch))]
                for row in wanted:
                    cell = batch.column(0)[row - start].as_py() or {}
                    place = f"{self.name} row {row}"
                    yield (f"{place} ({valid(str(cell['path']))})" if cell.get("path") else place), cell.get("bytes")
                start += len(batch)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({one_line(error)})") from None
