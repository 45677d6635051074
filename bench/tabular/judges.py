"""Which judge ranks as the test images do: `python -m bench.tabular.judges TABLE...` prints it in Markdown.

Of every method, Spearman's rank correlation of a judge's figures with the test accuracy over configurations at the last
epoch, each trained with one seed, mean over seeds; of all configurations, and of the third with the best test accuracy
by the mean over seeds, among which a search has to choose. A training that diverged counts as last by all. Below the
table: how leave-one-out at every epoch ranks as the mean test accuracy at the last one, and so when pruning can tell.
"""

import numpy as np
import pandas as pd

from bench.tabular.printing import markdown, print_reports
from bench.tabular.replay import HELD_OUT, LEAVE_ONE_OUT, TEST


def correlations(rows: pd.DataFrame, judge: str) -> tuple[list[float], list[float]]:
    """Of one method, by seed: over all configurations, and over the best third. A seed of which configurations are
    missing is left out."""
    last = int(rows["epochs"].iloc[0])
    judged_by, test = (by_seed(rows, name, last).fillna(-1.0) for name in (judge, TEST))
    best = test.mean(axis=1).nlargest(-(-len(test) // 3)).index
    found: tuple[list[float], list[float]] = ([], [])
    for seed in test:
        judged = judged_by[seed]
        for into, numbers in zip(found, (test.index, best), strict=True):
            into.append(float(judged[numbers].corr(test[seed][numbers], method="spearman")))
    return found


def by_seed(rows: pd.DataFrame, column: str, epoch: int) -> pd.DataFrame:
    """A method's figures at an epoch: a row is a configuration, a column a seed with which all were trained; NaN where
    a training diverged."""
    wide = rows[rows["epoch"] == epoch].pivot(index="configuration", columns="seed", values=column)
    return wide.reindex(index=sorted(rows["configuration"].unique()), columns=_whole(rows))


def by_epoch(table: pd.DataFrame) -> list[tuple[int, float, float]]:
    """Of every epoch: the rank correlation of leave-one-out with the mean test accuracy at the last one, and how often
    the configuration that is the best by that is among the best third; means over methods and seeds."""
    last, found = int(table["epochs"].iloc[0]), []
    for epoch in range(1, last + 1):
        ranks, kept = [], []
        for _, rows in table.groupby("method"):
            truth = by_seed(rows, TEST, last).mean(axis=1).fillna(-1.0)
            judged = by_seed(rows, LEAVE_ONE_OUT, epoch).fillna(-1.0)
            for seed in judged:
                ranks.append(float(judged[seed].corr(truth, method="spearman")))
                kept.append(truth.idxmax() in judged[seed].nlargest(-(-len(truth) // 3)).index)
        found.append((epoch, float(np.nanmean(ranks)), float(np.mean(kept))))
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
    lines += ["", f"Leave-one-out ranks worse than a held-out tenth: {', '.join(worse) or 'nowhere'}.", ""]
    lines += markdown(
        ["leave-one-out at epoch", "ranks as the test accuracy at the last", "has the best in its best third"],
        [[str(epoch), f"{rank:.2f}", f"{kept:.0%}"] for epoch, rank, kept in by_epoch(table)],
    )
    return "\n".join(lines)


def main() -> None:
    print_reports(__doc__, report)


if __name__ == "__main__":
    main()
