"""What a seed does to all configurations of a method: `python -m bench.tabular.seeds TABLE...` prints it in Markdown.

The test accuracy at the last epoch is taken for the sum of what its configuration, its seed and chance do (two-way
analysis of variance without replication). What the seed does tells no two configurations apart that are trained with
the same one; the **rest** is what then is left of the spread between trainings of one configuration.
"""

import math

import numpy as np
import pandas as pd

from bench.tabular.judges import by_seed
from bench.tabular.printing import print_reports
from bench.tabular.replay import TEST


def spreads(rows: pd.DataFrame) -> tuple[float, float]:
    """Of one method, in points of accuracy: the standard deviation of trainings of one configuration with different
    seeds, and the rest. Of the better half of the configurations that came to their end with every seed: what failed to
    learn says nothing of the good ones."""
    figures = 100 * by_seed(rows, TEST, int(rows["epochs"].iloc[0])).dropna()
    figures = figures[figures.mean(axis=1) >= figures.mean(axis=1).median()]
    within = figures.to_numpy() - figures.mean(axis=1).to_numpy()[:, None]
    count, seeds = within.shape
    if count < 2 or seeds < 2:
        return math.nan, math.nan
    rest = within - within.mean(0)
    trainings = float(np.sum(within**2)) / (count * (seeds - 1))
    return math.sqrt(trainings), math.sqrt(float(np.sum(rest**2)) / ((count - 1) * (seeds - 1)))


def report(table: pd.DataFrame) -> str:
    """The table in Markdown."""
    lines = [
        "| method | spread of seeds, points | the rest, points | what seeds do to all |",
        "| --- | --- | --- | --- |",
    ]
    parts = []
    for name, rows in table.groupby("method"):
        trainings, rest = spreads(rows)
        parts.append(1 - (rest / trainings) ** 2)
        lines.append(f"| {name} | {trainings:.2f} | {rest:.2f} | {parts[-1]:.0%} |")
    return "\n".join([*lines, f"| mean | | | {np.nanmean(parts):.0%} |"])


def main() -> None:
    print_reports(__doc__, report)


if __name__ == "__main__":
    main()
