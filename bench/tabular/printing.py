"""What a command that reads recorded tables prints: a report of each in Markdown, or what is wrong in a line."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd

from bench.errors import UserError
from bench.tabular.replay import read


@contextmanager
def refusals() -> Iterator[None]:
    """Bad input is told in one line, and the command ends with status 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser that asks for tables; the description is that of the module."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="Parquet files of bench.tabular.record")
    return parser


def print_reports(description: str | None, report: Callable[[pd.DataFrame], str]) -> None:
    """The whole of a command that prints a report of each table."""
    for path in parser_of(description).parse_args().tables:
        with refusals():
            print(f"## {path}\n\n{report(read(path))}\n")


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)]
