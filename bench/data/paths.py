"""Paths of many files below a root, held as the names that they are made of."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from bench.data.wording import valid

Place = tuple[str, ...]
"""A folder below the root: the names on the way to it."""


class Paths(Sequence[str]):
    """Paths below a root, put together as they are asked for: of two million, names are all that is held."""

    def __init__(self, files: Iterable[tuple[Place, str]] = ()):
        self.places: list[Place] = []
        self.names: list[str] = []
        self.extend(files)

    def extend(self, files: Iterable[tuple[Place, str]]) -> None:
        for place, name in files:
            self.places.append(place)
            self.names.append(name)

    def files(self) -> Iterator[tuple[Place, str]]:
        return zip(self.places, self.names, strict=True)

    def sort(self) -> None:
        order = sorted(range(len(self)), key=lambda i: (*self.places[i], self.names[i]))
        self.places, self.names = [self.places[i] for i in order], [self.names[i] for i in order]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return valid("/".join((*self.places[place], self.names[place])))


def join(found: dict[str, Paths], more: dict[str, Paths]) -> None:
    """Add the images of `more` to those of the same classes."""
    for name, paths in more.items():
        if name in found:
            found[name].extend(paths.files())
            found[name].sort()
        else:
            found[name] = paths
