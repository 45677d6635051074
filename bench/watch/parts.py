"""A page in parts, so that only those travel to a browser that have changed."""

import html
import json
import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SECTION = re.compile(r'<section id="([\w-]+)">.*?</section>\n', re.DOTALL)
NAV = '<nav aria-label="Sections"><div>'
FIGURES = '<script type="application/json" id="figures">'


@dataclass(frozen=True)
class Parts:
    """Of a page that `page.html` has made: what is inside of its header, its links to sections, the sections by their
    names, each with its tags, and the figures by theirs, as JSON."""

    head: str
    nav: str
    sections: Mapping[str, str]
    figures: Mapping[str, str]

    @classmethod
    def of(cls, page: str) -> "Parts":
        page = str(page)  # which may be Markup, whose parts would escape what they are put together with
        sections = {found[1]: found[0] for found in SECTION.finditer(page)}
        figures: dict[str, Any] = json.loads(_between(page, FIGURES, "</script>"))
        return cls(
            _between(page, "<header>", "</header>"),
            _between(page, NAV, "</div></nav>"),
            sections,
            {name: script_json(figure) for name, figure in figures.items()},
        )


def filled(page: str, parts: Parts) -> str:
    """`page` with these parts in the places of its own."""
    page = _put(str(page), "<header>", "</header>", parts.head)
    page = _put(page, NAV, "</div></nav>", parts.nav)
    page = _put(page, FIGURES, "</script>", _json_object(parts.figures))
    begin = page.index("<main>\n") + len("<main>\n")
    own = [found.span() for found in SECTION.finditer(page)]
    end = own[-1][1] if own else begin
    return page[: own[0][0] if own else begin] + "".join(parts.sections.values()) + page[end:]


def script_json(value: object) -> str:
    """JSON that may stand in a script, which `<` could end early."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _between(page: str, begin: str, end: str) -> str:
    place = page.index(begin) + len(begin)
    return page[place : page.index(end, place)]


def _put(page: str, begin: str, end: str, content: str) -> str:
    place = page.index(begin) + len(begin)
    return page[:place] + content + page[page.index(end, place) :]


def _json_object(values: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{script_json(name)}:{text}" for name, text in values.items()) + "}"


class Versions:
    """The parts as they are now, and when each was last changed. Used by several threads.

    They come in layers, which are renewed one by one and stand on one another: a layer's sections before those of the
    later ones, its figures beside theirs.
    """

    def __init__(self, layers: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._boot, self._now = secrets.token_hex(4), 0  # a browser may remember what another server has told
        self._layers: dict[str, Parts] = dict.fromkeys(layers, Parts("", "", {}, {}))
        self._changed: dict[tuple[str, str], int] = {}

    def put(self, layer: str, parts: Parts) -> None:
        """Renew a layer."""
        with self._lock:
            before = _named(self.whole)
            self._layers[layer] = parts
            after = _named(self.whole)
            if after != before:
                self._now += 1
                self._changed |= {name: self._now for name, text in after.items() if before.get(name) != text}

    @property
    def whole(self) -> Parts:
        layers = list(self._layers.values())
        sections = {name: text for each in layers for name, text in each.sections.items()}
        figures = {name: text for each in layers for name, text in each.figures.items()}
        return Parts("".join(each.head for each in layers), "".join(each.nav for each in layers), sections, figures)

    @property
    def version(self) -> str:
        return f"{self._boot}-{self._now}"

    def page(self, frame: str, script: str) -> str:
        """A page with all parts as they are now, in the frame of one that `page.html` has made. It loads the script
        that renews it."""
        with self._lock:
            page = filled(frame, self.whole)
            tag = f'<script src="{html.escape(script)}" data-version="{self.version}"></script>\n</body>'
        return tag.join(page.rsplit("</body>", 1))

    def since(self, version: str) -> str:
        """What has changed since then, as JSON: `version`; `sections`, their names in order; `parts`, HTML by name;
        `figures`. Everything, where that version is unknown."""
        with self._lock:
            boot, _, number = version.partition("-")
            known = int(number) if boot == self._boot and number.isdecimal() and len(number) < 20 else -1
            whole = self.whole
            new = {name: text for name, text in _named(whole).items() if self._changed.get(name, 0) > known}
            told = {name: text for (kind, name), text in new.items() if kind != "figure"}
            figures = {name: text for (kind, name), text in new.items() if kind == "figure"}
            head = {"version": self.version, "sections": list(whole.sections), "parts": told}
            return script_json(head)[:-1] + ',"figures":' + _json_object(figures) + "}"


def _named(parts: Parts) -> dict[tuple[str, str], str]:
    """Every part by its kind and its name. A section's name is its id, which the header and the navigation have not."""
    found = {("frame", "header"): parts.head, ("frame", "nav"): parts.nav}
    found |= {("section", name): text for name, text in parts.sections.items()}
    return found | {("figure", name): text for name, text in parts.figures.items()}
