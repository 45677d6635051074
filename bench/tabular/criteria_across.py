"""Whether a criterion without labels tells which method is better: `python -m bench.tabular.criteria_across TABLE...
--out FOLDER`.

Of recorded tables, each method has the configuration that instance accuracy chooses among all that were recorded, each
trained once, or its published recipe. A criterion's figure of it is compared with its test accuracy, both means over
the seeds with which they were recorded: by Spearman's rank correlation over the methods, and by what is lost, in
points, where the method is taken of which the criterion says most. Intervals are of 95 %, from resampling the methods.
Leave-one-out kNN with all labels stands beside the criteria.

The figures are of training images. A criterion that trains some methods and not others may favour those; a correlation
over so few methods and two sets of small images cannot rule that out. Writes `across.md`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from algorithms.evaluation.metrics import CRITERIA, INSTANCE_ACCURACY
from bench.files import write_atomically
from bench.tabular.criteria_regret import Recorded, read
from bench.tabular.printing import markdown, parser_of, refusals

JUDGES = (*(metric.name for metric in CRITERIA), "all labels, leave-one-out")
RESAMPLES = 2_000

Array = NDArray[np.float64]


def correlation(figures: Array, truth: Array) -> Array:
    """Spearman's of the last axis; NaN where all of one are equal."""
    ranks = [rankdata(each, axis=-1) for each in (figures, truth)]
    one, other = (each - each.mean(-1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore"):
        found: Array = (one * other).sum(-1) / np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return found


def lost(figures: Array, truth: Array) -> Array:
    """What the method of the highest figure is worse than the best one, of the last axis."""
    taken = np.take_along_axis(truth, figures.argmax(-1)[..., None], -1)[..., 0]
    found: Array = truth.max(-1) - taken
    return found


def figures_of(methods: Mapping[str, Recorded], judge: str, *, recipe: bool) -> tuple[Array, Array]:
    """The judge's figures, the more the better, and the test accuracy in points, of each method's published recipe, or
    else of the configuration that instance accuracy chooses; of the methods that the judge has seen."""
    pairs = []
    for method in methods.values():
        if judge in method.merits:
            place = 0 if recipe else int(method.merits[INSTANCE_ACCURACY.name][0, 0].argmax())
            pairs.append((method.merits[judge][0, :, place].mean(), method.truth[place]))
    figures, truth = np.array(pairs, dtype=float).reshape(-1, 2).T
    return figures, truth


def measure(figures: Array, truth: Array) -> tuple[float, float, float, float]:
    """The correlation, the ends of its interval, and what is lost in points."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(truth), (RESAMPLES, len(truth)))
    low, high = np.nanpercentile(correlation(figures[drawn], truth[drawn]), (2.5, 97.5))
    return float(correlation(figures, truth)), float(low), float(high), float(lost(figures, truth))


def report(name: str, methods: Mapping[str, Recorded]) -> str:
    """The Markdown of one table."""
    body = []
    for judge in JUDGES:
        cells = [judge]
        for recipe in (False, True):
            figures, truth = figures_of(methods, judge, recipe=recipe)
            if len(truth) < 3:
                cells += ["—", "—"]
                continue
            found, low, high, points = measure(figures, truth)
            cells += [f"{found:.2f} ({low:.2f} to {high:.2f})", f"{points:.1f}"]
        body.append(cells)
    head = ["judge", "winners", "lost, points", "recipes", "lost, points"]
    return "\n".join([f"## {name}, {len(methods)} methods", "", *markdown(head, body)])


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    options = parser.parse_args()
    parts = ["Spearman's correlation over methods with test kNN, 95 % intervals in brackets (`criteria_across`)."]
    for path in map(Path, options.tables):
        with refusals():
            found = read(path)
        told = {name: method for name, method in found.items() if INSTANCE_ACCURACY.name in method.merits}
        parts.append(report(path.stem, told))
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "across.md", "\n\n".join(parts) + "\n")
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
