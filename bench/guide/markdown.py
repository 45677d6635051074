"""How words and tables are written in Markdown."""

import re
from collections.abc import Iterable, Sequence

from bench.report.run import paper_link
from bench.report.text import markdown_text


def prose(text: str) -> str:
    """A paragraph on one line: what stands between backquotes stays code, all else is text and no markup."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else markdown_text(part) for part in parts)


def paragraph(text: str) -> str:
    """A paragraph of a docstring: a formula, which is indented, as a block of code, all else as `prose`."""
    lines = text.splitlines()
    if all(line.startswith("    ") for line in lines):
        return "\n".join(["```text", *(line[4:] for line in lines), "```"])
    return prose(text)


def linked(text: str) -> str:
    """`prose` whose arXiv numbers lead there."""
    return re.sub(r"\b\d{4}\.\d{5}\b", lambda number: f"[{number[0]}]({paper_link(number[0])})", prose(text))


def cell(text: str) -> str:
    """`prose` for a cell of a table, which a bar would end."""
    return re.sub(r"(?<!\\)\|", r"\\|", prose(text))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A table of cells in Markdown; `align` has l or r for each column."""
    rule = "|".join({"l": ":--", "r": "--:"}[side] for side in align)
    lines = ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
