"""The accuracy table: a run's Parquet files as rows, and the rows as Markdown, CSV and text."""

import html
import json
import math
import re
import statistics
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bench.errors import UserError
from bench.files import write_atomically
from bench.report.results import Results
from bench.search.plan import UNTRAINED
from bench.search.trials import RECIPES

BASELINES = {"supervised": "supervised (ceiling)", "random": "random initialisation", "pixels": "raw pixels"}
SELECTION = (
    "Each method has the same compute. Its first trial is the published recipe, its second ours where that is another "
    "one; neither is pruned. Its configuration is the one with the best validation kNN (k=200) at the last epoch; it "
    "is trained again, as the recipes are, from fresh seeds on train + validation images, and only then, at the last "
    "epoch, meets the test images."
)
PROTOCOL = (
    "kNN on the frozen encoder's pooled features, L2-normalised, cosine, un-augmented training images as the "
    "bank, votes weighted by exp(similarity / T): k=200 with T=0.1, k=20 with T=0.07. purity@20 is the share of "
    "a test image's 20 nearest test images with its label."
)
FAILED_SEEDS = (
    "Where a confirming training failed, as in “2 of 3 seeds; 1 failed”, the mean is that of the others and so too "
    "good: the method is not ranked and stands below those without such a failure."
)
MEMORY = "Training memory is the peak of the training itself, beside the images."
NOTATION = (
    "Mean ± half of the 95 % interval (Student's t) over seeds; — was not measured; the gain of tuning is over the "
    "published recipe; configurations are those of the search, complete/pruned/failed/cut. P(rank 1) is how often a "
    "method's mean leads that of all others that are ranked on the run's encoder, by Student's t over seeds, once all "
    f"are confirmed. {FAILED_SEEDS} {MEMORY}"
)
OURS = (
    "The defaults of the search space, where they are not the published recipe; — where they are, or the budget had no "
    "room to confirm them."
)
DASH = "—"
ADAPTED = "‡"
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
class Row:
    """One method's line. Accuracies are fractions; None is what was not measured.

    The means are over the seeds that completed. `failed_seeds` are those of the row's test accuracy that failed,
    `published_failed_seeds` those of the published recipe, `ours_failed_seeds` those of our recipe; of
    `gain_failed_seeds` one of the pair did.
    """

    method: str
    title: str
    baseline: bool
    paper: str | None
    own_encoder: str | None
    knn_200: Estimate | None
    knn_20: Estimate | None
    purity_20: Estimate | None
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
    validation: float | None
    training_seconds: float | None  # device-seconds of one whole training, median
    device_seconds: float  # everything charged to the method
    images_per_second: float | None
    peak_memory_bytes: float | None
    counts: Mapping[str, int]  # search trials by state
    first: float | None  # P(rank 1)

    @property
    def whole(self) -> bool:
        """Whether the row may be ranked: tested, and with no seed that failed, or failing would make a mean better."""
        return self.knn_200 is not None and not self.failed_seeds


def rows(results: Results) -> list[Row]:
    """A row per method, best first, and the baselines below them, best first. Below the best stand those of which a
    seed failed, then those that are not confirmed yet, then those that never will be."""
    made = [_row(method, trials, results.run) for method, trials in results.trials.groupby("method", sort=True)]
    first = probability_of_rank_1({row.method: row.knn_200.values.values() for row in ranked(made)})
    made = [Row(**{**row.__dict__, "first": first.get(row.method)}) for row in made]
    return sorted(made, key=_rank)


def compared(made: Iterable[Row]) -> list[Row]:
    """The methods that differ in the method alone: those on the run's encoder."""
    return [row for row in made if not row.baseline and not row.own_encoder]


def ranked(made: Iterable[Row]) -> list[Row]:
    """Those that are compared and whole; none before every one that is compared is confirmed or never will be."""
    alike = compared(made)
    return [] if any(row.awaited for row in alike) else [row for row in alike if row.whole]


def leader(made: list[Row]) -> Row | None:
    """The best of those that are ranked, if any is."""
    return next(iter(ranked(made)), None)


