"""What went wrong with a trial, in words: what its figures say, and what is usually done about it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pandas as pd

from algorithms.evaluation.metrics import FEATURE_STD, RANKME
from bench.report.results import Results
from bench.report.text import capital, count, listed, one_line, percent
from bench.report.trials import effective, number
from bench.search.methods import base


class Advice(NamedTuple):
    """What is usually done."""

    text: str
    knobs: tuple[str, ...] = ()
    """The hyper-parameters of which it speaks."""
    methods: tuple[str, ...] = ()
    """For which it holds; none are all."""


TITLES = {
    "diverged": "diverged",
    "collapsed": "collapsed",
    "narrowed": "lost most of their dimensions",
    "uniform": "stood still at a uniform assignment",
    "still": "learned no more than a random initialisation has",
    "memory": "ran out of memory",
    "hung": "hung",
    "lost": "lost their workers",
    "device": "met an error of the device",
    "stopped": "were stopped by hand",
    "error": "ended with an error",
}
"""Of trials, by the kind of their trouble; those of failures are the ledger's (`bench.search.events`)."""
FAILURES = tuple(kind for kind in TITLES if kind not in ("narrowed", "uniform", "still"))
OF_TEACHERS = ("byol", "simsiam", "fastsiam", "relic", "ressl", "mocov3")
OF_PROTOTYPES = ("swav", "seer", "dino", "ibot", "sela", "deepclusterv2")
OF_CENTRES = ("dino", "ibot")
OF_COVARIANCES = ("vicreg", "barlow", "lejepa")
COLLAPSE = (
    Advice(
        "Bring the EMA momentum nearer to 1, so that the target changes slowly (BYOL, arXiv 2006.07733, table 5).",
        ("ema_momentum",),
        ("byol", "relic", "ressl", "mocov3", "dino", "ibot"),
    ),
    Advice(
        "Lower the learning rate or enlarge the batch (leftthomas/SimSiam#1); a predictor with a higher rate than the "
        "encoder's helps too (Tian0426/CL-HAR#4).",
        ("learning_rate", "batch_size", "weight_decay"),
        OF_TEACHERS,
    ),
    Advice(
        "Keep the teacher's temperature well below the student's, and let the centre follow faster or slower "
        "(DINO, arXiv 2104.14294, section 5.3).",
        ("teacher_temperature", "temperature", "centre_momentum"),
        OF_CENTRES,
    ),
    Advice(
        "Lower epsilon, so that assignments are sharper; more Sinkhorn iterations spread them over prototypes "
        "(SwAV, arXiv 2006.09882, section 3).",
        ("epsilon", "sinkhorn_iterations"),
        ("swav", "seer"),
    ),
    Advice(
        "Raise the weight of the terms that spread the features (VICReg, arXiv 2105.04906).",
        ("variance", "redundancy"),
        OF_COVARIANCES,
    ),
    Advice(
        "Lower the temperature, or give it more negatives by a larger batch or queue.",
        ("temperature", "batch_size", "queue_length"),
        ("simclr", "simclrv2", "moco", "mocov2", "nnclr", "dcl", "pirl"),
    ),
    Advice("Weaker augmentation helps where views no longer show the same (facebookresearch/simsiam#29)."),
)
ADVICE: Mapping[str, tuple[Advice, ...]] = {
    "diverged": (
        Advice(
            "Lower the learning rate, warm it up longer, or clip gradients.",
            ("learning_rate", "warmup", "gradient_clip"),
        ),
        Advice("Raise the temperature: logits are divided by it.", ("temperature",)),
        Advice(
            "Raise epsilon: the assignment takes exponentials of scores / epsilon (SwAV, arXiv 2006.09882, section 3).",
            ("epsilon",),
            ("swav", "seer"),
        ),
        Advice(
            "Use LARS with a warm-up, and a base rate of about 0.2 (lightly-ai/lightly#1032).",
            ("optimizer", "warmup"),
            OF_COVARIANCES,
        ),
    ),
    "collapsed": COLLAPSE,
    "narrowed": COLLAPSE,
    "stopped": (Advice("Nothing is wrong with it: somebody stopped it. The method's other trials go on."),),
    "uniform": (
        Advice(
            "Lower epsilon or the learning rate, and keep the prototypes frozen longer (facebookresearch/swav#23).",
            ("epsilon", "learning_rate", "frozen_share"),
            ("swav", "seer"),
        ),
        Advice(
            "Lower the teacher's temperature, or freeze the last layer longer (facebookresearch/dino, main_dino.py).",
            ("teacher_temperature", "frozen_share"),
            OF_CENTRES,
        ),
        Advice("Use fewer prototypes: no more than the images in a batch and queue.", ("prototypes",), OF_PROTOTYPES),
        Advice("Raise the learning rate or lower the temperature.", ("learning_rate", "temperature")),
    ),
    "still": (
        Advice("Train longer: short trainings of slow methods end below a random network (--epochs)."),
        Advice("Raise the learning rate, or shorten the warm-up.", ("learning_rate", "warmup")),
        Advice("Compare the views with your images: crops and colours may remove what tells them apart (--augment)."),
    ),
    "memory": (
        Advice("Use a smaller batch (--batch-size) or images (--image-size), or fewer local crops.", ("local_crops",)),
        Advice("Fewer trials at a time leave each more memory (--gpus-per-trial)."),
        Advice("A shorter queue or fewer prototypes take less.", ("queue_length", "prototypes")),
    ),
    "hung": (
        Advice("See what else uses the machine; a disk or a network that stalls is the usual cause."),
        Advice("The same command with a larger budget tries what is left."),
    ),
    "lost": (
        Advice("See the system's log: a worker that dies without a word was most often killed as memory was out."),
        Advice("Fewer trials at a time leave each more memory."),
    ),
    "device": (
        Advice("See the device's health (nvidia-smi -q, dmesg); the same trial on another device tells whose it is."),
    ),
    "error": (Advice("The reason below names the line; one trial alone shows more: ssl-bench train METHOD."),),
}
"""By the kind of trouble, the special first where a method has some."""
UNIFORM = 0.01
"""How near to a uniform assignment's a loss counts as standing there, as a part of it."""
NARROW, NARROW_OTHERS = 0.5, 1 / 3
"""A training has lost its dimensions where RankMe has fallen below the first of its highest, and below the second of
the median of its method's complete trainings."""


