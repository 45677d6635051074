"""How to read the page: the rules of the benchmark, and the notes of the table."""

import html
import re

from markupsafe import Markup

from bench.report.notes import ABOUT_THE_DATA, FROM_ELSEWHERE, Note, footer
from bench.report.page import Page


def section(page: Page) -> Markup:
    notes = [
        note
        for note in footer(page.results, page.rows, page.verdict)
        if note.label not in (ABOUT_THE_DATA, FROM_ELSEWHERE)
    ]  # these stand at the head of the page, and below its table
    return page.render("protocol.html", entries=[(note.label, _unmarked(note)) for note in notes])


def _unmarked(note: Note) -> str:
    """A note's text without Markdown."""
    return note.text if note.plain else re.sub(r"\\(.)", r"\1", html.unescape(note.text)).replace("`", "")
