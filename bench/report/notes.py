"""The title of a run, and the notes below its table: how to read it, and of what it was made."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from algorithms.evaluation.choosing import ENOUGH, SCALE
from algorithms.evaluation.metrics import METRICS
from bench.report.columns import ADAPTED
from bench.report.judged import Judged
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
from bench.report.text import amount, extent, listed, markdown_text, network_text, one_line, value_text
from bench.report.trials import encoder_text, fitted, frozen, recipe_trial
from bench.report.verdict import Verdict
from bench.search.description import DOUBTED

CHOOSING = (
    "Each method has the same compute. Its first trial is the published recipe, its second ours where that is another "
    "one; neither is pruned. Its configuration is the one with the best {} at the last epoch; it is trained again, "
    "as the recipes are, from fresh seeds on {}, and only then, at the last epoch, meets the {}."
)
LEAVE_ONE_OUT = "kNN (k=200) among the training images, each judged by all others (leave-one-out),"
VIEWS = (
    "instance accuracy, the share of random views whose nearest other view is of the same image, among up to 100 "
    "training images"
)
FEW_LABELS = (
    "mean of kNN (k=200) among the labelled training images, each judged by all others (leave-one-out), and of "
    f"{VIEWS}, weighted by the root of how many images are labelled and by {SCALE:.0f},"
)
PROTOCOL = (
    "kNN on the frozen encoder's pooled features, L2-normalised, cosine, un-augmented training images as the "
    "bank, votes weighted by exp(similarity / T): k=200 with T=0.1, k=20 with T=0.07. purity@20 is the share of "
    "a test image's 20 nearest test images with its label."
)
EVALUATIONS = {
    "linear": (
        "Linear probe",
        "Multinomial logistic regression on the frozen encoder's pooled features of all labelled training images, "
        "un-augmented, standardised; cross-validation among these images chooses its L2 strength.",
    ),
    "few": (
        "Few labels",
        "The linear probe and kNN with so many labels a class or so large a share of all, over ten fixed draws of "
        "training images that are the same for every encoder; kNN asks no more neighbours than a class has labels, and "
        "at most 20. Intervals are over draws and seeds.",
    ),
    "scratch": (
        "From scratch with few labels",
        "The run's encoder, untrained, trained with just the labels of each draw, by AdamW on crops and flips, at the "
        "rate that is the better one on a fifth of the largest draw. With all labels it is the linear probe on the "
        "supervised baseline.",
    ),
    "finetune": (
        "Fine-tuning",
        "The whole encoder, trained on under a linear head with so many labels; of the supervised baseline the same "
        "network from scratch, for as many epochs. Learning rates are chosen on training images held out.",
    ),
}
"""How protocols measure."""
WITHOUT_LABELS = (
    "No image has a label, so nothing here is an accuracy of classes, and no baseline is trained with labels. Up to "
    "100 held-out images, evenly chosen, have ten random views each, with the crops, flips and colours of SimCLR "
    "whatever the method trains with. Instance accuracy is the share of views whose nearest other view is of the same "
    "image, by the cosine of the frozen encoder's pooled features; instance rank is the mean place that the own image "
    "has among the others (the less the better). Of the features of held-out images: RankMe, LiDAR (effective ranks), "
    "alpha-ReQ (how their spectrum falls; best near 1), cluster learnability, and feature deviation (0 where all are "
    "alike)."
)
TO_BE_RANKED = f"with about {ENOUGH:,} labelled images they would be (--labels)"
UNRANKED = (
    "Methods stand in the order of their instance accuracy, which does not rank them: over methods its Spearman "
    "correlation with test kNN was 0.87 (95 % interval 0.59 to 0.97) for 16 methods on small made-up images, and 0.60 "
    "(-0.50 to 1.00) for 6 on CIFAR-10; and raw pixels may have as much of it as trained encoders. Within a method it "
    "can be believed: there what it chose lost 2.50 and 0.35 points of test kNN to the best, the published recipe "
    f"11.30 and 3.94. Label about {ENOUGH:,} images (--labels) to have methods ranked."
)
DOUBT = " On {} instance accuracy has chosen worse than the published recipe where that was measured."
FAILED_SEEDS = (
    "Where a confirming training failed, as in “2 of 3 seeds; 1 failed”, the mean is that of the others and so too "
    "good: the method is not ranked and stands below those without such a failure."
)
MEMORY = "Training memory is the peak of the training itself, beside the images."
NOTATION = (
    "Mean ± half of the 95 % interval (Student's t) over seeds; — was not measured; the gain of tuning is over the "
    "published recipe; configurations are those of the search, complete/pruned/failed/cut. "
)
RANKED = (
    "P(rank 1) is how often a method's mean leads that of all others that are ranked on the run's encoder, by "
    "Student's t over seeds, once all are confirmed."
)
OURS = (
    "The defaults of the search space, where they are not the published recipe; — where they are, or the budget had no "
    "room to confirm them."
)
WITH_MORE = (
    " Warm-started methods and those with a teacher are ranked among the others, with which they share compute and "
    "encoder, but not what they know from elsewhere."
)
ABOUT_THE_DATA = "About the data"
FROM_ELSEWHERE = "From elsewhere"


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


def footer(results: Results, made: list[Row], said: Verdict | None) -> Iterator[Note]:
    """What a reader must know beside the numbers."""
    run, trials = results.run, results.trainings
    facts = run.get("facts") or {}
    judged = results.judged
    ranking = RANKED + WITH_MORE * any(row.warm or row.teacher for row in made) if judged.ranks else UNRANKED
    yield Note("How to read", f"{NOTATION}{ranking} {FAILED_SEEDS} {MEMORY}", False)
    yield Note("Selection", _selection(judged, made), False)
    yield Note("Protocol", PROTOCOL if judged.ranks else WITHOUT_LABELS, False)
    for protocol, (label, text) in EVALUATIONS.items():
        if any(METRICS[name].protocol == protocol for row in made for name in row.evaluated):
            yield Note(label, text)
    if own := "; ".join(f"{row.method} has {row.own_encoder}" for row in made if row.own_encoder):
        yield Note("†", f"another encoder than the run's, so its row compares method and encoder at once: {own}")
    if told := from_elsewhere(made):
        yield Note(FROM_ELSEWHERE, told)
    if said:
        yield Note("Verdict", said.how)
    if len(trials):
        yield Note("Encoder", _encoder(trials, run))
        yield Note("Data", _data(results))
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


def from_elsewhere(made: list[Row]) -> str:
    """Which methods began with which weights or followed which teacher, and what each such network was trained on."""
    began: dict[str, list[str]] = {}
    followed: dict[str, list[str]] = {}
    known: dict[str, str | None] = {}
    for row in made:
        for network, trained_on, methods in (
            (row.weights, row.trained_on, began),
            (row.teacher, row.teacher_trained_on, followed),
        ):
            if network:
                known[network] = known.get(network) or trained_on
                methods.setdefault(network, []).extend([] if row.frozen else [row.method])
    told = [f"{listed(which)} began with {network_text(network)}" for network, which in began.items() if which]
    told += [f"{listed(which)} followed {network_text(network)}" for network, which in followed.items()]
    told += [f"{network_text(name)} was trained on {of or 'what is not said'}" for name, of in known.items()]
    return "; ".join([*told, "whether these images were among those is not checked"]) if told else ""


def _selection(judged: Judged, made: list[Row]) -> str:
    """By what configurations were chosen, on which images they were confirmed and tested."""
    if judged.validation:
        return CHOOSING.format("validation kNN (k=200)", "train + validation images", judged.images)
    by = LEAVE_ONE_OUT if judged.ranks_searches else FEW_LABELS if judged.labels else f"{VIEWS},"
    told = CHOOSING.format(by, "the same images", judged.images)
    doubted = [] if judged.labels else [row.method for row in made if row.method in DOUBTED]
    return told + (DOUBT.format(listed(doubted)) if doubted else "")


def _encoder(trials: pd.DataFrame, run: Run) -> str:
    """The encoder that the methods share, and how long and in which steps it was trained."""
    shared = trials[~trials.own_encoder & ~frozen(trials) & (trials.encoder_parameters > 0)]
    text = encoder_text(shared) if len(shared) else one_line(fact(run, "encoder"))
    trained = trials[trials.stage != "baseline"]
    if epochs := {int(n) for n in trained.epochs if n > 0}:
        text += f"; {extent(epochs)} epoch{'s' * (max(epochs) > 1)}"
    if batches := {int(n) for n in trained.batch_size.dropna()}:
        text += f", {extent(batches)} images a step"
    return text


def _data(results: Results) -> str:
    trials, run = results.trainings, results.run
    size, images = trials[~frozen(trials)].image_size.dropna(), (run.get("facts") or {}).get("images") or {}
    text = str(fact(run, "dataset_note") or one_line(trials.dataset.iloc[0]))
    text += f"; {int(size.iloc[0])} px" if len(size) and f" {int(size.iloc[0])} px" not in text else ""
    parts = {"train": "train images", "test": results.judged.images}
    text += "".join(f"; {images[part]:,} {name}" for part, name in parts.items() if part in images)
    if 0 < (labelled := images.get("labelled", 0)) < images.get("train", 0):
        text += f"; {labelled:,} of the train images are labelled"
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