class Baselines(NamedTuple):
    """What a method's trial is compared with."""

    untrained: float | None
    """The mean test accuracy of random initialisations."""
    rank: float | None
    """The median RankMe at the end of the method's complete trainings."""

    @classmethod
    def of(cls, results: Results) -> dict[str, Self]:
        """By method."""
        trials, judged = results.trainings, results.judged
        complete = trials[trials.state == "complete"]
        untrained = number(complete[complete.method == "random"][judged.test].mean()) if judged.ranks else None
        ends = results.epochs.dropna(subset=[RANKME.name]).sort_values("epoch").groupby("uid")[RANKME.name].last()
        ranks = complete.assign(rank=complete.uid.map(ends.to_dict()).astype(float)).groupby("method")["rank"].median()
        return {method: cls(untrained, number(ranks.get(method))) for method in trials.method.unique()}


@dataclass(frozen=True)
class Diagnosis:
    """Of one trial."""

    kind: str
    """Of `TITLES`."""
    seen: str
    """A sentence with its figures."""
    advice: tuple[Advice, ...]


def diagnose(trial: pd.Series, epochs: pd.DataFrame, baselines: Baselines, accuracy: float | None) -> Diagnosis | None:
    """What went wrong with a trial, by its `epochs` in their order and its `accuracy` at the end, if any; None where
    nothing did. A trial that was pruned, cut or is running is told only of what its figures show by themselves."""
    method, settings = base(str(trial.method)), effective(trial)
    if trial.state == "failed":
        kind = trial.failure if trial.failure in FAILURES else "error"
        return Diagnosis(kind, _failed(trial, kind, epochs), _advice(kind, method, settings))
    if trial.stage == "baseline":
        return None
    ranks = epochs[RANKME.name].dropna()
    still = (
        trial.state == "complete"
        and accuracy is not None
        and baselines.untrained is not None
        and accuracy <= baselines.untrained
    )
    at = _uniform(method, settings, epochs.loss.dropna()) if still or trial.state == "pruned" else None
    if at:
        return Diagnosis("uniform", at, _advice("uniform", method, settings))
    if len(ranks) > 1 and baselines.rank and ranks.iloc[-1] < min(NARROW * ranks.max(), NARROW_OTHERS * baselines.rank):
        text = (
            f"The effective rank (RankMe) fell from {ranks.max():.3g} to {ranks.iloc[-1]:.3g}; the method's complete "
            f"trainings end at {baselines.rank:.3g}."
        )
        return Diagnosis("narrowed", text, _advice("narrowed", method, settings))
    if still:
        text = f"At the end it has {percent(accuracy)} %; a random initialisation has {percent(baselines.untrained)} %."
        return Diagnosis("still", text, _advice("still", method, settings))
    return None


