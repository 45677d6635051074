"""Which judge ranks as the test images do: `python -m bench.tabular.judges TABLE...` prints it in Markdown.

Of every method, Spearman's rank correlation of a judge's figures with the test accuracy over configurations at the last
epoch, each trained with one seed, mean over seeds; of all configurations, and of the third with the best test accuracy
by the mean over seeds, among which a search has to choose. A training that diverged counts as last by all.
"""

import argparse
import sys

import numpy as np
import pandas as pd

from bench.errors import UserError
from bench.tabular.replay import HELD_OUT, LEAVE_ONE_OUT, TEST, read


def correlations(rows: pd.DataFrame, judge: str) -> tuple[list[float], list[float]]:
    """Of one method, by seed: over all configurations, and over the best third. A seed of which configurations are
    missing is left out."""
    last = rows["epoch"] == rows["epochs"]
    tables = {}
    for name in (judge, TEST):
        wide = rows[last].pivot(index="configuration", columns="seed", values=name)
        tables[name] = wide.reindex(index=sorted(rows["configuration"].unique()), columns=_whole(rows))
    test = tables[TEST].fillna(-1.0)
    best = test.mean(axis=1).nlargest(-(-len(test) // 3)).index
    found: tuple[list[float], list[float]] = ([], [])
    for seed in test:
        judged = tables[judge][seed].fillna(-1.0)
        for into, numbers in zip(found, (test.index, best), strict=True):
            into.append(float(judged[numbers].corr(test[seed][numbers], method="spearman")))
    return found


def _whole(rows: pd.DataFrame) -> list[int]:
    """The seeds with which every configuration was trained."""
    counts = rows.groupby("seed")["configuration"].nunique()
    return [int(str(seed)) for seed, count in counts.items() if count == rows["configuration"].nunique()]


def report(table: pd.DataFrame) -> str:
    """The table in Markdown; a line names the methods that leave-one-out ranks worse."""
    lines = [
        "| method | seeds | held-out tenth | leave-one-out | best third: held-out tenth | best third: leave-one-out |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    means, worse = [], []
    for name, rows in table.groupby("method"):
        (held, best_held), (own, best_own) = (correlations(rows, judge) for judge in (HELD_OUT, LEAVE_ONE_OUT))
        figures = [float(np.mean(each)) for each in (held, own, best_held, best_own)]
        means.append(figures)
        lines.append(f"| {name} | {len(held)} | " + " | ".join(f"{each:.2f}" for each in figures) + " |")
        places = [("all", figures[1] - figures[0]), ("the best third", figures[3] - figures[2])]
        worse += [f"{name} ({place}, by {-more:.2f})" for place, more in places if round(more, 2) < 0]
    lines.append("| mean | | " + " | ".join(f"{each:.2f}" for each in np.nanmean(means, axis=0)) + " |")
    lines += ["", f"Leave-one-out ranks worse than a held-out tenth: {', '.join(worse) or 'nowhere'}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="Parquet files of bench.tabular.record")
    for path in parser.parse_args().tables:
        try:
            print(f"## {path}\n\n{report(read(path))}\n")
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