def _rank(row: Row) -> tuple:
    tested = row.knn_200.mean if row.knn_200 else -1.0
    validation = row.validation if row.validation is not None else -1.0
    standing = () if row.baseline else (not row.whole, row.knn_200 is None, not row.awaited)
    return row.baseline, *standing, -tested, -validation, row.title


def _row(method: str, trials: pd.DataFrame, run: dict) -> Row:
    search, complete = trials[trials.stage == "search"], trials[trials.state == "complete"]
    baseline = bool((trials.stage == "baseline").all())
    winner = winning_trial(trials, run)
    won = None if winner is None else recipe_of(winner)
    stage = "baseline" if baseline else won or "confirm"
    tested = complete[complete.stage == stage]
    recipe, ours = (_by_seed(complete[complete.stage == s], "test_knn_200") for s in RECIPES)
    tuned = _by_seed(tested, "test_knn_200")
    gains = {} if stage in ("published", "baseline") else {s: tuned[s] - recipe[s] for s in tuned if s in recipe}
    failed = trials[trials.state == "failed"]
    failed_seeds, recipe_failed, ours_failed = (
        frozenset(map(int, failed.seed[failed.stage == s])) for s in (stage, "published", "ours")
    )
    # A winner of None, or the end of the run, says that nothing is left to confirm.
    over = run.get("closed") == "done" or (run.get("winners") or {}).get(method, "") is None
    best = search[search.state == "complete"].validation_knn_200.max() if winner is None else winner.validation_knn_200
    whole = tested if len(tested) else complete if len(complete) else trials
    own = trials[trials.own_encoder & (trials.stage != "baseline")]  # raw pixels have no encoder to mark
    trained = method not in UNTRAINED
    return Row(
        method=method,
        title=(BASELINES.get(method, method) if baseline else method) + (" †" if len(own) else ""),
        baseline=baseline,
        paper=paper_link(spaces(run).get(method, {}).get("paper")),
        own_encoder=_encoder_text(own) if len(own) else None,
        knn_200=_estimate(tuned),
        knn_20=_estimate(_by_seed(tested, "test_knn_20")),
        purity_20=_estimate(_by_seed(tested, "test_purity_20")),
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
        validation=_number(best),
        training_seconds=_number((tested if len(tested) else complete).device_seconds.median()),
        device_seconds=float(trials.device_seconds.sum()),
        images_per_second=_number(whole.images_per_second.median()) if trained else None,
        peak_memory_bytes=_number(whole.peak_memory_bytes.max()),
        counts=search.state.value_counts().to_dict(),
        first=None,
    )


def recipe_of(trial: pd.Series) -> str | None:
    """`published` or `ours` where a trial is of a recipe, as the stage is called that confirms it; else None."""
    return "published" if trial.published_recipe else "ours" if trial.our_recipe else None


def origin(run: dict, method: str) -> Mapping[str, str]:
    """Whose a method's published recipe is: its `source` and, where it is not to the letter, how it is `adapted`."""
    return spaces(run).get(method, {}).get("recipe") or {}


def winning_trial(trials: pd.DataFrame, run: dict) -> pd.Series | None:
    """The search trial that was chosen among a method's `trials`; None while its search is on."""
    found = trials[trials.uid.isin([uid for uid in (run.get("winners") or {}).values() if uid])]
    return found.iloc[0] if len(found) else None


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


def effective(trial: pd.Series) -> dict[str, Any]:
    """The hyper-parameters with which a trial was trained; what was asked for stands in its `hyperparameters`."""
    if isinstance(trial.effective, str):
        return json.loads(trial.effective)
    asked = json.loads(trial.hyperparameters)  # earlier versions told the images in a step alone
    step = {"batch_size": int(trial.batch_size)} if "batch_size" in asked and trial.batch_size > 0 else {}
    return asked | step


def fitted(trial: pd.Series) -> dict[str, tuple[Any, Any]]:
    """What was trained otherwise than asked for: name -> (asked for, as trained)."""
    asked = json.loads(trial.hyperparameters)
    return {name: (asked.get(name), value) for name, value in effective(trial).items() if value != asked.get(name)}


