"""Images in class folders, perhaps below folders of splits; or in folders that say nothing of classes.

The rule: in a folder of a split (`layout`), or in the root where there are no splits, each folder is a class, and all
images below it, at whatever depth, are of that class. Images beside class folders have no label. Where there are fewer
than two class folders there are no labels at all, and where a user says so (`Asked.unlabelled`).
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace

import numpy as np

from bench.data import foreign
from bench.data.conventions import ANNOTATIONS, UNLABELLED, joined_names, joining
from bench.data.layout import Layout, check_links, check_parts, layout_of, looked_into
from bench.data.paths import Paths, Place, join
from bench.data.source import VALIDATION_UNUSED, Asked, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import Tree, passed_over, suffix_of
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

Labelled = dict[str, Paths]
"""Images by their class; those without one are `unlabelled`."""


def find(tree: Tree, asked: Asked) -> EncodedSource:
    """The images below a folder, or in archives. Raises UserError where there are none, or two layouts may be meant."""
    if not any(tree.images.values()):
        raise UserError(foreign.refusal(tree))
    layout = layout_of(tree)
    source, validation = _in_layout(tree, layout, asked)
    return replace(source, others=_others(tree, layout, source, validation)) if asked.everything else source


def _in_layout(tree: Tree, layout: Layout, asked: Asked) -> tuple[EncodedSource, Labelled]:
    """The images that train and test; and those of a validation split beside them, where they have labels."""
    if asked.unlabelled or asked.labels:
        return _without_labels(tree, layout, layout.remarks, everything=True), {}
    splits, remarks = dict(layout.splits), list(layout.remarks)
    known: Set[str] = set()
    if pooled := splits and "train" not in splits:
        named = enumeration(valid(place[-1]) for place in splits.values())
        remarks.append(f"there is no folder of training images: those of {named} are taken together")
    train: Labelled = {}
    tops = []
    for split in list(splits) if pooled else ["train"] if splits else [""]:
        top, said = looked_into(tree, splits[split]) if split else (layout.top, [])
        folders, more = _classes(tree, top)
        joined = joined_names(folders.keys() - UNLABELLED, known)
        join(train, {joined.get(name, name): paths for name, paths in folders.items()})
        known = train.keys() - UNLABELLED
        remarks += [*said, *more]
        tops.append(top)
    if len(known) < 2:
        return _without_labels(tree, layout, [*remarks, _why(tree, tops[0], known)]), {}
    if splits:
        beside = [name for name in tree.folders(layout.top) if name.lower() in UNLABELLED]
        join(train, {"unlabelled": Paths(each for name in beside for each in tree.files((*layout.top, name)))})
    judged: dict[str, Labelled] = {}
    for split in ("test", "validation"):
        if split in splits and not pooled:
            top, test, said = _judging(tree, split, splits[split], known)
            remarks += said
            if test:
                judged[split] = test
                tops.append(top)
    check_links(tree, tops)
    if loose := sum(len(tree.images[top]) for top in tops):
        remarks.append(f"without a label: {amount(loose, 'image')} in no class folder")
    remarks += _same_folders(tree, tops[0]) + _loose(tree, layout)
    remarks += _left_aside(tree, layout, tops, _beside(tree, layout))
    test = next(iter(judged.values()), {})
    classes = tuple(sorted(known | (test.keys() - UNLABELLED)))
    note = VALIDATION_UNUSED if len(judged) > 1 else ""
    source = EncodedSource(
        _encoded(tree, train, classes),
        _encoded(tree, test, classes) if test else None,
        classes,
        note,
        tuple(remarks),
        next(iter(judged), "test"),
    )
    return source, judged["validation"] if len(judged) > 1 else {}


def _others(tree: Tree, layout: Layout, source: EncodedSource, validation: Labelled) -> dict[str, EncodedSplit]:
    """All images that neither train nor test, by the split in whose folder they are."""
    paths = [split.names for split in (source.train, source.test) if split and isinstance(split.names, Paths)]
    if sum(map(len, paths)) == sum(map(len, tree.images.values())):
        return {}
    used = {file for of_split in paths for file in of_split.files()}
    splits: dict[str, Labelled] = {}
    class_of = {file: name for name, paths in validation.items() for file in paths.files()}
    for file in tree.files():
        if file not in used:
            of = next((split for split, top in layout.splits.items() if file[0][: len(top)] == top), "")
            of_class = class_of.get(file, "unlabelled")
            splits.setdefault(of, {}).setdefault(of_class, Paths()).extend([file])
    return {split: _encoded(tree, labelled, source.classes) for split, labelled in splits.items()}


def _classes(tree: Tree, top: Place) -> tuple[Labelled, list[str]]:
    """The images of the class folders in `top`, those with the same name in another Unicode form in one class; and
    remarks."""
    found: Labelled = {}
    remarks = []
    of_form: dict[str, str] = {}
    check_parts(tree, top, tree.folders(top))
    for name, paths in tree.classes(top).items():
        known = of_form.setdefault(unicodedata.normalize("NFC", name), name)
        if known != name:
            remarks.append(f"two folders have the name {known}, in two Unicode forms, and are one class")
        join(found, {known: paths})
    return found, remarks


def _judging(tree: Tree, split: str, place: Place, known: Set[str]) -> tuple[Place, Labelled, list[str]]:
    """The images of a test or validation split by their classes, as training calls them; none where they have no
    labels. With the folder that holds the classes, and remarks."""
    name = place[-1]
    annotations = f"{name}_annotations.txt"  # Tiny ImageNet names the classes of its validation images there
    remarks: list[str] = []
    if annotations in tree.others[place]:
        tree.others[place].remove(annotations)  # it is not passed over
        lines = tree.content(place, annotations).decode(errors="replace").splitlines()
        class_of = dict(line.split("\t")[:2] for line in lines if "\t" in line)
        folders: Labelled = {}
        for where, file in tree.files(place):
            folders.setdefault(class_of.get(file, "unlabelled"), Paths()).extend([(where, file)])
    else:
        place, remarks = looked_into(tree, place, known=known)
        folders, said = _classes(tree, place)
        remarks += said
    joined = joined_names(folders.keys() - UNLABELLED, known)
    merged: Labelled = {}
    for each, paths in folders.items():
        join(merged, {joined.get(each, each): paths})
    if merged.keys() & known:
        return place, merged, [*remarks, *joining(split, joined)]
    named = enumeration(sorted(folders.keys() - UNLABELLED))
    why = f"its folders ({named}) are none of the training classes" if named else "they are in no class folders"
    count = sum(map(len, folders.values()))
    return place, {}, [f"{amount(count, 'image')} without labels in {valid(name)} left out: {why}"]


def _without_labels(tree: Tree, layout: Layout, remarks: list[str], everything: bool = False) -> EncodedSource:
    """All images as they are, with the split that judges where there is one beside training images. `everything` that
    lies beside the folders of splits trains too, but for what are annotations by their name."""
    parts: dict[str, list[Place]] = {} if layout.splits else {"": [layout.top]}
    beside = _beside(tree, layout)
    if layout.splits:
        split_of = {place[-1]: split for split, place in layout.splits.items()}
        used = [name for name in beside if everything and name.lower() not in ANNOTATIONS]
        beside = [name for name in beside if name not in used]
        for name in sorted({*tree.folders(layout.top), *used} - {*beside}):
            top, said = looked_into(tree, (*layout.top, name))
            parts.setdefault(split_of.get(name, ""), []).append(top)
            remarks = [*remarks, *(each for each in said if each not in remarks)]
    judging = [split for split in ("test", "validation") if split in parts and "train" in parts]
    tops = [top for part, of in parts.items() if part not in judging for top in of]
    train = Paths(each for top in tops for each in tree.files(top))
    if everything and layout.splits:
        train.extend((layout.top, name) for name in tree.images[layout.top])
    test = Paths(each for top in parts[judging[0]] for each in tree.files(top)) if judging else Paths()
    holding = [top for of in parts.values() for top in of]
    if not everything:
        remarks = [*remarks, *_loose(tree, layout)]
    remarks = [*remarks, *_left_aside(tree, layout, holding, beside)]
    return EncodedSource(
        _encoded(tree, {"unlabelled": train}, ()),
        _encoded(tree, {"unlabelled": test}, ()) if len(test) else None,
        (),
        VALIDATION_UNUSED if len(judging) > 1 else "",
        tuple(remarks),
        judging[0] if judging else "test",
    )


def _why(tree: Tree, top: Place, known: Set[str]) -> str:
    """Why there are no labels, and what would be right."""
    here = tree.root.joinpath(*top)
    right = "put the images of each class into a folder of its own, or give a file of labels (--labels)"
    if not known:
        return f"no image has a label, for {valid(str(here))} has no class folders; to have labels, {right}"
    (name,) = known
    inner = [valid(each) for child in tree.folders(top) if valid(child) == name for each in tree.folders((*top, child))]
    if len(inner) > 1:
        right = f"if the folders {enumeration(inner)} in it are the classes or splits, give {valid(str(here))}/{name}"
    return f"no image has a label, for there is one class folder only, {name}; {right}"


def _encoded(tree: Tree, labelled: Labelled, classes: tuple[str, ...]) -> EncodedSplit:
    place = {name: number for number, name in enumerate(classes)}
    paths = Paths()
    for name in sorted(labelled):
        paths.extend(labelled[name].files())
    labels = np.repeat(
        np.array([place.get(name, -1) for name in sorted(labelled)], dtype=np.int64),
        [len(labelled[name]) for name in sorted(labelled)],
    )
    if (order := tree.order(paths)) is not None:
        paths.places, paths.names = [paths.places[i] for i in order], [paths.names[i] for i in order]
        labels = labels[order]

    def read(places: Integers) -> Iterator[tuple[str, Encoded]]:
        return tree.read(paths, places.tolist())

    return EncodedSplit(labels, read, names=paths, stamp=tree.stamp(paths))


def _same_folders(tree: Tree, top: Place) -> list[str]:
    """A remark where all classes hold the same folders, which may be the classes; refused where those are splits."""
    inner = {
        child: [] if tree.images[(*top, child)] else tree.folders((*top, child))
        for child in tree.folders(top)
        if child.lower() not in UNLABELLED
    }
    first, same = next(iter(inner.items()))
    if len(inner) < 2 or len(same) < 2 or any(folders != same for folders in inner.values()):
        return []
    try:
        check_parts(tree, (*top, first), same)
    except UserError:
        raise UserError(
            f"{tree.root.joinpath(*top)} has several data sets ({enumeration(map(valid, inner))}), each with its "
            f"folders {enumeration(map(valid, same))}; give one of them"
        ) from None
    return [
        f"each of the classes {enumeration(map(valid, inner))} holds the folders {enumeration(map(valid, same))}; if "
        f"those are the classes, give one of them, such as {valid(str(tree.root.joinpath(*top, first)))}"
    ]


def _beside(tree: Tree, layout: Layout) -> list[str]:
    """The folders of images beside those of splits, where there are some."""
    used = {place[-1] for place in layout.splits.values()}
    names = tree.folders(layout.top) if used else []
    return [name for name in names if name not in used and name.lower() not in UNLABELLED]


def _loose(tree: Tree, layout: Layout) -> list[str]:
    """A remark on images in the folder of the splits itself, such as a page's, which are not used."""
    loose = len(tree.images[layout.top]) if layout.splits else 0
    return [f"{amount(loose, 'image')} beside the folders of splits passed over"] if loose else []


def _left_aside(tree: Tree, layout: Layout, tops: list[Place], beside: list[str]) -> list[str]:
    """Remarks on what is not used: `tops` are the folders that hold classes or, where there are none, images; `beside`
    those that are passed over."""
    empty = [
        f"{valid('/'.join((*top, child)))} ({enumeration(f'{n:,} {valid(k)}' for k, n in kinds.most_common())})"
        for top in tops
        for child in tree.below[top]
        if not any(True for _ in tree.files((*top, child))) and (kinds := _kinds(tree, (*top, child)))
    ]
    remarks = [f"no image of a known kind in the folders {enumeration(empty)}"] if empty else []
    if count := sum(1 for name in beside for _ in tree.files((*layout.top, name))):
        named = enumeration(map(valid, beside))
        remarks.append(f"{amount(count, 'image')} beside the folders of splits passed over, in {named}")
    return remarks + passed_over(tree.others.values())


def _kinds(tree: Tree, place: Place) -> Counter[str]:
    """How many files that are no images there are below a folder, by suffix."""
    names = (name for each in tree.places(place) for name in tree.others[each])
    return Counter(suffix_of(name) or "without a suffix" for name in names)