def _failed(trial: pd.Series, kind: str, epochs: pd.DataFrame) -> str:
    losses, spreads, ranks = (epochs[name].dropna() for name in ("loss", FEATURE_STD.name, RANKME.name))
    where = f"in epoch {int(trial.epoch) or 1} of {int(trial.epochs)}"
    reason = f" ({one_line(trial.reason, 200)})" if isinstance(trial.reason, str) and trial.reason else ""
    before = f"; before, it was {losses.iloc[-1]:.4g}" if len(losses) else ""
    fell = f" from {spreads.max():.3g}" if len(spreads) > 1 else ""
    rank = (
        f"; the effective rank (RankMe) fell from {ranks.max():.3g} to {ranks.iloc[-1]:.3g}" if len(ranks) > 1 else ""
    )
    told = {
        "diverged": f"The loss or the features were no longer finite {where}{before}",
        "collapsed": f"All images got nearly the same features: their deviation fell{fell}"
        f"{f' to {spreads.iloc[-1]:.3g}' if len(spreads) else ''} {where}, where 1 is spread evenly{rank}",
        "memory": f"Memory was out {where}",
        "hung": f"An epoch took too long {where}",
        "lost": f"Its worker died {count(int(trial.attempts), 'time')}, the last {where}",
        "device": f"The device was in error {where}",
        "stopped": f"It was stopped by hand {where}; what it held stays charged",
        "error": f"The trainer raised an error {where}",
    }[kind]
    return f"{told}{reason}."


def _uniform(method: str, settings: Mapping[str, Any], losses: pd.Series) -> str | None:
    """Whether the loss has stood where nothing is told apart, in all of its epochs but the first."""
    if len(losses) < 2:
        return None
    choices, times, of = _choices(method, settings)
    if choices < 3:
        return None
    at = times * math.log(choices)
    if not ((losses.iloc[1:] - at).abs() < UNIFORM * at).all():
        return None
    logarithm = f"{times} ln({choices:,})" if times > 1 else f"ln({choices:,})"
    return (
        f"The loss stood at {losses.iloc[-1]:.4g}, and {logarithm} is {at:.4g}: all {of} were as likely as each other."
    )


def _choices(method: str, settings: Mapping[str, Any]) -> tuple[int, int, str]:
    """Among how many a method's loss, a cross-entropy, has to find the right one; how many such losses are added up;
    and what they are. 0 where the loss is of another kind."""

    def whole(name: str) -> int:
        value = settings.get(name)
        return value if type(value) is int else 0

    if method in ("swav", "seer", "dino", "sela", "deepclusterv2"):
        return whole("prototypes"), 1, "prototypes"
    if method in ("simclr", "simclrv2"):
        return 2 * whole("batch_size") - 1, 1, "images"
    if method in ("moco", "mocov2"):
        return 1 + whole("queue_length"), 2 if settings.get("symmetric") is True else 1, "images"
    return (whole("batch_size"), 1, "images") if method == "nnclr" else (0, 1, "")