def recipe_trial(trials: pd.DataFrame, recipe: str = "published") -> pd.Series | None:
    """Of a method's `trials` one of this recipe, `published` or `ours`, if possible one that confirms; None before."""
    begun = trials[(trials.epoch > 0) & trials["our_recipe" if recipe == "ours" else "published_recipe"].eq(True)]
    for stage in (recipe, "search"):
        if len(some := begun[begun.stage == stage]):
            return some.iloc[0]
    return None


def fact(run: dict, name: str) -> object:
    """A fact of the last session or, failing that, a setting of the run; None if neither tells."""
    return (run.get("facts") or {}).get(name) or (run.get("settings") or {}).get(name)


def each_session(run: dict, name: str) -> list:
    """What the run's sessions say of `name`, each different value once, in their order."""
    facts = run.get("facts") or {}
    sessions = run.get("sessions") or [{"slots": run.get("slots"), **facts}]
    values = [value for session in sessions if (value := session.get(name)) is not None]
    return [value for place, value in enumerate(values) if value not in values[:place]]


def devices(results: Results) -> list[str]:
    """Every device that the run was on, with its precision."""
    told = [*results.trials.device.dropna(), *each_session(results.run, "device")]
    return sorted({str(device) for device in told})


def versions(run: dict) -> dict[str, list[str]]:
    """The versions of each package that the run was made with, in the order of its sessions."""
    found: dict[str, dict[str, None]] = {}
    for packages in each_session(run, "versions"):
        for name, version in packages.items():
            found.setdefault(name, {})[version] = None
    return {name: list(versions) for name, versions in found.items()}


def spaces(run: dict) -> dict[str, dict]:
    """The search spaces of the run by method: `hash` and, where known, `paper` and the `hyperparameters` entries."""
    known = (run.get("settings") or {}).get("search_spaces") or {}
    told = (run.get("facts") or {}).get("search_spaces") or {}
    return {method: {"hash": hash} for method, hash in known.items()} | told


def paper_link(paper: str | None) -> str | None:
    """The address of a paper given by arXiv number or by https address; None for anything else."""
    if paper and re.fullmatch(r"\d{4}\.\d{4,5}", paper):
        return f"https://arxiv.org/abs/{paper}"
    return paper if paper and re.fullmatch(r"https://[\w./?=&%#~+-]+", paper) else None


def _by_seed(trials: pd.DataFrame, column: str) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(trials.seed, trials[column], strict=True) if value == value}


def _estimate(values: Mapping[int, float]) -> Estimate | None:
    return Estimate(values) if values else None


def _number(value: object) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _encoder_text(trials: pd.DataFrame) -> str:
    name, parameters = trials.encoder.iloc[0], _number(trials.encoder_parameters.max())
    shown = f"{parameters / 1e6:.1f} M" if parameters and parameters >= 1e6 else f"{parameters or 0:,.0f}"
    return one_line("its own" if pd.isna(name) else name) + (f", {shown} parameters" if parameters else "")


# ---- how a value reads ----


def percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f}"


def with_interval(estimate: Estimate | None, sign: str = "") -> str:
    """`84.71 ± 0.32`, in percent; without an interval for one seed."""
    if estimate is None:
        return DASH
    text = f"{100 * estimate.mean:{sign}.2f}"
    return text if estimate.half_width is None else f"{text} ± {100 * estimate.half_width:.2f}"


def seeds_note(estimate: Estimate | None, failed: frozenset[int]) -> str:
    """`2 of 3 seeds; 1 failed` where one did; else nothing."""
    measured = len(estimate.values) if estimate else 0
    return f"{measured} of {measured + len(failed)} seeds; {len(failed)} failed" if failed else ""


def gain_text(row: Row) -> str:
    return "recipe won" if row.won == "published" else with_interval(row.gain, "+")


def gain_note(row: Row) -> str:
    """What stands beside the gain: that our recipe won, and what failed."""
    won = "our recipe won" if row.won == "ours" else ""
    return "; ".join(filter(None, [won, seeds_note(row.gain, row.gain_failed_seeds)]))


def recipe_text(row: Row) -> str:
    """The accuracy of the published recipe, with a mark where it is not published to the letter."""
    return with_interval(row.published) + (f" {ADAPTED}" if row.adapted and row.published else "")


