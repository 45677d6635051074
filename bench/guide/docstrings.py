"""What a method's own file says of it: title, authors, the paragraphs of its docstring, and its code without them."""

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from algorithms import METHODS, WITH_TEACHER, method_class
from bench.report.text import DASH

DEPARTURES, CHOICE = "Departures: ", "Choose it "
"""How two kinds of paragraphs begin."""


@dataclass(frozen=True)
class Described:
    """What is said of a method."""

    title: str
    authors: str
    """And year, and where else the paper is cited: what stands behind the title in the file's first paragraph."""
    idea: str
    equations: tuple[str, ...]
    """The equations and what else is the paper's, a paragraph each; an indented one is a formula."""
    departures: tuple[str, ...]
    choice: str
    """For which images, labels and compute; empty where nothing is said."""


@cache
def described(name: str) -> Described:
    """What the file of the method `name` says."""
    of = method_class(name)
    head = inspect.cleandoc(inspect.getmodule(of).__doc__ or "").split("\n\n")[0]
    title, _, authors = " ".join(head.split()).partition(": ")
    idea, *others = textwrap.dedent(inspect.cleandoc(of.__doc__ or "")).split("\n\n")
    departures = tuple(text.removeprefix(DEPARTURES) for text in others if text.startswith(DEPARTURES))
    choice = " ".join(text for text in others if text.startswith(CHOICE))
    equations = tuple(text for text in others if not text.startswith((DEPARTURES, CHOICE)))
    return Described(title, authors.rstrip("."), idea, equations, departures, choice)


def year(name: str) -> str:
    """In which the paper appeared."""
    found = re.search(r"\b(19|20)\d\d\b", described(name).authors)
    return found[0] if found else DASH


def builds_on(name: str) -> str | None:
    """The method whose class that of `name` extends, by its name; None where it is none of ours."""
    names = {method_class(other): other for other in METHODS | WITH_TEACHER}
    return next((names[base] for base in method_class(name).__mro__[1:] if base in names), None)


def path(name: str) -> Path:
    """The method's file."""
    return Path(inspect.getfile(method_class(name)))


def code(name: str) -> str:
    """The method's file without its docstring and that of its class, which the page has above."""
    text = path(name).read_text()
    tree = ast.parse(text)
    named = method_class(name).__name__
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == named]
    holders: list[ast.ClassDef | ast.Module] = [*classes, tree]
    lines = text.splitlines()
    for holder in holders:  # from below, so that lines keep their numbers
        first = holder.body[0]
        if len(holder.body) > 1 and ast.get_docstring(holder) is not None and first.end_lineno:
            last = first.end_lineno
            while last < len(lines) and not lines[last]:
                last += 1
            del lines[first.lineno - 1 : last]
    return "\n".join(lines).strip() + "\n"
