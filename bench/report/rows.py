"""A row per method: what every output shows of it, and in which order the methods stand."""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from algorithms.evaluation.metrics import METRICS, Metric
from bench.report.judged import column
from bench.report.results import ORIGIN, Results, parts_column
from bench.report.run import origin, paper_link, spaces
from bench.report.statistics import Estimate, OverDraws, probability_of_rank_1
from bench.report.text import network_text, one_line
from bench.report.trials import encoder_text, frozen, number, recipe_of, winning_trial
from bench.search.methods import FROZEN, WARM
from bench.search.plan import is_untrained
from bench.search.trials import RECIPES

EVALUATED = [metric for metric in METRICS.values() if metric.protocol != "knn"]
"""What protocols measure of the encoders that trainings have kept."""
BASELINES = {"supervised": "supervised from scratch", "random": "random initialisation", "pixels": "raw pixels"}


@dataclass(frozen=True)
class Row:
    """One method's line. Accuracies are by what the run is judged (`bench.report.judged`), as fractions; None is what
    was not measured.

    The means are over the seeds that completed. `failed_seeds` are those of the row's test accuracy that failed,
    `published_failed_seeds` those of the published recipe, `ours_failed_seeds` those of our recipe; of
    `gain_failed_seeds` one of the pair did.
    """

    method: str
    title: str
    baseline: bool
    paper: str | None
    own_encoder: str | None
    frozen: bool  # a pretrained network that is never trained here
    weights: str | None  # with which its encoder began; None from scratch
    trained_on: str | None  # what these were trained on; None where that is not said
    teacher: str | None  # the network that its encoder followed
    teacher_trained_on: str | None
    image_size: int | None  # at which its encoder sees the images
    tested: Mapping[str, Estimate]  # on the test images, by the name of the metric
    accuracy: Estimate | None  # of these the one by which the run is judged
    evaluated: Mapping[str, Estimate]  # by protocols, by the name of the metric; few labels are `OverDraws`
    failed_evaluations: Mapping[str, frozenset[int]]  # by protocol, the seeds whose encoder it failed to judge
    classes: Mapping[str, list[float | None]]  # by metric, its mean over seeds of each class
    ranks: bool  # whether that may be compared with other methods'
    published: Estimate | None
    ours: Estimate | None  # our recipe, where it is another one than the published
    gain: Estimate | None  # tuned minus published, paired by seed
    failed_seeds: frozenset[int]
    published_failed_seeds: frozenset[int]
    ours_failed_seeds: frozenset[int]
    gain_failed_seeds: frozenset[int]
    won: str | None  # the recipe that won: published | ours
    two_recipes: bool  # ours is another one than the published
    adapted: str | None  # how the published recipe is adapted, where it is not to the letter
    awaited: bool  # its test accuracy may still come
    search_accuracy: float | None  # of the winner in the search, or of its best so far
    training_seconds: float | None  # device-seconds of one whole training, median
    device_seconds: float  # everything charged to the method
    images_per_second: float | None
    peak_memory_bytes: float | None
    counts: Mapping[str, int]  # search trials by state
    first: float | None  # P(rank 1)

    @property
    def whole(self) -> bool:
        """Whether the row may be ranked: tested, and with no seed that failed, or failing would make a mean better."""
        return self.accuracy is not None and not self.failed_seeds

    @property
    def warm(self) -> bool:
        """Whether it is a method whose encoder begins with pretrained weights."""
        return not self.baseline and self.method.endswith(WARM)


def rows(results: Results) -> list[Row]:
    """A row per method, best first, and the baselines below them, best first. Below the best stand those of which a
    seed failed, then those that are not confirmed yet, then those that never will be."""
    trainings = results.trainings
    made = [
        _row(str(method), trainings[trainings.method == method], trials[trials.stage == "evaluate"], results)
        for method, trials in results.trials.groupby("method", sort=True)
    ]
    first = probability_of_rank_1({row.method: row.accuracy.values.values() for row in ranked(made) if row.accuracy})
    return sorted((replace(row, first=first.get(row.method)) for row in made), key=_rank)


def compared(made: Iterable[Row]) -> list[Row]:
    """The methods with the run's encoder and the same compute, warm-started ones and those with a teacher among them:
    what these know from elsewhere is told beside the table."""
    return [row for row in made if not row.baseline and not row.own_encoder]


def ranked(made: Iterable[Row]) -> list[Row]:
    """Those that are compared and whole; none before every one that is compared is confirmed or never will be, nor
    where nothing was measured that compares methods."""
    alike = compared(made)
    return [] if any(row.awaited for row in alike) else [row for row in alike if row.whole and row.ranks]


def leader(made: Iterable[Row]) -> Row | None:
    """The best of those that are ranked, if any is."""
    return next(iter(ranked(made)), None)


def _rank(row: Row) -> tuple[Any, ...]:
    tested = row.accuracy.mean if row.accuracy else -1.0
    searched = row.search_accuracy if row.search_accuracy is not None else -1.0
    standing = () if row.baseline else (not row.whole, row.accuracy is None, not row.awaited)
    return row.baseline, *standing, -tested, -searched, row.title


