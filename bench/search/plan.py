"""The plan of a run: what is asked, what each epoch costs as calibrated, each method's share, how many epochs.

`bench.search.planning` makes it, `bench.search.description` says it in words (`--dry-run`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from bench.search import plugins
from bench.search.budget import MOST_SECONDS, Budget
from bench.search.experiment import Experiment, Searchable
from bench.search.methods import FROZEN

BOTH_RECIPES_PART = 0.5
"""Our recipe is confirmed beside winner and published recipe where all three take at most this part of a share."""
RACE_PART, RACE_AFTER = 1 / 5, 5
"""The race for the winner has this part of what a share has for choosing beyond the search of so many trainings: with
few trainings another configuration tells more than another seed (docs/log.md, 2026-11-27)."""
UNTRAINED = ("pixels", "random")
"""Baselines that are evaluated only, in one epoch, as frozen networks are."""
SINGLE = ("pixels",)
"""Baselines that have nothing random, so that one seed tells all, as of frozen networks."""
WITH_LABELS = ("supervised",)
"""Baselines that are trained with labels."""
WITHOUT_ENCODER = ("pixels",)
"""Baselines of which there is nothing that a protocol could judge."""
FROM_SCRATCH = ("scratch", "finetune")
"""Protocols that judge a baseline with labels by networks that they train from scratch."""


def is_untrained(name: str) -> bool:
    """Whether a baseline is evaluated only."""
    return name in UNTRAINED or name.startswith(FROZEN)


def is_single(name: str) -> bool:
    """Whether a baseline has one seed."""
    return name in SINGLE or name.startswith(FROZEN)


def judges(protocol: str, name: str, number: int = 0) -> bool:
    """Whether a protocol judges what the training of this number of a method or baseline has left. An untrained network
    is not fine-tuned: that is the baseline with labels. Of that all labels are in the weights, so that it cannot be
    judged with few; what stands in the place, `scratch`, trains with few labels, each draw by a seed of its own, and so
    judges one seed alone."""
    if name in WITH_LABELS:
        return protocol != "few" and (protocol != "scratch" or number == 0)
    return name not in WITHOUT_ENCODER and protocol != "scratch" and (protocol != "finetune" or name not in UNTRAINED)


@dataclass(frozen=True)
class Costs:
    """What a method's trainings take on one slot, in seconds."""

    epoch: float
    """Of our recipe."""
    evaluation: float
    start: float = 0.0
    """To begin a trial in a warm worker."""
    published: float | None = None
    """An epoch of the published recipe, where that is another one."""
    protocols: Mapping[str, float] = field(default_factory=dict)
    """Judging one of its encoders by each protocol."""

    def times(self, factor: float) -> Self:
        seconds = {name: factor * seconds for name, seconds in self._seconds().items()}
        return type(self)(**seconds, protocols={name: factor * each for name, each in self.protocols.items()})

    @property
    def all(self) -> list[float]:
        """Every figure of it."""
        return [*self._seconds().values(), *self.protocols.values()]

    def _seconds(self) -> dict[str, float]:
        seconds = {"epoch": self.epoch, "evaluation": self.evaluation, "start": self.start}
        return seconds if self.published is None else seconds | {"published": self.published}

    def to_json(self) -> dict[str, Any]:
        return self._seconds() | ({"protocols": dict(self.protocols)} if self.protocols else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        protocols = {name: float(seconds) for name, seconds in values.get("protocols", {}).items()}
        seconds = {name: float(each) for name, each in values.items() if name != "protocols"}
        return cls(**seconds, protocols=protocols)


@dataclass(frozen=True)
class Plan:
    """An experiment with a budget on a machine. `rate` is the device-seconds of a second on a slot.

    `calibration` has the costs of each method and baseline. `choices` maps method -> {hyper-parameter: the choices that
    are left}, where some of a search space train the same. `halved` names the methods and baselines that have half the
    images in a step, as the device's memory does not hold the whole batch. `dear` has the protocols that were left out,
    as nobody asked for them by name, and the device-seconds that each would take.
    """

    experiment: Experiment
    budget: Budget
    slots: int
    rate: float
    epochs: int
    calibration: dict[str, Costs]
    calibration_seconds: float
    startup: float
    choices: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    halved: list[str] = field(default_factory=list)
    dear: dict[str, float] = field(default_factory=dict)

    def measured(self) -> dict[str, Any]:
        """What was measured of it, as the ledger has it of each session that calibrates."""
        calibration = {method: costs.to_json() for method, costs in self.calibration.items()}
        seconds = {"calibration_seconds": self.calibration_seconds, "startup": self.startup}
        return {"calibration": calibration, **seconds, "halved": self.halved}

    def to_json(self) -> dict[str, Any]:
        """What the ledger has of the plan with which a run begins."""
        return {"epochs": self.epochs, "milestones": self.milestones, "choices": self.choices} | self.measured()

    @cached_property
    def spaces(self) -> dict[str, Searchable]:
        """The search spaces by method, with the `choices` that are left."""
        spaces = self.experiment.spaces.items()
        return {m: space.narrowed(self.choices[m]) if m in self.choices else space for m, space in spaces}

    @cached_property
    def milestones(self) -> list[int]:
        """The epochs before the last at which search trials are evaluated and may be pruned."""
        return list(plugins.scheduler(self.experiment.scheduler)(self.epochs).milestones)

    @property
    def baselines(self) -> dict[str, tuple[int, int]]:
        """Baseline -> (epochs, seeds)."""
        return {
            name: (1 if is_untrained(name) else self.epochs, 1 if is_single(name) else self.experiment.seeds)
            for name in self.experiment.baselines
        }

    def cost(self, method: str, stage: str, first: int, last: int) -> float:
        """Device-seconds that the epochs after `first` up to `last` take by the calibration; the first epoch of a trial
        with what beginning it takes."""
        costs = self.calibration[method]
        if stage == "search":
            evaluations = sum(first < m <= last for m in [*self.milestones, self.epochs])
        else:
            evaluations = last >= (1 if is_untrained(method) else self.epochs)
        start = costs.start if first == 0 else 0.0
        return self.rate * (start + (last - first) * costs.epoch + evaluations * costs.evaluation)

    @cached_property
    def allowance(self) -> float:
        """Device-seconds for the baselines and their evaluations, and for the start of a worker on each slot."""
        baselines = self.baselines.items()
        trainings = sum(seeds * self.cost(name, "baseline", 0, epochs) for name, (epochs, seeds) in baselines)
        evaluations = sum(self.judging(name, seeds) for name, (_, seeds) in baselines)
        return trainings + evaluations + self.rate * self.slots * self.startup

    @cached_property
    def share(self) -> float:
        """Device-seconds of each method."""
        left = self.budget.seconds - self.calibration_seconds - self.allowance
        return left / len(self.experiment.spaces)

    def training(self, method: str) -> float:
        """Device-seconds of one search trial that runs to its last epoch."""
        return self.cost(method, "search", 0, self.epochs)

    def recipes(self, method: str) -> int:
        """2 where our recipe is another one than the published."""
        return len(self.experiment.spaces[method].recipes)

    def pace(self, method: str) -> float:
        """How many times as long as one of ours an epoch of the published recipe takes."""
        costs = self.calibration[method]
        return (costs.epoch if costs.published is None else costs.published) / costs.epoch if costs.epoch else 1.0

    def configurations(self, method: str) -> int:
        """How many of them time is kept back for to be confirmed: 2, for winner and published recipe; 3 where there is
        room for our recipe too; 1, the published recipe, where nothing is searched."""
        if self.recipe_alone(method):
            return 1
        room = BOTH_RECIPES_PART * self.share
        return 3 if self.recipes(method) > 1 and self.confirming(method, 3) <= room else 2

    def confirming(self, method: str, configurations: int | None = None) -> float:
        """Device-seconds of confirming so many configurations with every seed, the published recipe among them; the
        least that there are where nothing is said."""
        configurations = configurations or self._least_configurations(method)
        whole = configurations - 1 + self.pace(method)
        return whole * self.experiment.seeds * self.cost(method, "confirm", 0, self.epochs)

    def evaluation(self, method: str, protocol: str) -> float:
        """Device-seconds in which a protocol judges one encoder; where it was not measured, those of an evaluation at a
        training's end."""
        costs = self.calibration[method]
        return self.rate * (costs.start + costs.protocols.get(protocol, costs.evaluation))

    def judging(self, method: str, trainings: int, protocols: Iterable[str] | None = None) -> float:
        """Device-seconds in which every protocol, or these, judge the encoders of so many trainings."""
        asked = self.experiment.protocols if protocols is None else protocols
        count = {each: sum(judges(each, method, number) for number in range(trainings)) for each in asked}
        return sum(count[each] * self.evaluation(method, each) for each in count)

    def judging_all(self, protocol: str) -> float:
        """Device-seconds in which a protocol judges all that the least confirming leaves, and the baselines."""
        seeds = self.experiment.seeds
        trainings = {method: seeds * self._least_configurations(method) for method in self.experiment.spaces}
        methods = sum(self.judging(method, count, [protocol]) for method, count in trainings.items())
        return methods + sum(self.judging(name, seeds, [protocol]) for name, (_, seeds) in self.baselines.items())

    def reserve(self, method: str) -> float:
        """Device-seconds kept back for confirming, and for judging what confirms."""
        configurations = self.configurations(method)
        return self.confirming(method, configurations) + self.judging(method, configurations * self.experiment.seeds)

    def least_share(self) -> float:
        """The share with which more than half of the methods can confirm their published recipe; others have what
        seeds there is room for."""
        shares = sorted(map(self.recipe_share, self.experiment.spaces))
        return shares[len(shares) // 2]

    def recipe_share(self, method: str) -> float:
        """The share with which a method can confirm its published recipe."""
        return self.confirming(method, 1) + self.judging(method, self.experiment.seeds)

    def searching_share(self, method: str) -> float:
        """The share with which a method can make a trial of each recipe, and confirm one and the published."""
        return self.trying(method) + self.confirming(method, 2) + self.judging(method, 2 * self.experiment.seeds)

    def recipe_alone(self, method: str) -> bool:
        """Whether the published recipe is all that is trained: nothing is to be searched, or the share has no room for
        it."""
        return self.experiment.recipes_only or self.share < self.searching_share(method)

    def budget_for(self, share: float) -> Budget | None:
        """The budget with which each method has about such a share; None where that is more than anyone has."""
        seconds = 1.05 * (share * len(self.experiment.spaces) + self.allowance + self.calibration_seconds)
        budget = Budget(self.budget.device, seconds).rounded_up()
        return budget if budget.seconds <= MOST_SECONDS else None

    def _least_configurations(self, method: str) -> int:
        return 1 if self.recipe_alone(method) else 2

    def trying(self, method: str) -> float:
        """Device-seconds of one search trial of each recipe."""
        return (self.recipes(method) - 1 + self.pace(method)) * self.training(method)

    def trials(self, method: str) -> float:
        """About how many search trials fit, at the mean cost of a trial when the scheduler prunes as it should."""
        if self.recipe_alone(method):
            return 0.0
        parts = list(pairwise([0, *self.milestones, self.epochs]))
        # So that a third comes to the last epoch, and as many of those that come to a milestone go on as to another.
        going_on = [math.pow(1 / 3, place / max(1, len(parts) - 1)) for place in range(len(parts))]
        mean = sum(part * self.cost(method, "search", *each) for part, each in zip(going_on, parts, strict=True))
        choosing = self.share - self.reserve(method)
        searching = choosing - self.racing(method, choosing) - self.trying(method)
        return self.recipes(method) + max(0.0, searching) / mean

    def racing(self, method: str, choosing: float) -> float:
        """Of so many device-seconds for choosing those that are kept for the race."""
        return max(0.0, RACE_PART * (choosing - RACE_AFTER * self.training(method)))

    def time_limit(self, method: str, stage: str = "search") -> float:
        """Seconds after which an epoch counts as hung, or an evaluation: a protocol may train as long as a training,
        and before its first epoch a student may have to ask its teacher, which is a frozen baseline."""
        longest = self.cost(method, "confirm", 0, self.epochs) / self.rate if stage == "evaluate" else 0.0
        frozen = (self.calibration[name].evaluation for name in self.baselines if name.startswith(FROZEN))
        longest += max(frozen, default=0.0)
        return self.experiment.patience + 10 * (sum(self.calibration[method].all) + longest)
