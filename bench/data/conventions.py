"""What names of files and folders say: of which split they are, and which of them name the same class."""

import re
import unicodedata
from collections.abc import Iterable, Set
from pathlib import Path

from bench.data.wording import enumeration

SPLITS = {
    "train": {"train", "training", "trainset"},
    "test": {"test", "testing", "testset"},
    "validation": {"validation", "valid", "val", "dev", "valset"},
}
UNLABELLED = {"unlabelled", "unlabeled"}
IMAGES = {"image", "images", "img", "imgs", "jpegimages", "picture", "pictures"}
ANNOTATIONS = {
    *("annotation", "annotations", "label", "labels", "mask", "masks", "segmentation", "segmentations", "trimaps"),
    *("ground_truth", "groundtruth", "ground truth"),
}
"""Folders of `IMAGES` and `ANNOTATIONS`, side by side, are views of the same things and not classes."""
SAYING_NOTHING = IMAGES | {"", "set", "data", "dataset", "split", "folder"}
"""Words beside that of the split in a folder's name, such as training_set, train2017."""


def split_of(file: Path) -> str | None:
    """The split that a file's name, or else the nearest folder's, speaks of."""
    return next(filter(None, map(split_in, reversed([*file.parent.parts, file.stem]))), None)


def split_in(name: str) -> str | None:
    """The split of which there is a word in this name."""
    return split_and_rest(name)[0]


def split_and_rest(name: str) -> tuple[str | None, str]:
    """The split of which there is a word in this name, and what its other words name: of seg_train, train and seg."""
    words = re.split("[^a-z]+", name.lower())
    for word in words:
        for split, known in SPLITS.items():
            if word in known:
                return split, " ".join(sorted({*words} - known - SAYING_NOTHING))
    return None, " ".join(words)


def joined_names(names: Iterable[str], known: Set[str]) -> dict[str, str]:
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


def joining(split: str, joined: dict[str, str]) -> list[str]:
    named = enumeration(f"'{name}' is '{known}'" for name, known in joined.items())
    return [f"{split} spells classes in another case or Unicode form than training: {named}"] if joined else []
