"""What is said of one quantity measured with several seeds, and of which method's is the highest."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

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


def half_width_of_difference(one: Estimate, other: Estimate, certain: Collection[Estimate] = ()) -> float | None:
    """Half of the 95 % interval of the difference of two means by Welch's t, the one's seeds being other than the
    other's; None where that cannot be told from one seed. Of what is `certain` nothing is random: it has one number,
    and the interval is that of the other's mean."""
    spread = [estimate for estimate in (one, other) if not any(estimate is each for each in certain)]
    if any(len(estimate.values) < 2 for estimate in spread):
        return None
    counts = [len(estimate.values) for estimate in spread]
    variances = [
        statistics.variance(estimate.values.values()) / count for estimate, count in zip(spread, counts, strict=True)
    ]
    total = sum(variances)
    if total == 0:
        return 0.0
    # Welch and Satterthwaite's degrees of freedom, by shares, so that no square of a small variance is lost
    freedom = 1 / sum((each / total) ** 2 / (count - 1) for each, count in zip(variances, counts, strict=True))
    return float(stdtrit(freedom, 0.975)) * math.sqrt(total)


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
