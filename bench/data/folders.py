"""Images in class folders, perhaps below folders of splits."""

from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np

from bench.data.conventions import SPLITS, UNLABELLED, joined_names, joining, split_of
from bench.data.source import VALIDATION_UNUSED, Asked, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import Place, Tree, passed_over
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

PARTS = {
    *("image", "images", "img", "imgs", "jpegimages", "picture", "pictures"),
    *("annotation", "annotations", "label", "labels", "mask", "masks", "segmentation", "segmentations", "trimaps"),
}
"""Folders of these names, side by side, are two views of the same things and not two classes."""


def find(tree: Tree, asked: Asked) -> EncodedSource:
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
    if (asked.unlabelled or asked.labels) and any(tree.images.values()):
        return _without_labels(tree, folder_of)
    train = tree.classes((folder_of["train"],)) if "train" in folder_of else {}
    in_splits, remarks, judged = bool(train), list[str](), list[dict[str, list[Path]]]()
    tops: list[Place] = [()]
    if in_splits:
        tops = [(folder_of["train"],)]
        for child, places in tree.children(()).items():
            if child.lower() in UNLABELLED:
                train["unlabelled"] = sorted(train.get("unlabelled", []) + tree.paths(places))
        known = train.keys() - UNLABELLED
        for split in (each for each in ("test", "validation") if each in folder_of):
            folders, said = _labelled(tree, split, folder_of[split], known)
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
        others = "".join(f" ({said})" for said in passed_over(tree.others.values()))
        raise UserError(f"{root} {what}; it should hold Parquet files, or a folder of images for each class{others}")
    remarks += _check_depth(tree, tops[0])
    remarks += _left_aside(tree, tops, set(folder_of.values()) if in_splits else None)
    test = judged[0] if judged else None
    classes = tuple(sorted({*train, *(test or {})} - UNLABELLED))

    def encoded(folders: dict[str, list[Path]]) -> EncodedSplit:
        paths = [path for folder in sorted(folders) for path in folders[folder]]
        place = {name: number for number, name in enumerate(classes)}
        labels = [place.get(folder, -1) for folder in sorted(folders) for _ in folders[folder]]

        def read(places: Integers) -> Iterator[tuple[str, Encoded]]:
            return ((valid(str(paths[i].relative_to(root))), paths[i]) for i in places)

        return EncodedSplit(np.array(labels, dtype=np.int64), read)

    note = VALIDATION_UNUSED if len(judged) > 1 else ""
    return EncodedSource(encoded(train), encoded(test) if test else None, classes, note, tuple(remarks))


def _without_labels(tree: Tree, folder_of: dict[str, str]) -> EncodedSource:
    """All images as they are, with those of the folder that judges where there is one beside training images."""
    root = tree.root
    judging = next((folder_of[split] for split in ("test", "validation") if split in folder_of), None)

    def encoded(places: list[Place]) -> EncodedSplit:
        paths = tree.paths(places)
        names = [str(path.relative_to(root)) for path in paths]

        def read(wanted: Integers) -> Iterator[tuple[str, Encoded]]:
            return ((valid(names[i]), paths[i]) for i in wanted)

        return EncodedSplit(np.full(len(paths), -1), read, names)

    of_test = [place for place in tree.images if "train" in folder_of and place[:1] == (judging,)]
    test = encoded(of_test) if of_test else None
    train = encoded([place for place in tree.images if place not in of_test])
    return EncodedSource(train, test, (), "", tuple(passed_over(tree.others.values())))


def _labelled(tree: Tree, split: str, folder: str, known: Set[str]) -> tuple[dict[str, list[Path]], list[str]]:
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
    joined = joined_names(folders.keys() - UNLABELLED, known)
    merged: dict[str, list[Path]] = {}
    for name, paths in folders.items():
        merged.setdefault(joined.get(name, name), []).extend(paths)
    if merged.keys() & known:
        return {name: sorted(paths) for name, paths in merged.items()}, joining(split, joined)
    named = enumeration(sorted(folders.keys() - UNLABELLED))
    why = f"its folders ({named}) are none of the training classes" if named else "they are in no class folders"
    return {}, [f"{amount(len(every), 'image')} without labels in {valid(folder)} left out: {why}"]


def _check_splits(tree: Tree, train: dict[str, list[Path]], folder_of: dict[str, str]) -> None:
    """Refuse folders that are splits by their names."""
    root = tree.root
    splits = {name: split for name in train if (split := split_of(Path(name)))}
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


def _check_links(tree: Tree, splits: set[str] | None) -> None:
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


def _check_depth(tree: Tree, top: Place) -> list[str]:
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


def _left_aside(tree: Tree, tops: list[Place], splits: set[str] | None) -> list[str]:
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
    return remarks + passed_over(tree.others.values())
