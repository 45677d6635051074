"""Words of notes, remarks and errors: numbers of things, lists of names, text that is valid."""

from collections.abc import Iterable


def valid(text: str) -> str:
    """`text` as valid Unicode: in names of files, what is not UTF-8 comes as lone surrogates; they are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def amount(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def enumeration(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