def value_text(value: object) -> str:
    """A hyper-parameter's value as a person writes it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return DASH
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if 0.99 <= value < 1 else f"{value:.4g}"
    return str(value)


def compute_unit(run: dict, most: float) -> tuple[str, float]:
    """The unit in which `most` device-seconds read well, and its length in seconds: ("GPU-hours", 3600)."""
    device = "GPU" if (run.get("budget") or {}).get("device") == "gpu" else "core"
    name, length = ("hours", 3600) if most >= 3600 else ("minutes", 60) if most >= 60 else ("seconds", 1)
    return f"{device}-{name}", length


def amount(value: float | None, length: float = 1.0) -> str:
    """A positive amount with three digits, or all before the point."""
    if value is None:
        return DASH
    value /= length
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def trials_text(row: Row) -> str:
    if not row.counts:
        return DASH
    return f"{sum(row.counts.values())} ({'/'.join(str(row.counts.get(s, 0)) for s in STATES)})"


STATES = ("complete", "pruned", "failed", "cut")


def probability_text(row: Row) -> str:
    if row.first is None:
        return DASH
    return "<0.01" if row.first < 0.005 else ">0.99" if row.first >= 0.995 else f"{row.first:.2f}"


def one_line(text: object, most: int = 60) -> str:
    """Names come from files: no line breaks, no control characters, no endless ones."""
    line = "".join(character if character.isprintable() else " " for character in str(text))
    return line if len(line) <= most else line[: most - 1] + "…"


def markdown_text(text: object) -> str:
    """Text that is neither markup nor a cell's end."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(one_line(text, 4000), quote=False))


# ---- the table as text ----


def title(results: Results) -> str:
    """What the run is of: the images and what was done to them, the encoder, the length of a training."""
    trials, run = results.trials, results.run
    parts = [fact(run, "dataset_note") or next(iter(trials.dataset.dropna()), "no data yet")]
    parts.append(fact(run, "encoder") or next(iter(trials.encoder.dropna()), "no trial yet"))
    epochs = trials[trials.stage != "baseline"].epochs
    parts += [f"{_range({int(epochs.min()), int(epochs.max())})} epochs"] if len(epochs) else []
    return "; ".join(one_line(part, 200) for part in parts)


