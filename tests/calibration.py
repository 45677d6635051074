"""How often are the page's claims of "better" wrong? Makes up runs of which the truth is known, asks the same functions
that the verdict asks, and counts.

    python -m tests.calibration --runs 2000
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bench.report.comparison import Comparison
from bench.report.statistics import Estimate

POINT = 0.01


class Truth(NamedTuple):
    """What a made-up run is drawn from."""

    means: np.ndarray
    deviations: np.ndarray
    """Of one training of each method."""


def equal(generator: np.random.Generator, count: int) -> Truth:
    """No method is better than another."""
    return Truth(np.full(count, 0.4), np.full(count, POINT))


def spread(generator: np.random.Generator, count: int) -> Truth:
    """Methods differ, and so do their deviations."""
    return Truth(
        0.4 + 2 * POINT * generator.standard_normal(count), POINT * np.exp(0.5 * generator.standard_normal(count))
    )


def uneven(generator: np.random.Generator, count: int) -> Truth:
    """Equal methods, every fifth of which is three times as unsteady as the others."""
    return Truth(np.full(count, 0.4), POINT * np.where(np.arange(count) % 5 == 0, 3.0, 1.0))


def near(generator: np.random.Generator, count: int) -> Truth:
    """The best two are the same, the others a little behind, with deviations of all kinds."""
    means = 0.4 - POINT * np.maximum(0, np.arange(count) - 1) / 4
    return Truth(means, POINT * np.exp(0.7 * generator.standard_normal(count)))


TRUTHS: dict[str, Callable[[np.random.Generator, int], Truth]] = {
    "all equal": equal,
    "different, uneven spreads": spread,
    "equal, a fifth unsteady": uneven,
    "two best, others near": near,
}


class Found(NamedTuple):
    """Of one run: whether a claim of each kind is wrong, and what can be told."""

    best: bool
    """The best is said to be among others."""
    alone: bool
    """One method is called the best, and another is as good or better."""
    above: bool
    """A method is said to be above a floor and is not."""
    differing: bool
    """A pair is said to differ the way it does not."""
    share: float
    """Of the methods, those that may be the best."""


def run(truth: Truth, generator: np.random.Generator, seeds: int) -> Found:
    """Draw a run and ask what is said of it."""
    count = len(truth.means)
    figures = truth.means[:, None] + truth.deviations[:, None] * generator.standard_normal((count, seeds))
    names = [f"m{place:02d}" for place in range(count)]
    mean = dict(zip(names, truth.means.tolist(), strict=True))
    estimates = {name: Estimate(dict(enumerate(values.tolist()))) for name, values in zip(names, figures, strict=True)}
    floor = Estimate({0: float(np.median(truth.means))})
    comparison = Comparison.of(estimates | {"floor": floor}, ["floor"])
    best, top = comparison.best(names), max(mean.values())
    tops = {name for name in names if mean[name] >= top - 1e-12}
    return Found(
        best=not tops & set(best),
        alone=len(best) == 1 and tops != set(best),
        above=any(mean[name] <= floor.mean for name in comparison.above("floor", names)),
        differing=any(mean[one] <= mean[other] for one, other in comparison.differing(names)),
        share=len(best) / count,
    )


def lines(runs: int, methods: tuple[int, ...], seeds: tuple[int, ...], seed: int = 0) -> Iterator[tuple[str, Found]]:
    """For each truth, number of methods and of seeds, the shares of runs with a wrong claim of each kind."""
    for (name, truth), count, number in itertools.product(TRUTHS.items(), methods, seeds):
        generator = np.random.default_rng([seed, count, number])
        found = [run(truth(generator, count), generator, number) for _ in range(runs)]
        shares = Found(*(float(np.mean(column)) for column in zip(*found, strict=True)))  # type: ignore[arg-type]
        yield f"{name}, {count} methods, {number} seeds", shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--methods", type=int, nargs="+", default=[2, 6, 25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5])
    asked = parser.parse_args()
    print("Wrong claims, in % of runs; at most 5 is right. Last, the share of methods that may be the best, in %.\n")
    print("| truth | the best is among | alone the best | above a floor | a pair differs | may be the best |")
    print("|:--|--:|--:|--:|--:|--:|")
    for name, found in lines(asked.runs, tuple(asked.methods), tuple(asked.seeds)):
        print(f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in found) + " |", flush=True)


if __name__ == "__main__":
    main()
