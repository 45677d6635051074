"""A run beside the numbers that others published: `ssl-bench anchors RUN_DIR` writes anchors.md there.

Each published number stands in `bench/report/anchors.yaml` with its source and setting. It is comparable with a run
only where kind, encoder, epochs, image size and training images are the same; else the page says what differs.
Nor is a recipe comparable that is adapted, was fitted to the encoder or the data set, or failed with a seed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from algorithms.evaluation.metrics import KNN_200, PURITY_20
from bench.files import write_atomically
from bench.report import results
from bench.report.judged import column
from bench.report.results import Results
from bench.report.rows import Row, rows
from bench.report.run import fact, origin
from bench.report.text import DASH, bracketed, markdown_text, one_line, seeds_note, value_text
from bench.report.trials import fitted, recipe_of, recipe_trial, winning_trial

PUBLISHED = Path(__file__).with_name("anchors.yaml")
MISSING_POINTS = 5.0
"""So far below a comparable number, at the published recipe, a method is taken to have a bug."""


@dataclass(frozen=True)
class Anchor:
    """One published number, in percent."""

    method: str
    value: float
    source: str
    protocol: str
    setting: dict[str, Any]


def load(path: str | Path = PUBLISHED) -> list[Anchor]:
    """The published numbers, in the file's order."""
    return [
        Anchor(method, float(value), entry["source"], entry["protocol"], entry["setting"])
        for entry in yaml.safe_load(Path(path).read_text())
        for method, value in entry["values"].items()
    ]


def setting(found: Results, method: str) -> dict[str, Any]:
    """What decides whether a number of the method may be compared with another; in `own`, in words, what does not
    depend on the other."""
    trials = found.trainings
    trials = trials[(trials.method == method) & (trials.stage != "baseline")]
    images = (found.run.get("facts") or {}).get("images") or {}
    values = {
        name: trials[name].dropna().iloc[0] if len(trials[name].dropna()) else None
        for name in ("encoder", "epochs", "image_size", "batch_size")
    }
    own = [
        markdown_text(f"{name} {value_text(trained)} instead of {value_text(asked)}")
        for recipe in [recipe_trial(trials)]
        for name, (asked, trained) in ({} if recipe is None else fitted(recipe)).items()
    ]
    adapted = origin(found.run, method).get("adapted")
    own += [f"the recipe is adapted: {markdown_text(one_line(adapted, 400))}"] if adapted else []
    failed = int(((trials.stage == "published") & (trials.state == "failed")).sum())
    own += [f"{failed} of the recipe's seeds failed"] if failed else []
    return values | {"images": images.get("train"), "dataset": trials.dataset.iloc[0], "own": own}


def differences(anchor: Anchor, here: dict[str, Any]) -> list[str]:
    """What keeps the anchor's number from being compared, in words; empty if nothing does."""
    there: dict[str, Any] = {"image_size": 32, "images": 50_000, "dataset": "cifar10"} | anchor.setting
    names = {"dataset": "", "image_size": "px", "images": "training images", "epochs": "epochs", "encoder": ""}
    kinds: dict[str, list[str]] = {"knn": [], "purity": ["of another layer, in training mode"]}
    words = list(kinds.get(there["kind"], [f"a {there['kind']} classifier"]))
    for name, unit in names.items():
        if here[name] != there[name]:
            words.append(f"{_text(here[name])} instead of {_text(there[name])} {unit}".strip())
    return [*words, *here["own"]]


def _text(value: str | float | None) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else f"{int(value):,}"


def verdict(gap: float) -> str:
    """Of a comparable number: ours less theirs, in points."""
    if gap < -MISSING_POINTS:
        return f"**{gap:+.1f}: more than {MISSING_POINTS:.0f} points below, look for a bug**"
    return f"{gap:+.1f}: agrees" if gap <= MISSING_POINTS else f"{gap:+.1f}: above"


def ours(found: Results, method: str, kind: str) -> tuple[float | None, float | None]:
    """Mean test accuracy over seeds, in percent, of the published recipe and of the winner."""
    measured = column("test", PURITY_20 if kind == "purity" else KNN_200)
    done = found.trials[(found.trials.method == method) & (found.trials.state == "complete")]
    winner = winning_trial(found.trials[found.trials.method == method], found.run)
    won = (None if winner is None else recipe_of(winner)) or "confirm"
    recipe, tuned = (done[done.stage == stage][measured].dropna() for stage in ("published", won))
    return _mean(recipe), _mean(tuned)


def _mean(values: pd.Series) -> float | None:
    return 100 * float(values.mean()) if len(values) else None


def page(found: Results, anchors: list[Anchor]) -> str:
    """The run's numbers beside the published ones, in Markdown."""
    lines = [
        f"# {found.run.get('name')} beside published numbers",
        "",
        "Made by `ssl-bench anchors RUN_DIR` from the run's Parquet files and `bench/report/anchors.yaml`. Ours "
        "are test accuracies at the last epoch, in percent, mean over seeds: kNN (k=200), and purity@20 beside purity. "
        "A dash was not measured."
        + (" The images were stored as JPEG, which costs about two points." if "JPEG" in _note(found) else ""),
        "",
        "| method | kind | published recipe | tuned | elsewhere | compared | where, and how |",
        "|:--|:--|--:|--:|--:|:--|:--|",
    ]
    made = {row.method: row for row in rows(found)}
    for method in sorted(found.trainings[found.trainings.stage != "baseline"].method.unique()):
        row, name = made[method], markdown_text(method)
        here, theirs = setting(found, method), [anchor for anchor in anchors if anchor.method == method]
        for anchor in theirs:
            kind = anchor.setting["kind"]
            recipe, tuned = ours(found, method, kind)
            if why := differences(anchor, here):
                compared = "not comparable: " + ", ".join(why)
            else:
                compared = DASH if recipe is None else verdict(recipe - anchor.value)
            told = [name, kind, *_cells(row, recipe, tuned), f"{anchor.value:.1f}", compared]
            lines.append(f"| {' | '.join(told)} | {anchor.source}; {anchor.protocol} |")
        if not theirs:
            told = [name, "knn", *_cells(row, *ours(found, method, "knn"))]
            lines.append(f"| {' | '.join(told)} | — | nothing published | |")
    return "\n".join(lines) + "\n"


def _note(found: Results) -> str:
    return str(fact(found.run, "dataset_note") or "")


def _cells(row: Row, recipe: float | None, tuned: float | None) -> list[str]:
    """Both accuracies, each with what failed."""
    notes = (
        seeds_note(row.published, row.published_failed_seeds),
        seeds_note(row.accuracy, row.failed_seeds),
    )
    return [_percent(value) + bracketed(note) for value, note in zip((recipe, tuned), notes, strict=True)]


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def write(folder: str | Path) -> Path:
    """Write the page of the run in `folder`. Raises UserError where its Parquet files cannot be read."""
    path = Path(folder) / "anchors.md"
    write_atomically(path, page(results.load(folder), load()))
    return path
