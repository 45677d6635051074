"""How the methods stood at several budgets and after several epochs of their searches, and how alike these rankings
are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

PARTS = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the compute of the longest search, at which methods are ranked."""
FEWEST = 4
"""Methods, at least, of which two rankings are compared."""


def progress(trials: pd.DataFrame, epochs: pd.DataFrame, figure: str) -> dict[str, pd.DataFrame]:
    """For each method the best of the epochs' column `figure` so far, at the last epoch of a training, against the
    device-seconds that its search had taken.

    Columns `device_seconds` and `best`, a row per report or end of a trial, in the order in which they happened.
    """
    search = trials[trials.stage == "search"]
    reports = epochs[epochs.uid.isin(search.uid)].sort_values(["uid", "epoch"])
    spent = reports.groupby("uid").device_seconds
    last = reports.epoch == reports.uid.map(search.set_index("uid").epochs)
    reports = pd.DataFrame(
        {
            "method": reports.method,
            "time": reports.reported,
            "cost": spent.diff().fillna(reports.device_seconds).clip(lower=0),
            "accuracy": reports[figure].where(last),
        }
    )
    told = epochs.groupby("uid").device_seconds.max()
    ends = pd.DataFrame(
        {
            "method": search.method,
            "time": search.ended.fillna(reports.time.max()),
            "cost": (search.device_seconds - search.uid.map(told).astype(float).fillna(0.0)).clip(lower=0),
            "accuracy": np.nan,
        }
    )
    found = {}
    for method, events in pd.concat([reports, ends]).groupby("method"):
        events = events.sort_values("time", kind="stable")
        best = events.accuracy.cummax().ffill()
        curve = pd.DataFrame({"device_seconds": events.cost.cumsum(), "best": best})
        found[str(method)] = curve.reset_index(drop=True)
    return found


def best_at(curves: Mapping[str, pd.DataFrame], budgets: list[float]) -> pd.DataFrame:
    """The best accuracy of each method, a row each, within each budget, a column each."""
    return pd.DataFrame(
        {
            budget: {
                method: curve.best[curve.device_seconds <= budget * (1 + 1e-9)].max()
                for method, curve in curves.items()
            }
            for budget in budgets
        }
    )


@dataclass(frozen=True)
class Standing:
    """The best figure of each method's search, a row each, at parts of the compute or of the epochs, a column each."""

    best: pd.DataFrame

    @classmethod
    def by_compute(cls, curves: Mapping[str, pd.DataFrame]) -> Self:
        """At `PARTS` of the compute of the longest search."""
        most = max((float(curve.device_seconds.iloc[-1]) for curve in curves.values() if len(curve)), default=0.0)
        at = {part: best_at(curves, [part * most]).squeeze(axis=1) for part in PARTS}
        return cls(pd.DataFrame(at if curves else [], columns=PARTS))

    @classmethod
    def by_epoch(cls, trials: pd.DataFrame, epochs: pd.DataFrame, figure: str) -> Self:
        """After each epoch at which most of the trials that came to their last epoch were evaluated."""
        whole = trials[(trials.stage == "search") & (trials.state == "complete")]
        reports = epochs[epochs.uid.isin(whole.uid) & epochs[figure].notna()]
        best = reports.pivot_table(index="method", columns="epoch", values=figure, aggfunc="max")
        return cls(best.loc[:, best.notna().mean() >= 0.5])

    @property
    def ranks(self) -> pd.DataFrame:
        return self.best.rank(ascending=False, method="min")

    def leader(self, column: float) -> str | None:
        """Who had the best figure there; None where nobody had one."""
        known = self.best[column].dropna() if column in self.best else pd.Series(dtype=float)
        return str(known.idxmax()) if len(known) else None

    def correlation(self, early: float, late: float) -> float | None:
        """Spearman's correlation between the rankings there; None where too few have both, or all are equal."""
        if early not in self.best or late not in self.best:
            return None
        both = self.best[[early, late]].dropna().rank()
        if len(both) < FEWEST or both.nunique().min() < 2:
            return None
        return float(np.corrcoef(both.to_numpy().T)[0, 1])