def markdown(results: Results) -> str:
    """The whole table with its title and footer, for table.md and the README."""
    made, run = rows(results), results.run
    unit, length = compute_unit(run, max((row.device_seconds for row in made), default=0.0))
    two = any(row.two_recipes for row in made)
    heads = [
        "method",
        "test kNN k=200, %",
        "seeds",
        "k=20, %",
        "purity@20, %",
        "published recipe, %",
        *(["our recipe, %"] if two else []),
        "gain of tuning",
        "validation, %",
        f"one training, {unit}",
        f"all, {unit}",
        "images/s",
        "training memory, GB",
        "configurations",
        "P(rank 1)",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|:--|" + "--:|" * (len(heads) - 1)]
    for row in made:
        name = (
            f"[{markdown_text(one_line(row.title))}]({row.paper})" if row.paper else markdown_text(one_line(row.title))
        )
        accuracy = with_interval(row.knn_200)
        best = row is leader(made)
        cells = [
            name,
            f"**{accuracy}**" if best else accuracy + bracketed(seeds_note(row.knn_200, row.failed_seeds)),
            str(len(row.knn_200.values)) if row.knn_200 else DASH,
            with_interval(row.knn_20),
            with_interval(row.purity_20),
            recipe_text(row) + bracketed(seeds_note(row.published, row.published_failed_seeds)),
            *([with_interval(row.ours) + bracketed(seeds_note(row.ours, row.ours_failed_seeds))] if two else []),
            gain_text(row) + bracketed(gain_note(row)),
            percent(row.validation),
            amount(row.training_seconds, length),
            amount(row.device_seconds, length),
            amount(row.images_per_second),
            amount(row.peak_memory_bytes, 1e9),
            trials_text(row),
            probability_text(row),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {label}: {markdown_text(text) if plain else text}" for label, text, plain in footer(results, made)]
    return "\n".join([f"**{markdown_text(title(results))}**", "", *lines, "", *notes]) + "\n"


def bracketed(note: str) -> str:
    return f" ({note})" if note else ""


def footer(results: Results, made: list[Row]) -> list[tuple[str, str, bool]]:
    """What a reader must know beside the numbers: label, text, and whether the text still needs escaping."""
    run, trials = results.run, results.trials
    facts, budget = run.get("facts") or {}, run.get("budget") or {}
    unit, length = compute_unit(run, budget.get("seconds") or 0.0)
    notes = [
        ("How to read", NOTATION, False),
        ("Selection", SELECTION, False),
        ("Protocol", PROTOCOL, False),
    ]
    own = "; ".join(f"{row.method} has {row.own_encoder}" for row in made if row.own_encoder)
    if own:
        notes.append(
            (
                "†",
                f"another encoder than the run's, so its row compares method and encoder at once: {own}",
                True,
            )
        )
    shared = trials[~trials.own_encoder & (trials.encoder_parameters > 0)]
    if len(trials):
        encoder = _encoder_text(shared) if len(shared) else one_line(fact(run, "encoder"))
        trained = trials[trials.stage != "baseline"]
        if epochs := {int(n) for n in trained.epochs if n > 0}:
            encoder += f"; {_range(epochs)} epoch{'s' * (max(epochs) > 1)}"
        if batches := {int(n) for n in trained.batch_size.dropna()}:
            encoder += f", {_range(batches)} images a step"
        notes.append(("Encoder", encoder, True))
        size, images = trials.image_size.dropna(), facts.get("images") or {}
        data = str(fact(run, "dataset_note") or one_line(trials.dataset.iloc[0]))
        data += f"; {int(size.iloc[0])} px" if len(size) and f" {int(size.iloc[0])} px" not in data else ""
        data += "".join(f"; {images[part]:,} {part} images" for part in ("train", "test") if part in images)
        data += f"; {images['left_out']:,} left out as unreadable" if images.get("left_out") else ""
        data += f"; fingerprint {str(trials.dataset_fingerprint.iloc[0])[:12]}"
        notes.append(("Data", data, True))
    if remarks := facts.get("remarks"):
        notes.append(("About the data", " ".join(map(str, remarks)), True))
    if text := _recipes_text(trials, run):
        notes.append(("Published recipes", text, True))
    if any(row.two_recipes for row in made):
        notes.append(("Our recipe", OURS, False))
    for method, reason in (run.get("given_up") or {}).items():
        notes.append(("Given up", f"{method}: {reason}", True))
    if budget.get("seconds"):
        spent = f"{amount(run.get('charged'), length)} of {amount(budget['seconds'], length)} {unit} spent"
        on = devices(results)
        kinds = "; device time of several kinds is added up as it is" if len(on) > 1 else ""
        told = [spent, " and ".join(on), slots_text(run)]
        notes.append(("Budget", "; ".join(filter(None, told)) + kinds, True))
    software = [f"{name} {' and '.join(map(str, several))}" for name, several in versions(run).items()]
    commits = run.get("commits") or each_session(run, "commit")
    if commits:
        software.append(f"commit{'s' * (len(commits) > 1)} {' and '.join(map(str, commits))}")
    if software:
        notes.append(("Software", ", ".join(one_line(part) for part in software), False))
    if facts.get("command"):
        notes.append(("Command", f"python {facts['command']}", True))
    hashes = [f"{markdown_text(m)} `{_hash(s)}`" for m, s in sorted(spaces(run).items()) if s.get("hash")]
    if hashes:
        notes.append(("Search spaces", ", ".join(hashes), False))
    return notes


def slots_text(run: dict) -> str:
    """The trials at a time of all sessions, and the share of a GPU that each had where it was not the whole."""
    slots, rates = each_session(run, "slots"), each_session(run, "rate")
    told = f"{' and '.join(map(str, slots))} slot{'' if slots == [1] else 's'}" if slots else ""
    return told if rates in ([], [1.0]) else f"{told} of {' and '.join(f'{rate:g}' for rate in rates)} GPU"


def _recipes_text(trials: pd.DataFrame, run: dict) -> str:
    """Whose the published recipes are, how they are adapted, and how they were trained otherwise."""
    methods = [str(method) for method in trials.method.unique()]
    parts = []
    for key, words in (("source", "those of"), ("adapted", f"{ADAPTED} adapted:")):
        by_text: dict[str, list[str]] = {}
        for method in sorted(methods):
            if said := origin(run, method).get(key):
                by_text.setdefault(one_line(said, 400), []).append(method)
        told = (f"{said} ({_listed(which)})" for said, which in by_text.items())
        parts += [f"{words} {'; '.join(told)}"] if by_text else []
    if changes := _fitted_text(trials):
        rest = "; what else was fitted is not on record" if trials.effective.isna().all() else ""
        parts.append(
            f"{'Fitted' if parts else 'as published, but fitted'} to this encoder and data set: {changes}{rest}"
        )
    return ". ".join(parts)


def _fitted_text(trials: pd.DataFrame) -> str:
    """How the published recipes were trained otherwise than published: `moco and pirl queue_length 16384 → 4480`."""
    changes: dict[str, list[str]] = {}
    for method, some in trials[trials.stage != "baseline"].groupby("method", sort=True):
        trial = recipe_trial(some)
        for name, (asked, trained) in ({} if trial is None else fitted(trial)).items():
            before = "" if asked is None else f"{value_text(asked)} → "
            changes.setdefault(f"{name} {before}{value_text(trained)}", []).append(str(method))
    return "; ".join(f"{_listed(methods)} {change}" for change, methods in sorted(changes.items()))


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _range(numbers: set[int]) -> str:
    return " to ".join(f"{number:,}" for number in sorted({min(numbers), max(numbers)}))


def _hash(space: Mapping) -> str:
    return re.sub(r"\W", "", str(space["hash"]))[:12]


def terminal(results: Results) -> str:
    """The table in at most 100 columns."""
    made, run = rows(results), results.run
    unit, length = compute_unit(run, max((row.device_seconds for row in made), default=0.0))
    two = any(row.two_recipes for row in made)
    heads = [
        "method",
        "test kNN %",
        "seeds",
        "recipe %",
        *(["our %"] if two else []),
        "gain",
        "valid. %",
        unit,
        *([] if two else ["images/s"]),  # there is no room for both
        "trials",
        "P(1st)",
    ]
    marked = any(row.adapted and row.published for row in made)
    lines = [heads]
    for row in made:
        title = one_line(row.title).removesuffix(" (ceiling)").removesuffix(" initialisation")
        title = title if len(title) <= 12 else title[:11] + "…"
        cells = [
            title,
            with_interval(row.knn_200),
            _seeds_short(row),
            percent(row.published.mean if row.published else None)
            + (ADAPTED if row.adapted and row.published else " " * marked),
            *([percent(row.ours.mean if row.ours else None)] if two else []),
            "recipe" if row.won == "published" else with_interval(row.gain, "+"),
            percent(row.validation),
            amount(row.device_seconds, length),
            *([] if two else [amount(row.images_per_second)]),
            str(sum(row.counts.values())) if row.counts else DASH,
            probability_text(row),
        ]
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    aligned = [
        " ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    baselines = next((place for place, row in enumerate(made) if row.baseline), len(made))
    rule = "-" * len(aligned[0])
    aligned.insert(1, rule)
    if 0 < baselines < len(made):
        aligned.insert(2 + baselines, rule)
    notes = ["† brings its own encoder"] if any(row.own_encoder for row in made) else []
    notes += [f"{ADAPTED} adapted: the table's notes say how"] if marked else []
    if won := [row.method for row in made if row.won == "ours"]:
        notes.append(f"our recipe, which is not the published one, won: {', '.join(won)}")
    for row in made:
        if note := seeds_note(row.knn_200, row.failed_seeds):
            notes.append(f"{row.method}: {note}{'' if row.baseline else ', so it is not ranked'}")
        if row.won != "published" and (note := seeds_note(row.published, row.published_failed_seeds)):
            notes.append(f"{row.method}, published recipe: {note}")
        if row.won != "ours" and (note := seeds_note(row.ours, row.ours_failed_seeds)):
            notes.append(f"{row.method}, our recipe: {note}")
    notes += [f"{method} was given up: {reason}" for method, reason in (run.get("given_up") or {}).items()]
    notes = [textwrap.fill(one_line(note, 1000), 100, subsequent_indent="  ") for note in notes]
    return "\n".join([*aligned, *notes]) + "\n"


def _seeds_short(row: Row) -> str:
    measured = len(row.knn_200.values) if row.knn_200 else 0
    return f"{measured} of {measured + len(row.failed_seeds)}" if row.failed_seeds else str(measured or DASH)


def csv(results: Results) -> str:
    """The table for a spreadsheet: a line per method, fractions and seconds unrounded."""
    lines = [
        {
            "method": row.method,
            "baseline": row.baseline,
            "own_encoder": bool(row.own_encoder),
            "published_won": row.won == "published",
            "ours_won": row.won == "ours",
            **{
                f"{prefix}{part}": value
                for prefix, estimate, failed in (
                    ("", row.knn_200, row.failed_seeds),
                    ("published_", row.published, row.published_failed_seeds),
                    ("ours_", row.ours, row.ours_failed_seeds),
                    ("gain_", row.gain, row.gain_failed_seeds),
                )
                for part, value in (
                    ("seeds", len(estimate.values) if estimate else 0),
                    ("failed_seeds", len(failed)),
                )
            },
            **{
                f"{name}_{part}": getattr(estimate, part) if estimate else None
                for name in ("knn_200", "knn_20", "purity_20", "published", "ours", "gain")
                for estimate in [getattr(row, name)]
                for part in ("mean", "half_width")
            },
            "validation_knn_200": row.validation,
            "training_device_seconds": row.training_seconds,
            "device_seconds": row.device_seconds,
            "images_per_second": row.images_per_second,
            "peak_memory_bytes": row.peak_memory_bytes,
            **{state: row.counts.get(state, 0) for state in STATES},
            "probability_rank_1": row.first,
        }
        for row in rows(results)
    ]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def write(results: Results, folder: str | Path) -> None:
    """Write table.md and table.csv into the run's folder."""
    write_atomically(Path(folder) / "table.md", markdown(results))
    write_atomically(Path(folder) / "table.csv", csv(results))


# ---- the README ----


def publish(results: Results, readme: str | Path, name: str | None = None) -> bool:
    """Put the table of a CIFAR-10 run into the README, at the place of that `name`.

    Returns whether the file changed. Raises UserError where the run is on other images or has no place there.
    """
    check_place(readme, str(fact(results.run, "dataset")), name)
    return update_readme(readme, markdown(results), name)


def check_place(readme: str | Path, dataset: str, name: str | None = None) -> None:
    """Raises UserError unless a run on this data set may have its table at the README's place of that `name`."""
    if dataset != "cifar10":
        raise UserError(
            f"the tables in {readme} are of runs on cifar10, and this one is on {one_line(dataset)}; leave out "
            "--update-readme"
        )
    _parts(readme, name)


def update_readme(readme: str | Path, text: str, name: str | None = None) -> bool:
    """Replace what stands between `<!-- table:begin -->` and `<!-- table:end -->`, with a name between
    `<!-- table:NAME:begin -->` and its end.

    Returns whether the file changed. Raises UserError unless each marker stands once, and OSError.
    """
    head, inside, tail = _parts(readme, name)
    newline = "\r\n" if "\r\n" in head + inside + tail else "\n"
    fresh = f"{newline}{newline}{text.strip().replace(chr(10), newline)}{newline}{newline}"
    if fresh == inside:
        return False
    write_atomically(readme, (head + fresh + tail).encode())
    return True


def _parts(readme: str | Path, name: str | None) -> tuple[str, str, str]:
    """The README up to the end of the begin marker, what stands between the markers, and the rest."""
    prefix = "table" if name is None else f"table:{name}"
    begin, end = f"<!-- {prefix}:begin -->", f"<!-- {prefix}:end -->"
    try:
        text = Path(readme).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{readme} cannot be read as text ({error}); it should hold {begin} and {end}") from error
    start, stop = text.find(begin), text.find(end)
    if text.count(begin) != 1 or text.count(end) != 1 or stop < start:
        raise UserError(f"{readme} should hold the lines {begin} and {end} once each, in this order")
    start += len(begin)
    return text[:start], text[start:stop], text[stop:]
