"""The title of a run, and the notes below its table: how to read it, and of what it was made."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.report.columns import ADAPTED
from bench.report.results import Results
from bench.report.rows import Row
from bench.report.run import (
    Run,
    budget_seconds,
    compute_unit,
    devices,
    each_session,
    fact,
    origin,
    slots_text,
    spaces,
    versions,
)
from bench.report.text import amount, extent, listed, markdown_text, one_line, value_text
from bench.report.trials import encoder_text, fitted, recipe_trial

CHOOSING = (
    "Each method has the same compute. Its first trial is the published recipe, its second ours where that is another "
    "one; neither is pruned. Its configuration is the one with the best {} at the last epoch; it is trained again, "
    "as the recipes are, from fresh seeds on {}, and only then, at the last epoch, meets the test images."
)
JUDGED = (
    "kNN (k=200) among the training images, each judged by all others (leave-one-out),",
    "the same images",
)
JUDGED_ON_HELD_OUT = ("validation kNN (k=200)", "train + validation images")
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
ABOUT_THE_DATA = "About the data"


class Note(NamedTuple):
    """One thing that a reader must know beside the numbers."""

    label: str
    text: str
    plain: bool = True
    """Whether it still needs escaping; else it is Markdown."""


def title(results: Results) -> str:
    """What the run is of: the images and what was done to them, the encoder, the length of a training."""
    trials, run = results.trainings, results.run
    parts = [fact(run, "dataset_note") or next(iter(trials.dataset.dropna()), "no data yet")]
    parts.append(fact(run, "encoder") or next(iter(trials.encoder.dropna()), "no trial yet"))
    epochs = trials[trials.stage != "baseline"].epochs
    parts += [f"{extent({int(epochs.min()), int(epochs.max())})} epochs"] if len(epochs) else []
    return "; ".join(one_line(part, 200) for part in parts)


def footer(results: Results, made: list[Row]) -> Iterator[Note]:
    """What a reader must know beside the numbers."""
    run, trials = results.run, results.trainings
    facts = run.get("facts") or {}
    yield Note("How to read", NOTATION, False)
    judged = JUDGED_ON_HELD_OUT if run.get("held_out") else JUDGED
    yield Note("Selection", CHOOSING.format(*judged), False)
    yield Note("Protocol", PROTOCOL, False)
    if own := "; ".join(f"{row.method} has {row.own_encoder}" for row in made if row.own_encoder):
        yield Note("†", f"another encoder than the run's, so its row compares method and encoder at once: {own}")
    if len(trials):
        yield Note("Encoder", _encoder(trials, run))
        yield Note("Data", _data(trials, run))
    if remarks := facts.get("remarks"):
        yield Note(ABOUT_THE_DATA, " ".join(map(str, remarks)))
    if text := _recipes(trials, run):
        yield Note("Published recipes", text)
    if any(row.two_recipes for row in made):
        yield Note("Our recipe", OURS, False)
    for method, reason in (run.get("given_up") or {}).items():
        yield Note("Given up", f"{method}: {reason}")
    if seconds := budget_seconds(run):
        yield Note("Budget", _budget(results, seconds))
    if software := _software(run):
        yield Note("Software", ", ".join(map(one_line, software)), False)
    if facts.get("command"):
        command = str(facts["command"])
        yield Note("Command", f"python {command}" if command.startswith("run_bench.py") else command)
    hashes = [f"{markdown_text(m)} `{_hash(s)}`" for m, s in sorted(spaces(run).items()) if s.get("hash")]
    if hashes:
        yield Note("Search spaces", ", ".join(hashes), False)


def _encoder(trials: pd.DataFrame, run: Run) -> str:
    """The encoder that the methods share, and how long and in which steps it was trained."""
    shared = trials[~trials.own_encoder & (trials.encoder_parameters > 0)]
    text = encoder_text(shared) if len(shared) else one_line(fact(run, "encoder"))
    trained = trials[trials.stage != "baseline"]
    if epochs := {int(n) for n in trained.epochs if n > 0}:
        text += f"; {extent(epochs)} epoch{'s' * (max(epochs) > 1)}"
    if batches := {int(n) for n in trained.batch_size.dropna()}:
        text += f", {extent(batches)} images a step"
    return text


def _data(trials: pd.DataFrame, run: Run) -> str:
    size, images = trials.image_size.dropna(), (run.get("facts") or {}).get("images") or {}
    text = str(fact(run, "dataset_note") or one_line(trials.dataset.iloc[0]))
    text += f"; {int(size.iloc[0])} px" if len(size) and f" {int(size.iloc[0])} px" not in text else ""
    text += "".join(f"; {images[part]:,} {part} images" for part in ("train", "test") if part in images)
    text += f"; {images['left_out']:,} left out as unreadable" if images.get("left_out") else ""
    return text + f"; fingerprint {str(trials.dataset_fingerprint.iloc[0])[:12]}"


def _budget(results: Results, seconds: float) -> str:
    run, on = results.run, devices(results.run, results.trials)
    unit, length = compute_unit(run, seconds)
    spent = f"{amount(run.get('charged'), length)} of {amount(seconds, length)} {unit} spent"
    kinds = "; device time of several kinds is added up as it is" if len(on) > 1 else ""
    return "; ".join(filter(None, [spent, " and ".join(on), slots_text(run)])) + kinds


def _software(run: Run) -> list[str]:
    software = [f"{name} {' and '.join(map(str, several))}" for name, several in versions(run).items()]
    commits = run.get("commits") or each_session(run, "commit")
    return software + ([f"commit{'s' * (len(commits) > 1)} {' and '.join(map(str, commits))}"] if commits else [])


def _recipes(trials: pd.DataFrame, run: Run) -> str:
    """Whose the published recipes are, how they are adapted, and how they were trained otherwise."""
    methods = [str(method) for method in trials.method.unique()]
    parts = []
    for key, words in (("source", "those of"), ("adapted", f"{ADAPTED} adapted:")):
        by_text: dict[str, list[str]] = {}
        for method in sorted(methods):
            if said := origin(run, method).get(key):
                by_text.setdefault(one_line(said, 400), []).append(method)
        told = (f"{said} ({listed(which)})" for said, which in by_text.items())
        parts += [f"{words} {'; '.join(told)}"] if by_text else []
    if changes := _fitted(trials):
        rest = "; what else was fitted is not on record" if trials.effective.isna().all() else ""
        parts.append(
            f"{'Fitted' if parts else 'as published, but fitted'} to this encoder and data set: {changes}{rest}"
        )
    return ". ".join(parts)


def _fitted(trials: pd.DataFrame) -> str:
    """How the published recipes were trained otherwise than published: `moco and pirl queue_length 16384 → 4480`."""
    changes: dict[str, list[str]] = {}
    for method, some in trials[trials.stage != "baseline"].groupby("method", sort=True):
        trial = recipe_trial(some)
        for name, (asked, trained) in ({} if trial is None else fitted(trial)).items():
            before = "" if asked is None else f"{value_text(asked)} → "
            changes.setdefault(f"{name} {before}{value_text(trained)}", []).append(str(method))
    return "; ".join(f"{listed(methods)} {change}" for change, methods in sorted(changes.items()))


def _hash(space: Mapping[str, Any]) -> str:
    return re.sub(r"\W", "", str(space["hash"]))[:12]
