"""Pages of made-up runs, and what a browser would make of them."""

import json
import re
from html.parser import HTMLParser

from bench.report import report
from bench.report.page import ORDER
from tests.bench import synthetic_run

HOSTILE = "<script>alert('name')</script>{{cards}}%{x}"


TROUBLED = {
    "failing": {
        ("byol", "confirm"): 1,
        ("byol", "published"): 2,
        ("moco", "search"): 12,
        ("simsiam", "published"): 3,
        ("supervised", "baseline"): 1,
    },
    "fitted": {"swav": {"prototypes": 400}, "byol": {"prototypes": 400}},
}


TWO = {
    "published": {"byol": {"learning_rate": 0.7, "optimizer": "larc"}, "swav": {"prototypes": 3000}},
    "recipes": {
        "byol": {"source": "a repository's byol.py", "adapted": "8 <parts>"},
        "simclr": {"source": "a paper", "adapted": "a smaller head"},
    },
}

UNEVEN = {"protocols": synthetic_run.PROTOCOLS, "uneven": 0.03, "left_out": ("20", "100")}
"""Judged, with classes of which some are small."""


KINDS = {
    "usual": {},
    "no trial yet": {"methods": (), "baselines": False},
    "none finished": {"finished": False},
    "all failed": {"all_failed": True},
    "one method, one seed": {"methods": ("byol",), "seeds": 1, "trials": 3},
    "one trial": {"methods": ("byol",), "seeds": 1, "trials": 1, "baselines": False},
    "without baselines": {"methods": ("byol", "simclr"), "baselines": False},
    "one epoch": {"epochs": 1},
    "cut before an epoch": {"finished": False, "epochs": 2, "trials": 1, "baselines": False},
    "all methods": {"methods": ORDER, "trials": 6},
    "troubled": TROUBLED,
    "two recipes": TWO,
    "two recipes, troubled": TROUBLED | TWO,
    "every kind": synthetic_run.EVERY_KIND,
    "every kind, no labels": synthetic_run.EVERY_KIND | {"labelled": 0},
    "every kind, none finished": synthetic_run.EVERY_KIND | {"finished": False},
    "no labels": {"labelled": 0},
    "no labels, none finished": {"labelled": 0, "finished": False},
    "no labels, no trial yet": {"labelled": 0, "methods": (), "baselines": False},
    "no labels, troubled": {"labelled": 0} | TROUBLED | TWO,
    "few labels": {"labelled": 50},
    "few labels, none finished": {"labelled": 50, "finished": False, "baselines": False},
    "judged": {"protocols": synthetic_run.PROTOCOLS},
    "judged, every kind, uneven classes": synthetic_run.EVERY_KIND | UNEVEN,
    "judged, troubled": TROUBLED | TWO | {"protocols": synthetic_run.PROTOCOLS},
    "judged, none finished": {"finished": False, "protocols": synthetic_run.PROTOCOLS},
    "judged, one method, one seed": {"methods": ("byol",), "seeds": 1, "protocols": synthetic_run.PROTOCOLS},
    "judged, without baselines": {"baselines": False, "protocols": synthetic_run.PROTOCOLS},
    "judged, linear probes alone": {"protocols": ("linear",)},
    "judged, few labels alone": {"protocols": ("few", "scratch")},
    "a preset": {"augment": True, "trials": 30},
    "a preset, none finished": {"augment": True, "finished": False},
    "a preset, no labels": {"augment": True, "labelled": 0, "trials": 20},
    "a preset, one trial": {"augment": True, "methods": ("byol",), "seeds": 1, "trials": 1, "baselines": False},
    "a preset, troubled": TROUBLED | TWO | {"augment": True},
    "a preset, all methods": {"augment": True, "methods": ORDER, "trials": 6},
}


class Checker(HTMLParser):
    """Notes what a browser would execute or fetch, and whether the tags are balanced."""

    EMPTY = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self, page):
        super().__init__()
        self.open, self.scripts, self.handlers, self.addresses, self.ids = [], 0, [], [], []
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append((tag, name))
            if name in ("src", "href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def make(folder, *arguments, **options):
    path = report.write(synthetic_run.write(folder, *arguments, **options))
    return path, path.read_text()


def charts(page):
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])
