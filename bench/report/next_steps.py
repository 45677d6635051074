"""What to run next after a run, and what it costs, in words."""

import math
from collections.abc import Sequence

from scipy.special import ndtri

from bench.report.comparison import CONFIDENCE, Comparison
from bench.report.labels import UNTRAINED
from bench.report.results import Results
from bench.report.rows import Row
from bench.report.run import budget_seconds
from bench.report.text import listed
from bench.search.budget import Budget

MOST_SEEDS = 30
"""Beyond so many seeds, telling two methods apart is worth less than it costs."""
POWER = 0.8
"""With this probability the seeds that are asked for tell the leading two apart, if they differ by what was seen."""
EXTRA = 1.2
"""What the plan's estimate of a budget is multiplied by: trials of the recipes, calibration and start-up."""


def told(best: Sequence[Row], found: Comparison, results: Results, settled: bool) -> str:
    """One thing or two, of the methods that may be the best; empty of a run that has not ended, or in which nothing is
    ranked. `settled` is whether more compute is not seen to change who leads."""
    if not best or results.run.get("closed") not in ("done", "budget"):
        return ""
    if UNTRAINED in found.estimates and not found.above(UNTRAINED, [row.method for row in best]):
        return (
            "Choose none of them yet, as none is above an untrained network beyond doubt: see whether labels and "
            "images belong together, train longer (--epochs), or take more images."
        )
    if not settled:
        return _more_compute(results)
    if len(best) > 1:
        return _more_seeds(best, found, results)
    keep = "Take the encoder: the same command with --keep-encoders writes it"
    return f"{keep} (kept/{best[0].method})."


def _more_compute(results: Results) -> str:
    seconds = budget_seconds(results.run)
    if not seconds:
        return ""
    budget = _budget(results, 2 * seconds)
    longer = f"the same command with --budget {budget} continues this run"
    return f"Search longer, as another method led at half of the compute: {longer}."


def _more_seeds(best: Sequence[Row], found: Comparison, results: Results) -> str:
    """How many seeds would tell the leading two apart, as far as that is worth while; else which of them to take."""
    one, other = (row.method for row in best[:2])
    number = seeds_to_tell(found, one, other, len(best))
    difference = 100 * (found.estimates[one].mean - found.estimates[other].mean)
    apart = f"{one} and {other} are {difference:.2f} points apart"
    if number <= MOST_SEEDS:
        seconds = sum((2 * number + 2) * (row.training_seconds or 0.0) for row in best)
        methods = ",".join(row.method for row in best)
        return (
            f"{apart}: about {number} seeds would tell. A run of {listed([row.method for row in best])} alone does it: "
            f"--methods {methods} --seeds {number} --budget {_budget(results, EXTRA * seconds)}."
        )
    cheapest = min(best, key=lambda row: row.training_seconds or math.inf)
    return (
        f"Take the cheapest of them, {cheapest.method}: {apart}, which more than {MOST_SEEDS} seeds would have to tell."
    )


def seeds_to_tell(found: Comparison, one: str, other: str, among: int) -> int:
    """How many seeds each of two methods needs so that a two-sided test, corrected for so many methods, finds the
    difference that was seen with `POWER` (normal approximation)."""
    difference = abs(found.estimates[one].mean - found.estimates[other].mean)
    variance = sum(found.error(name) ** 2 * len(found.estimates[name].values) for name in (one, other))
    quantile = float(ndtri(1 - (1 - CONFIDENCE) / 2 / max(1, among - 1)) + ndtri(POWER))
    if difference == 0:
        return 10 * MOST_SEEDS
    return max(2, math.ceil(min(variance * (quantile / difference) ** 2, 10.0 * MOST_SEEDS)))


def _budget(results: Results, seconds: float) -> Budget:
    device = (results.run.get("budget") or {}).get("device") or "cpu"
    return Budget(device, max(seconds, 1.0)).rounded_up()