def _row(method: str, trials: pd.DataFrame, evaluations: pd.DataFrame, results: Results) -> Row:
    run, judged = results.run, results.judged
    # The trial of a recipe that is confirmed without a search is there, but was never begun.
    search = trials[(trials.stage == "search") & (trials.attempts > 0)]
    complete = trials[trials.state == "complete"]
    baseline = bool((trials.stage == "baseline").all())
    winner = winning_trial(trials, run)
    won = None if winner is None else recipe_of(winner)
    stage = "baseline" if baseline else won or "confirm"
    tested = complete[complete.stage == stage]
    recipe, ours = (_by_seed(complete[complete.stage == s], judged.test) for s in RECIPES)
    tuned = _by_seed(tested, judged.test)
    gains = {} if stage in ("published", "baseline") else {s: tuned[s] - recipe[s] for s in tuned if s in recipe}
    failed = trials[trials.state == "failed"]
    failed_seeds, recipe_failed, ours_failed = (
        frozenset(map(int, failed.seed[failed.stage == s])) for s in (stage, "published", "ours")
    )
    # A winner of None, or the end of the run, says that nothing is left to confirm.
    over = run.get("closed") == "done" or (run.get("winners") or {}).get(method, "") is None
    best = search[search.state == "complete"][judged.train].max() if winner is None else winner[judged.train]
    whole = tested if len(tested) else complete if len(complete) else trials
    is_frozen = bool(frozen(trials).any())
    own = trials[trials.own_encoder & (trials.stage != "baseline")]  # raw pixels have no encoder to mark
    trained = not is_untrained(method)
    weights, trained_on, teacher, teacher_trained_on = (_text(trials[name]) for name in ORIGIN)
    size = number(tested.image_size.max() if len(tested) else None)
    measured = {metric.name: _by_seed(tested, column("test", metric)) for metric in judged.measures}
    judging = evaluations[evaluations.of.isin(tested.uid)]
    judging, broken = (judging[judging.state == state] for state in ("complete", "failed"))
    by_draws = is_frozen or method == "supervised"  # whose draws are of networks with seeds of their own
    return Row(
        method=method,
        title=(_baseline(method, weights, size) if baseline else method) + (" †" if len(own) else ""),
        baseline=baseline,
        paper=paper_link(spaces(run).get(method, {}).get("paper")),
        own_encoder=encoder_text(own) if len(own) else None,
        frozen=is_frozen,
        weights=weights,
        trained_on=trained_on,
        teacher=teacher,
        teacher_trained_on=teacher_trained_on,
        image_size=None if size is None else int(size),
        tested={name: Estimate(values) for name, values in measured.items() if values},
        accuracy=_estimate(tuned),
        evaluated={name: estimate for name, estimate in _evaluated(judging, by_draws) if estimate},
        failed_evaluations={
            protocol: seeds
            for protocol in sorted({metric.protocol for metric in EVALUATED})
            if (seeds := frozenset(map(int, broken.seed[broken.protocol == protocol])))
        },
        classes={name: by_class for name, by_class in _classes(tested, judging) if by_class},
        ranks=judged.ranks,
        published=_estimate(recipe),
        ours=_estimate(ours),
        gain=_estimate(gains),
        failed_seeds=failed_seeds,
        published_failed_seeds=recipe_failed,
        ours_failed_seeds=ours_failed,
        gain_failed_seeds=frozenset() if stage in ("published", "baseline") else failed_seeds | recipe_failed,
        won=won if tuned else None,
        two_recipes=bool(trials.our_recipe.eq(True).any()),
        adapted=origin(run, method).get("adapted"),
        awaited=not (tuned or failed_seeds or over),
        search_accuracy=number(best),
        training_seconds=number((tested if len(tested) else complete).device_seconds.median()),
        device_seconds=float(trials.device_seconds.sum() + evaluations.device_seconds.sum()),
        images_per_second=number(whole.images_per_second.median()) if trained else None,
        peak_memory_bytes=number(whole.peak_memory_bytes.max()) if trained else None,
        counts={str(state): int(times) for state, times in search.state.value_counts().items()},
        first=None,
    )


def _baseline(method: str, weights: str | None, size: float | None) -> str:
    """A baseline's title; of a frozen network what it is, and at which side it sees the images."""
    if not method.startswith(FROZEN):
        return BASELINES.get(method, method)
    if weights is None:  # before its first report
        return f"frozen {method.removeprefix(FROZEN)}"
    return f"frozen {network_text(weights)}" + (f", {size:.0f} px" if size else "")


def _text(values: pd.Series) -> str | None:
    """What was told last."""
    told = values.dropna()
    return one_line(told.iloc[-1], 200) if len(told) else None


def _evaluated(judging: pd.DataFrame, by_draws: bool) -> Iterator[tuple[str, Estimate | None]]:
    """What protocols have measured, by metric; with few labels over draws, where these are told."""
    for metric in EVALUATED:
        values = _by_seed(judging, column("test", metric))
        draws = _parts(judging, metric) if metric.parts == "draws" else {}
        common = set.intersection(*(set(each) for each in draws.values())) if draws else set()
        yield metric.name, OverDraws.of(draws, by_draws) if common else _estimate(values)


def _classes(tested: pd.DataFrame, judging: pd.DataFrame) -> Iterator[tuple[str, list[float | None]]]:
    """Each metric's accuracies of the classes, means over the seeds."""
    for metric in METRICS.values():
        if metric.parts == "classes":
            seeds = _parts(tested if metric.protocol == "knn" else judging, metric).values()
            most = max((max(each) for each in seeds), default=-1)
            told = [[each[place] for each in seeds if place in each] for place in range(most + 1)]
            yield metric.name, [statistics.fmean(values) if values else None for values in told]


def _parts(trials: pd.DataFrame, metric: Metric) -> dict[int, dict[int, float]]:
    """What was told of each draw or class, by seed and place."""
    told = zip(trials.seed, trials[parts_column(metric)], strict=True)
    found = {
        int(seed): {place: float(value) for place, value in enumerate(values) if value is not None and value == value}
        for seed, values in told
        if isinstance(values, Iterable)
    }
    return {seed: values for seed, values in found.items() if values}


def _by_seed(trials: pd.DataFrame, column: str) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(trials.seed, trials[column], strict=True) if value == value}


def _estimate(values: Mapping[int, float]) -> Estimate | None:
    return Estimate(values) if values else None
