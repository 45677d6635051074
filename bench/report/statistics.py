"""What is said of one quantity measured with several seeds, and of which method's is the highest."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import stdtrit

DRAWS = 10_000


@dataclass(frozen=True)
class Estimate:
    """One quantity measured with several seeds; values by seed."""

    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values.values())

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of the mean by Student's t; None for one seed."""
        count = len(self.values)
        if count < 2:
            return None
        return float(stdtrit(count - 1, 0.975)) * statistics.stdev(self.values.values()) / math.sqrt(count)


@dataclass(frozen=True)
class OverDraws(Estimate):
    """One quantity measured with several seeds and, of each, with the same draws of labels; values are the means by
    seed."""

    draws: Mapping[int, Mapping[int, float]]
    """By draw, and in it by seed."""
    by_draws: bool
    """Whether nothing but the draws is random, as of a frozen network, or draws have seeds of their own; so one seed
    has an interval."""

    @classmethod
    def of(cls, told: Mapping[int, Mapping[int, float]], by_draws: bool = False) -> Self:
        """Of values by seed and in it by draw, at least one. Draws that not every seed has are left out, or a mean over
        seeds would be one of other draws; the seeds must have one in common."""
        common = sorted(set.intersection(*(set(each) for each in told.values())))
        return cls(
            {seed: statistics.fmean(each[draw] for draw in common) for seed, each in told.items()},
            {draw: {seed: each[draw] for seed, each in told.items()} for draw in common},
            by_draws,
        )

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of the mean over other draws and other seeds; None where there is one seed.

        The variance of the mean is that of the draws' means over their number, and that of the seeds' means over
        theirs: two-way random effects, by which what neither explains counts twice, so that the interval is rather too
        wide. Degrees of freedom by Welch and Satterthwaite. One draw, as of all labels, has seeds alone.
        """
        if len(self.values) < 2 and not self.by_draws:
            return None
        means = [statistics.fmean(seeds.values()) for seeds in self.draws.values()]
        groups = [values for values in (means, list(self.values.values())) if len(values) > 1]
        return _half_width(groups) if groups else None

    def minus(self, other: "OverDraws") -> "OverDraws | None":
        """The difference over the same draws, of each from the other's mean over its seeds; None where they share no
        draw."""
        shared = self.draws.keys() & other.draws.keys()
        if not shared:
            return None
        told = {
            seed: {draw: self.draws[draw][seed] - statistics.fmean(other.draws[draw].values()) for draw in shared}
            for seed in self.values
        }
        return OverDraws.of(told, self.by_draws)


def _half_width(samples: list[list[float]], comparisons: int = 1) -> float:
    """Half of the 95 % interval of a sum or difference of the samples' means, which so many such intervals hold at once
    (Bonferroni); 0 of nothing random."""
    parts = [(statistics.variance(values) / len(values), len(values)) for values in samples]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0
    # Welch and Satterthwaite's degrees of freedom, by shares, so that no square of a small variance is lost
    freedom = 1 / sum((variance / total) ** 2 / (count - 1) for variance, count in parts)
    return float(stdtrit(freedom, 1 - 0.025 / comparisons)) * math.sqrt(total)


def half_width_of_difference(
    one: Estimate, other: Estimate, certain: Collection[Estimate] = (), comparisons: int = 1
) -> float | None:
    """Half of the 95 % interval of the difference of two means by Welch's t, the one's seeds being other than the
    other's, which holds for so many `comparisons` at once; None where that cannot be told from one seed. Of what is
    `certain` nothing is random: it has one number, and the interval is that of the other's mean."""
    spread = [estimate for estimate in (one, other) if not any(estimate is each for each in certain)]
    if any(len(estimate.values) < 2 for estimate in spread):
        return None
    return _half_width([list(estimate.values.values()) for estimate in spread], comparisons)


def probability_of_rank_1(accuracies: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """How often each method's mean is the highest, when each mean is as uncertain as Student's t has it.

    Among the methods with two seeds or more; a draw that several lead is shared. Empty for fewer than two. (A bootstrap
    of three seeds is far too sure: it cannot draw a mean beyond the seeds that were seen.)
    """
    measured = {method: np.array(list(values)) for method, values in accuracies.items()}
    measured = {method: values for method, values in measured.items() if len(values) > 1}
    if len(measured) < 2:
        return {}
    generator = np.random.default_rng(0)
    means = np.stack(
        [
            values.mean() + values.std(ddof=1) / math.sqrt(len(values)) * generator.standard_t(len(values) - 1, DRAWS)
            for values in measured.values()
        ]
    )
    leads = means == means.max(0)
    return dict(zip(measured, (leads / leads.sum(0)).mean(1).tolist(), strict=True))
