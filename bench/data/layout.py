"""How a user has laid out the folders: where the classes lie, and which folders are splits."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bench.data.conventions import ANNOTATIONS, IMAGES, UNLABELLED, split_and_rest
from bench.data.paths import Place
from bench.data.tree import Tree
from bench.data.wording import enumeration, valid
from bench.errors import UserError


@dataclass(frozen=True)
class Layout:
    top: Place
    """The folder that holds the folders of splits, or of classes where there are no splits."""
    splits: dict[str, Place]
    """The folders of splits, by `train`, `test` and `validation`; perhaps without `train`."""
    remarks: list[str]


def layout_of(tree: Tree) -> Layout:
    """Raises UserError where the names of folders do not say which are meant."""
    top, remarks = looked_into(tree, (), stop_at_splits=True)
    splits = {split: (*top, name) for split, name in _splits(tree, top).items()}
    check_links(tree, [*splits.values()])
    return Layout(top, splits, remarks)


def looked_into(
    tree: Tree, top: Place, stop_at_splits: bool = False, known: Collection[str] = ()
) -> tuple[Place, list[str]]:
    """The folder that holds the classes or splits: `top`, or one below it where there is exactly one way to go; and
    remarks. A folder of a `known` class is gone into by no means."""
    remarks, only = list[str](), False
    while True:
        inner = tree.folders(top)
        here = valid("/".join(top)) or "the folder"
        kinds = sorted(name for name in inner if name.lower() in IMAGES | ANNOTATIONS)
        if len(kinds) > 1:
            (name, *more) = sorted(kinds, key=lambda name: name.lower() in ANNOTATIONS)
            if len(kinds) < len(inner) or more[0].lower() in IMAGES or name.lower() in ANNOTATIONS:
                raise UserError(
                    f"{tree.root.joinpath(*top)} has the folders {', '.join(inner)}, of which {', '.join(kinds)} look "
                    "like kinds of files and not like classes; give the one that holds a folder of images for each "
                    "class"
                )
            remarks.append(f"of {here}, {name} is used and {', '.join(more)} is not")
        elif tree.images[top] or len(inner) != 1 or valid(inner[0]) in known or not tree.folders((*top, *inner)):
            break
        else:
            (name,) = inner
            split, rest = split_and_rest(name)
            if stop_at_splits and split and not rest:
                break
            only = True
        top = (*top, name)
    return top, [*([f"all images lie in {here}, which is looked into"] if only else []), *remarks]


def _splits(tree: Tree, top: Place) -> dict[str, str]:
    """The names of the folders of splits in `top`."""
    root = tree.root.joinpath(*top)
    names = sorted({*tree.folders(top), *(link[len(top)] for link, _ in tree.again if link[: len(top)] == top)})
    names = [name for name in names if name.lower() not in UNLABELLED]
    groups: dict[str, dict[str, list[str]]] = {}
    for name in names:
        split, rest = split_and_rest(name)
        if split:
            groups.setdefault(rest, {}).setdefault(split, []).append(name)
    sets = [group for group in groups.values() if "train" in group and len(group) > 1]
    if len(sets) > 1:
        named = enumeration(sorted(name for group in sets for each in group.values() for name in each))
        raise UserError(f"{root} has the folders of splits of several data sets ({named}); give one of them")
    plain = groups.get("", {})
    if sets:
        group = sets[0]
    elif "train" in plain:
        held = any(tree.folders((*top, name)) for name in plain["train"] if (*top, name) in tree.below)
        group = plain if held or len(names) == 1 else {}  # else it may be a class among others
    elif len(groups) == 1 and sum(map(len, next(iter(groups.values())).values())) == len(names):
        (group,) = groups.values()  # there are no others
    else:
        group = {}
    for split, folders in group.items():
        if len(folders) > 1:
            raise UserError(f"{root} has two folders of {split} images, {enumeration(folders)}; leave one of them")
    if not group:
        check_parts(tree, top, names)
    return {split: name for split, (name,) in group.items()}


def check_parts(tree: Tree, top: Place, names: Iterable[str]) -> None:
    """Refuse folders that are parts of a data set by their names, and no classes."""
    found = {name: split_and_rest(name) for name in names}
    plain = {split for split, rest in found.values() if split and not rest}
    if len(plain) > 1 or (len(found) > 1 and len({*(split for split, _ in found.values())} - {None}) > 1
                          and all(split for split, _ in found.values())):  # fmt: skip
        parts = [valid(name) for name, (split, _) in sorted(found.items()) if split]
        raise UserError(
            f"{tree.root.joinpath(*top)} has the folders {', '.join(parts)}, which look like parts of a data set and "
            "not like classes; name them train and test, or give one of them alone and a part of it is held out"
        )


def check_links(tree: Tree, tops: list[Place]) -> None:
    """Refuse links that put the same folder into two classes or splits; `tops` are the folders that hold classes."""

    def owner(place: Place) -> Place | None:
        return next((place[: len(top) + 1] for top in tops if place[: len(top)] == top), None)

    for link, folder in tree.again:
        above = link[: len(folder)] == folder
        if not above and owner(link) and owner(folder) and owner(link) != owner(folder):
            raise UserError(
                f"{tree.root.joinpath(*link)} and {tree.root.joinpath(*folder)} lead to the same folder, so the same "
                "images would count twice; remove one of them"
            )
