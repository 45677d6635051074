"""What encoders have learned, to look at: the neighbours of some images, a map of more, and what is taken for what."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.inspections import EXTENT, FOLDER, Inspected
from bench.report.page import PALETTE, SHAPES, Chart, Page, text
from bench.report.rows import Row
from bench.report.text import count

MATRIX, NAMED = 100, 30
"""Classes that a matrix has room for, and those whose names stand beside it."""
COLORS = len(PALETTE)
"""Classes that the map tells apart in a legend."""
PAIRS, MORE_PAIRS = 6, 20
"""The pairs of classes that are confused most: beside a matrix, and in its place."""


class Shown(NamedTuple):
    """An encoder that the section shows."""

    title: str
    found: Inspected


def section(page: Page) -> Markup | None:
    """None where nothing was inspected."""
    shown = list(_chosen(page))
    if page.inspections is None or not shown:
        return None
    images = page.inspections.images
    labelled = any(label >= 0 for label in images.labels)
    classes = _classes(page, shown) if labelled else []
    matrix = 1 < len(classes) <= MATRIX
    told = {
        "side": images.side,
        "columns": images.columns,
        "labels": images.labels,
        "asked": images.asked,
        "classes": classes,
        "encoders": [_told(each.found, matrix) for each in shown],
    }
    mapped = _map(page, images.labels, classes)
    page.figures[mapped.name]["told"] = told
    return page.render(
        "learned.html",
        encoders=[each.title for each in shown],
        sheet=f"{FOLDER}/images.webp",
        columns=images.columns,
        map=mapped,
        confusion=_confusion(page, classes) if matrix else None,
        labelled=labelled,
        asked=count(len(images.asked), "test image"),
        images=count(len(images.labels), "test image"),
    )


def _chosen(page: Page) -> Iterator[Shown]:
    """Of each method and baseline the encoder of its first seed, of the winner where that is confirmed."""
    if page.inspections is None:
        return
    for row in page.rows:
        trials = page.trials[(page.trials.method == row.method) & page.trials.uid.isin(list(page.inspections.of))]
        stages = [*_stages(row), *sorted(trials.stage.unique())]
        trials = trials.assign(place=[stages.index(stage) for stage in trials.stage])
        for trial in trials.sort_values(["place", "seed", "uid"]).head(1).itertuples():
            seed = "" if row.frozen else f", seed {trial.seed}"
            yield Shown(f"{row.title}{seed}", page.inspections.of[str(trial.uid)])


def _stages(row: Row) -> tuple[str, ...]:
    """By which the row is told, the first that there is."""
    return ("baseline",) if row.baseline else (*filter(None, [row.won]), "confirm", "ours", "published")


def _classes(page: Page, shown: list[Shown]) -> list[str]:
    """What the classes are called, escaped; where that is not told, by their places."""
    told = ((page.run.get("facts") or {}).get("images") or {}).get("classes") or []
    labels = page.inspections.images.labels if page.inspections else []
    places = [place for each in shown for line in each.found.confusion for place in line[:2]]
    number = max(len(told), 1 + max([*labels, *places], default=-1))
    return [text(told[place] if place < len(told) else f"class {place}", 40) for place in range(number)]


def _told(found: Inspected, matrix: bool) -> dict[str, Any]:
    """In whole numbers, as the page's script reads it."""
    of_class = Counter[int]()
    for label, _, times in found.confusion:
        of_class[label] += times
    wrong = [
        (times / max(1, of_class[label]), label, taken) for label, taken, times in found.confusion if label != taken
    ]
    wrong.sort(key=lambda each: (-each[0], *each[1:]))
    return {
        "near": [place for line in found.neighbours for place in line],
        "map": [place for line in found.map for place in line],
        "trust": round(1000 * found.trustworthiness),
        "pairs": [
            [label, taken, round(1000 * part)] for part, label, taken in wrong[: PAIRS if matrix else MORE_PAIRS]
        ],
        "confusion": [number for line in found.confusion for number in line] if matrix else [],
    }


def _map(page: Page, labels: list[int], classes: list[str]) -> Chart:
    """Where the images lie comes from the page's script, by their places in `customdata`."""
    traces = []
    for label in sorted(set(labels)):
        traces.append(
            go.Scatter(
                x=[],
                y=[],
                customdata=[place for place, each in enumerate(labels) if each == label],
                name=classes[label] if label >= 0 else "no label" if classes else "test images",
                mode="markers",
                marker={
                    "size": 7,
                    "opacity": 0.85,
                    "color": PALETTE[label % len(PALETTE)],
                    "symbol": SHAPES[label // 7 % len(SHAPES)][0],
                },
                hoverinfo="none",
            )
        )
    axis = {"showticklabels": False, "showgrid": False, "range": [-0.03 * EXTENT, 1.03 * EXTENT]}
    return page.chart(
        "learned-map",
        traces,
        "Map of the test images by the features of the encoder that is chosen",
        height=520,
        showlegend=1 < len(traces) <= COLORS,
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "xanchor": "left", "itemsizing": "constant"},
        margin={"l": 6, "r": 6, "t": 6, "b": 6},
        xaxis=axis,
        yaxis=axis | {"scaleanchor": "x"},
    )


def _confusion(page: Page, classes: list[str]) -> Chart:
    """How often comes from the page's script."""
    named = len(classes) <= NAMED
    places = list(range(len(classes)))
    axis = {
        "showgrid": False,
        "constrain": "domain",
        "tickvals": places if named else [],
        "ticktext": [each if len(each) <= 14 else text(each[:13] + "…") for each in classes] if named else [],
    }
    return page.chart(
        "learned-confusion",
        [
            go.Heatmap(
                z=[],
                hovertemplate="%{text}<extra></extra>",
                colorscale="Viridis",
                zmin=0,
                zmax=100,
                xgap=1,
                ygap=1,
                colorbar={"thickness": 10, "ticksuffix": " %"},
            )
        ],
        "How often images of a class are taken for each class by the encoder that is chosen",
        height=520,
        xaxis=axis | {"title": {"text": "taken for", "standoff": 4}, "tickangle": -45},
        yaxis=axis | {"title": {"text": "class", "standoff": 4}, "autorange": "reversed", "scaleanchor": "x"},
    )