def _advice(kind: str, method: str, settings: Mapping[str, Any]) -> tuple[Advice, ...]:
    """What holds for the method: first what is said of it by name; not of hyper-parameters that it does not have."""
    fitting = [
        each
        for each in ADVICE[kind]
        if (not each.methods or method in each.methods)
        and (not each.knobs or any(name in settings for name in each.knobs))
    ]
    return tuple(sorted(fitting, key=lambda each: not each.methods))


class Case(NamedTuple):
    """A trial with its diagnosis."""

    trial: pd.Series
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Group:
    """The trials of a method with the same trouble."""

    method: str
    kind: str
    cases: tuple[Case, ...]

    @property
    def title(self) -> str:
        """`7 trials diverged`."""
        words = TITLES[self.kind]
        if len(self.cases) == 1:
            words = words.replace("their workers", "its worker").replace("their", "its")
        return f"{count(len(self.cases), 'trial')} {words}"

    @property
    def advice(self) -> tuple[Advice, ...]:
        return tuple(dict.fromkeys(advice for case in self.cases for advice in case.diagnosis.advice))

    def settings(self, results: Results) -> list[str]:
        """For each hyper-parameter that the advice speaks of, what these trials have and what the method's complete
        ones have: `learning_rate: 0.31 to 0.5 here, 0.01 to 0.12 in trials that were complete`."""
        trials = results.trainings
        complete = trials[(trials.method == self.method) & (trials.state == "complete")]
        here = [effective(case.trial) for case in self.cases]
        there = [effective(trial) for _, trial in complete.iterrows()]
        told = []
        for knob in dict.fromkeys(knob for advice in self.advice for knob in advice.knobs):
            if own := _extent(settings.get(knob) for settings in here):
                others = _extent(settings.get(knob) for settings in there)
                told.append(f"{knob}: {own} here" + (f", {others} in trials that were complete" if others else ""))
        return told


def _extent(values: Iterable[Any]) -> str:
    numbers = [value for value in values if type(value) in (int, float) and math.isfinite(value)]
    return " to ".join(dict.fromkeys(f"{value:.3g}" for value in (min(numbers), max(numbers)))) if numbers else ""


def groups(results: Results) -> list[Group]:
    """All trials that something went wrong with, those of a method with the same trouble together, the most first."""
    baselines, judged = Baselines.of(results), results.judged
    of = {str(uid): part for uid, part in results.epochs.sort_values("epoch", kind="stable").groupby("uid")}
    none = results.epochs.iloc[:0]
    found: dict[tuple[str, str], list[Case]] = {}
    for _, trial in results.trainings.iterrows():
        figures = [number(trial[name]) for name in (judged.test, judged.train)] if judged.ranks else []
        accuracy = next((each for each in figures if each is not None), None)
        told = diagnose(trial, of.get(str(trial.uid), none), baselines[trial.method], accuracy)
        if told is not None:
            found.setdefault((str(trial.method), told.kind), []).append(Case(trial, told))
    made = [Group(method, kind, tuple(cases)) for (method, kind), cases in found.items()]
    return sorted(made, key=lambda each: (-len(each.cases), each.method, each.kind))


def summary(found: Iterable[Group]) -> str:
    """`7 diverged and 2 collapsed`."""
    counts: dict[str, int] = {}
    for group in found:
        counts[group.kind] = counts.get(group.kind, 0) + len(group.cases)
    ordered = sorted(counts, key=lambda kind: (-counts[kind], kind))
    return capital(listed([f"{counts[kind]:,} {TITLES[kind]}" for kind in ordered])) if counts else ""
