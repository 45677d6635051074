"""What names of files and folders say: of which split they are, and which of them name the same class."""

import re
import unicodedata
from collections.abc import Iterable, Set
from pathlib import Path

from bench.data.wording import enumeration

SPLITS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "validation": {"validation", "valid", "val", "dev"},
}
UNLABELLED = {"unlabelled", "unlabeled"}


def split_of(file: Path) -> str | None:
    """The split that a file's name, or else the nearest folder's, speaks of."""
    return next(filter(None, map(split_in, reversed([*file.parent.parts, file.stem]))), None)


def split_in(name: str) -> str | None:
    """The split of which there is a word in this name."""
    words = re.split("[^a-z]+", name.lower())
    return next((split for word in words for split, known in SPLITS.items() if word in known), None)


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
