"""What to run next, when to stop it, and whom to believe: the search, as a fold over the ledger. No Ray here.

Every method gets the same share of the budget in device-seconds. Of it, what confirming will cost is kept back:
two trainings for each fresh seed, or three where there are two recipes and room for them
(`bench.search.plan.Plan.configurations`); the rest is searched. A method goes through

    search    trial 0 is the published recipe and, where ours is another one, trial 1 is ours; neither is ever pruned;
              Optuna proposes the others; the scheduler prunes them within the method at its milestones by validation
              accuracy (knn_200)
    confirm   the winner (best accuracy at the last epoch of complete trials, the earlier of equals), the published
              recipe (stage `published`) and, where its time was kept back too, our recipe (stage `ours`), with the same
              fresh seeds, seed by seed; where the winner is a recipe, both recipes, with the time of all, and so more
              seeds: twice as many where there is one recipe

The next trial goes to the method with the least device time spent or promised to its running trials. A trial that
runs has its device time promised up to its next milestone; where a share has no room for the next promise, the trial
is cut and stays open for a larger budget. A trial that is dearer than the method's others goes on only where it has
room for its own confirmation too, or it could win and not be confirmed. A new trial starts where a whole training has
room: one that cannot reach its last epoch cannot win. Only when none runs that can win, the rest of a share, too short
for that, goes to trials that get as far as they can: so that all methods have the same device time, to a milestone's.
No configuration is searched twice: where all of a method's were tried, its search ends.

A search trial that runs out of memory before its first report is tried once more, with half the images in a step; all
search trials of its method that begin later have half of them too. What confirms a search trial has the batch that it
had.

A method whose trials fail is given up: after so many failures of one kind no other trial is proposed, unless one has
come through its first evaluation, and when those that run have failed too, its search ends without a winner, and
nothing confirms it.

**To plug in a searcher**: `--searcher package.module:function`, called as `function(seed)`, gives an
`optuna.samplers.BaseSampler`. **A scheduler**: `--scheduler package.module:Class`, called as `Class(epochs)` once for
each method; it has `milestones`, the epochs at which trials are evaluated and may end (below `epochs`), and
`arrive(uid, epoch, accuracy) -> bool`, whether the trial goes on. It is told every arrival once, in the order of the
ledger, again after a restart: it must be a function of what it was told.
"""

import copy
import functools
import hashlib
import itertools
import math
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from algorithms.evaluation.metrics import FEATURE_STD, SELECTION
from algorithms.training.report import EpochReport
from bench import doors
from bench.errors import UserError
from bench.search.job import Assignment, Failure
from bench.search.ledger import OF_THE_RECIPE, RECIPES, Fold, Trial

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells every study and trial, which we tell ourselves

DONE = "done"
"""`Search.next` returns it when nothing runs and nothing is left to start."""
COLLAPSED = 0.02
"""A trial whose `feature_std` is below this has the same features for all images."""
LOSSES_OF_A_WORKER = 3
"""A trial fails when it has lost this many workers without an epoch between them."""
ONCE = 3
"""A first epoch that takes so many times what was planned has done something that happens once."""
DEARER = 1.1
"""A trial that takes so many times what its method's trials take is dearer; what is less is the noise of a machine."""
FEW = 10
"""Random trials before TPE models, the recipes included."""
FAILURES = 5
"""So many failures of one kind, and no evaluation that went well: the method is given up."""
ASKS = 5
"""How often a searcher is asked for a configuration that was not tried yet."""


class Asha:
    """Asynchronous successive halving, the stopping variant (Li et al. 2020, arXiv 1810.05934).

    Milestones are `grace`, `grace` x `eta`, ... up to half of `epochs`: later there is little left to save. A trial
    goes on from a milestone if it is among the best 1 in `eta` of those that came there before it and itself; the first
    to come always goes on.
    """

    def __init__(self, epochs: int, eta: int = 3, grace: int | None = None) -> None:
        grace = grace or max(1, round(epochs / eta**2))
        self.eta = eta
        self.milestones: list[int] = []
        while 2 * grace <= epochs:
            self.milestones.append(grace)
            grace *= eta
        self._rungs: dict[int, list[float]] = {}

    def arrive(self, uid: str, epoch: int, accuracy: float) -> bool:
        """Record the accuracy at a milestone; whether the trial goes on."""
        rung = self._rungs.setdefault(epoch, [])
        insort(rung, accuracy)
        better = len(rung) - bisect_left(rung, accuracy) - rung.count(accuracy)
        return better < max(1, len(rung) // self.eta)


class Full:
    """No pruning: every trial runs to its last epoch."""

    def __init__(self, epochs: int) -> None:
        self.milestones: list[int] = []

    def arrive(self, uid: str, epoch: int, accuracy: float) -> bool:
        return True


class _Tpe(optuna.samplers.TPESampler):
    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the first trial has: here all trials of a study have the same parameters, and none needs a look."""
        names = study.get_trials(deepcopy=False)[0].distributions
        return {name: names[name] for name in sorted(names) if not names[name].single()}


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Multivariate TPE; running trials count as poor ones so that parallel proposals differ."""
    return _Tpe(
        seed=seed,
        n_startup_trials=FEW,
        multivariate=True,
        constant_liar=True,
    )


def random(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


class BestAndLatest(optuna.storages.InMemoryStorage):
    """One study, of which samplers see what runs, the best and the latest trials: where TPE takes time in proportion
    to the trials that it sees, proposals take the same time in a study of any length.

    TPE calls a tenth of what it sees good, so the best are as many. What it sees depends on how trials ended and not
    on the order in which they did, so that a continued run sees the same. Alone in its storage, a trial's number is
    its id.
    """

    def __init__(self, best: int = 15, latest: int = 105) -> None:
        super().__init__()
        self._best, self._latest = best, latest
        self._ranking: list[tuple[float, ...]] = []  # as TPE ranks: complete before pruned, pruned by epoch
        self._ended: list[int] = []
        self._running: set[int] = set()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = super().create_new_trial(study_id, template_trial)
        if template_trial is None or not template_trial.state.is_finished():
            self._running.add(number)
        return number

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Nothing: TPE tells other processes there what it proposes, and there are none."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        changed = super().set_trial_state_values(trial_id, state, values)
        trial = self.get_trial(trial_id)
        if state.is_finished():
            self._running.discard(trial_id)
        if state == TrialState.COMPLETE:
            insort(self._ranking, (0, 0, -trial.value, trial_id))
        if state == TrialState.PRUNED:
            epoch, accuracy = max(trial.intermediate_values.items(), default=(0, 0.0))
            insort(self._ranking, (1, -epoch, -accuracy, trial_id))
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            insort(self._ended, trial_id)
        return changed

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        if len(self._ended) <= self._best + self._latest or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = super().get_all_trials(study_id, deepcopy=False)
        best = (number for *_, number in self._ranking[: self._best])
        numbers = sorted(self._running.union(best, self._ended[-self._latest :]))
        seen = [trials[number] for number in numbers if states is None or trials[number].state in states]
        return copy.deepcopy(seen) if deepcopy else seen


SEARCHERS: dict[str, Callable] = {"tpe": tpe, "random": random}
SCHEDULERS: dict[str, Callable] = {"asha": Asha, "full": Full}


def plugin(kind: str, name: str, known: dict[str, Callable]) -> Callable:
    """`known[name]`, or what `module:attribute` names, tried once. Raises UserError."""
    if name in known:
        return known[name]
    choices = f"use {', '.join(known)} or package.module:attribute"
    found = doors.load(kind, name, choices)
    if not callable(found):
        raise UserError(f"there is no {kind} {name!r}; {choices}")
    try:
        made = found(FEW)  # a seed, or epochs
        fits = isinstance(made, optuna.samplers.BaseSampler) if kind == "searcher" else _is_scheduler(made)
    except Exception as error:
        raise doors.refused(kind, name, "be used", error, choices) from None
    if not fits:
        wanted = "an Optuna sampler" if kind == "searcher" else "something with milestones, whole numbers, and arrive"
        raise UserError(f"the {kind} {name!r} gives {type(made).__name__}, not {wanted}; {choices}")
    return found


def _is_scheduler(made: Any) -> bool:
    milestones = getattr(made, "milestones", None)
    return isinstance(milestones, list | tuple) and all(type(m) is int for m in milestones) and callable(made.arrive)


def _size(distributions: Iterable[BaseDistribution]) -> float:
    """How many configurations there are; infinity where one parameter is continuous."""
    return math.prod(math.inf if values is None else len(values) for values in map(_values, distributions))


def _values(distribution: BaseDistribution) -> Sequence | None:
    """All values of a parameter; None where it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return None


def _key(parameters: dict[str, Any]) -> tuple:
    """The same for the same configuration."""
    return tuple(sorted(parameters.items()))


def _uid(method: str, number: int) -> str:
    """Of a search trial. Those of the recipes have their places in `RECIPES` as numbers."""
    return f"{method}-{number:04d}"


def _standing(trial: Trial) -> tuple[float, int]:
    """The more the better, of complete search trials; of equals the earlier."""
    return trial.accuracy, -trial.number


@dataclass
class Running:
    """A trial that holds a slot. In device-seconds: what it held `before` this attempt, and `due`, what it may hold
    up to its next milestone. `since` is when its slot was held for it, then when its worker had it (monotonic)."""

    attempt: int
    since: float
    before: float
    due: float


class Search:
    """The decisions of a run. All state is `ledger.fold`, or follows from it when this object is made.

    `plan` is a `bench.search.plan.Plan`. `ledger` has `fold` and `append(event, **values)`. `clock` counts seconds and
    never jumps. `slots` may be changed at any time (nodes come and go). On `shared` devices, where others may hold
    what a trial waits for, its slot is charged only when its worker is `alive`.
    """

    def __init__(
        self, plan: Any, ledger: Any, clock: Callable[[], float] = time.monotonic, *, shared: bool = False
    ) -> None:
        experiment = plan.experiment
        self.plan, self.ledger, self.clock = plan, ledger, clock
        self._planned_cost = functools.cache(plan.cost)
        self.fold: Fold = ledger.fold
        self.spaces, self.slots = plan.spaces, plan.slots
        self._recipes = {method: space.recipes for method, space in self.spaces.items()}
        self._reserved = {method: plan.configurations(method) for method in self.spaces}
        self.running: dict[str, Running] = {}
        self.pending: set[str] = set()  # those of which nothing says yet that they hold a device: not charged
        self._shared = shared
        self._starting: dict[str, Running] = {}  # those that hold a slot, but whose worker is not there yet
        self._sampler = plugin("searcher", experiment.searcher, SEARCHERS)
        make_scheduler = plugin("scheduler", experiment.scheduler, SCHEDULERS)
        self.schedulers = {method: make_scheduler(plan.epochs) for method in self.spaces}
        self._studies: dict[str, optuna.Study] = {}
        self._storages: dict[str, optuna.storages.InMemoryStorage] = {}
        self._promised = {method: self.fold.spent.get(method, 0.0) for method in self.spaces}
        # The charge at any time is one sum, whatever runs: settled + rate * (running and charged * now - since)
        self._settled, self._since, self._startup = self.fold.charged, 0.0, self.fold.startup
        self._measured = {method: [0.0, 0.0] for method in plan.calibration}
        self._paces: dict[str, list[float]] = {}  # of search trials: the same of each alone
        self._best: dict[str, Trial] = {}  # the best complete search trial of each method
        self._waiting: dict[str, list[tuple[float, Trial]]] = {method: [] for method in self.spaces}
        self._numbers = dict.fromkeys(self.spaces, 0)  # of search trials
        self._searching: dict[str, set[str]] = {method: set() for method in self.spaces}  # search trials that run
        self._confirmed: dict[str, Counter] = {method: Counter() for method in self.spaces}  # seeds, by stage
        self._unconfirmed: set[str] = set()  # methods of which a confirming trial has failed
        self._filling: set[str] = set()  # methods whose search only spends the rest of their share
        self._tried: dict[str, set[tuple]] = {method: set() for method in self.spaces}  # configurations, by _key
        self._failures: dict[str, Counter] = {method: Counter() for method in self.spaces}  # search trials, by kind
        self._specifications = list(self._baselines())
        for trial in self.fold.trials.values():
            if trial.stage == "search":
                self._numbers[trial.method] += 1
                self._tried[trial.method].add(_key(trial.parameters))
                if not trial.final:
                    self._wait(trial)
            self._count(trial)
        for uid, epoch in self.fold.arrivals:
            trial = self.fold.trials[uid]
            self._learn(trial, epoch)
            if self._at_milestone(trial, epoch) and trial.decisions[epoch] != "failed":
                self.schedulers[trial.method].arrive(uid, epoch, trial.reports[epoch].metrics[SELECTION.name])

    # What has been spent, and what things cost

    @property
    def charged(self) -> float:
        """Device-seconds charged up to now, running trials included."""
        charged = len(self.running) - len(self.pending)
        return self._settled + self.plan.rate * (charged * self.clock() - self._since)

    @property
    def exhausted(self) -> bool:
        return self.charged >= self.plan.budget.seconds

    @property
    def training(self) -> bool:
        """Whether any worker has a trial."""
        return len(self.running) > len(self._starting) + len(self.pending)

    def held(self, uid: str) -> float:
        """Device-seconds that a trial has held up to now."""
        running = self.running.get(uid)
        if running is None or uid in self._starting or uid in self.pending:
            return self.fold.trials[uid].held
        return running.before + self.plan.rate * (self.clock() - running.since)

    @property
    def startup(self) -> float:
        """Device-seconds in which slots waited for their workers, up to now."""
        now = self.clock()
        return self._startup + self.plan.rate * sum(now - running.since for running in self._starting.values())

    @property
    def share(self) -> float:
        """Device-seconds of each method: as planned, less what baselines and start-up took beyond their part."""
        others = self.fold.startup + sum(self.fold.spent.get(name, 0.0) for name in self.plan.baselines)
        return self.plan.share - max(0.0, others - self.plan.allowance) / len(self.spaces)

    def cost(self, method: str, stage: str, first: int, last: int) -> float:
        """Device-seconds of the epochs after `first` up to `last`, as calibrated, corrected by what was measured."""
        return self._planned_cost(method, stage, first, last) * self._correction(method)

    def _correction(self, method: str) -> float:
        actual, nominal = self._measured[method]
        prior = self._planned_cost(method, "search", 0, self.plan.epochs) / 2
        return (actual + prior) / (nominal + prior)

    def _learn(self, trial: Trial, epoch: int) -> None:
        """What an epoch took beside what was planned. Not learnt from: the first epoch of a later attempt, with which
        comes what a lost worker had trained already, and a first epoch with which comes what happens once, such as
        compiling."""
        report, before = trial.reports[epoch], trial.reports.get(epoch - 1)
        if trial.method not in self._measured or (before is not None and before.attempt != report.attempt):
            return
        planned = self._planned_cost(trial.method, trial.stage, epoch - 1, epoch)
        if before is not None or report.took <= ONCE * planned:
            own = [self._paces.setdefault(trial.uid, [0.0, 0.0])] if trial.stage == "search" else []
            # What was calibrated is our recipe: the published one, where it is another, has a pace of its own alone.
            apart = trial.published and len(self._recipes.get(trial.method, ())) > 1
            for measured in own if apart else (self._measured[trial.method], *own):
                measured[0] += report.took
                measured[1] += planned

    def _pace(self, method: str, *uids: str) -> float:
        """By how much longer than planned the dearest configuration of these search trials takes: as the method's
        trainings do on the whole or, where it is clearly dearer, as its trial itself did."""
        whole = self._correction(method)
        dearest = max((self._own_pace(method, uid) for uid in uids), default=0.0)
        return dearest if dearest > DEARER * whole else whole

    def _own_pace(self, method: str, uid: str) -> float:
        """That of a single search trial, the published recipe's as calibrated before it was seen; 0 where unknown."""
        if uid in self._paces:
            return self._paces[uid][0] / self._paces[uid][1]
        return self.plan.pace(method) if uid == _uid(method, 0) else 0.0

    def _searched(self, trial: Trial) -> str:
        """The uid of the search trial that has the configuration of this trial, which searches or confirms."""
        return trial.of or (_uid(trial.method, RECIPES.index(trial.recipe)) if trial.recipe else trial.uid)

    def room(self, method: str, *waiting: str) -> float:
        """Device-seconds of the method's share that are neither spent, promised nor kept back for confirming: the
        recipes, and what may win beside them, so the dearest of the best trial so far, those that run, and those
        `waiting`."""
        seeds, confirmed = self.plan.experiment.seeds, self._confirmed[method]
        best = [self._best[method].uid] if method in self._best else []
        tuned = (uid for uid in (*best, *self._searching[method], *waiting) if not self.fold.trials[uid].recipe)
        reserve = seeds * self._pace(method, *tuned)
        for number, stage in enumerate(RECIPES[: self._reserved[method] - 1]):
            reserve += max(0, seeds - confirmed[stage]) * self._pace(method, _uid(method, number))
        return (
            self.share - reserve * self._planned_cost(method, "confirm", 0, self.plan.epochs) - self._promised[method]
        )

    # What to run next

    def next(self) -> Assignment | str | None:
        """The next assignment for a free slot; None where there is none now; DONE where nothing is left to do."""
        trial = None
        if not self.exhausted:
            if len(self.running) >= self.slots:
                return None
            trial = self._pick()
        if trial is None:
            return None if self.running else DONE
        return self._assign(trial)

    def work_left(self) -> bool:
        """Whether there is anything to start."""
        trial = None if self.exhausted else self._pick()
        if trial is not None and trial.stage == "search":
            self._waiting[trial.method].insert(0, (self._to_next_milestone(trial), trial))
        return trial is not None

    def _pick(self) -> Trial | None:
        for specification in self._specifications:
            if trial := self._open_or_new(**specification):
                return trial
        sealed = []
        for method in sorted(self.spaces, key=self._promised.__getitem__):
            if self._sealed(method):
                sealed.append(method)
                continue
            room, waiting = self.room(method), self._waiting[method]
            for place, (planned, trial) in enumerate(waiting):
                due = planned * self._pace(method, trial.uid)
                if trial.recipe or (due <= room and due <= self.room(method, trial.uid)):
                    del waiting[place]
                    return trial
            if self._may_propose(method, room) and (trial := self._propose(method)):
                return trial
            if not self._searching[method]:
                self._seal(method)
                sealed.append(method)
        candidates = []
        for order, method in enumerate(sealed):
            for place, specification in enumerate(self._confirmations(method)):
                trial = self.fold.trials.get(specification["uid"])
                if trial is not None and (trial.final or trial.uid in self.running):
                    continue
                cost = self._costs(method, trial.epoch if trial else 0)[specification["stage"]]
                most = self.share * 1.02
                if place >= self._asked(method):  # more than was asked for: the winner's, with what it is compared with
                    first, *others = self._costs(method).items()
                    most = self.share - sum(each for _, each in others[:1] if specification["stage"] == first[0])
                if self._promised[method] + cost <= most:
                    candidates.append((specification["k"], place, order, specification))
                break
        if not candidates:
            return None
        return self._open_or_new(**min(candidates, key=lambda c: c[:3])[3])

    def _may_propose(self, method: str, room: float) -> bool:
        """Whether the method's search goes on, and a new trial has room."""
        if self._numbers[method] < len(self._recipes[method]):
            return True
        if self._only_fails(method):
            return False
        if self.cost(method, "search", 0, self.plan.epochs) <= room:
            return True
        if not self._searching[method]:
            self._filling.add(method)
        first = [*self.schedulers[method].milestones, self.plan.epochs][0]
        return method in self._filling and self.cost(method, "search", 0, first) <= room

    def _only_fails(self, method: str) -> bool:
        """Whether enough search trials have failed alike, and none has come through an evaluation."""
        if max(self._failures[method].values(), default=0) < FAILURES:
            return False
        return not any(
            trial.decisions.get(epoch, "failed") != "failed"
            for trial in self.fold.of(method, "search")
            for epoch in trial.evaluate_at
        )

    def _sealed(self, method: str) -> bool:
        chosen = self.fold.chosen.get(method)
        return chosen is not None and chosen["share"] >= self.share * (1 - 1e-9)

    def _seal(self, method: str) -> None:
        """End the method's search: choose the winner, or say why there can be none."""
        complete = [trial for trial in self.fold.of(method, "search") if trial.state == "complete"]
        winner = max(complete, key=_standing, default=None)
        values = {}
        if self._only_fails(method):
            kind, count = self._failures[method].most_common(1)[0]
            last = [trial for trial in self.fold.of(method, "search") if trial.state == "failed" and trial.kind == kind]
            values["reason"] = (
                f"{count} trials failed alike and none came through its first evaluation; "
                f"the last, {last[-1].uid}: {last[-1].reason}"
            )
        self.ledger.append("chosen", method=method, winner=winner.uid if winner else None, share=self.share, **values)

    def _baselines(self) -> Iterator[dict[str, Any]]:
        for baseline, (epochs, seeds) in self.plan.baselines.items():
            for k in range(seeds):
                yield {
                    "uid": f"{baseline}-s{k + 1}",
                    "method": baseline,
                    "stage": "baseline",
                    "k": k,
                    "hyperparameters": {},
                    "of": None,
                    "published": True,
                    "epochs": epochs,
                    "halved": baseline in self.fold.halved,
                }

    def _asked(self, method: str) -> int:
        """How many trainings confirm the method. Where a recipe has won, there are fewer configurations, which have the
        time of all that it was kept back for."""
        configurations = self._reserved[method] if self.fold.winner(method) else len(self._configurations(method))
        return self.plan.experiment.seeds * configurations

    def _configurations(self, method: str) -> dict[str, Trial]:
        """The search trials of the configurations that are confirmed, by stage: the winner, the published recipe, and
        ours where its time was kept back, or that of a winner is left, as a recipe has won."""
        winner = self.fold.trials.get(self.fold.winner(method) or "")
        tuned = winner is not None and not winner.recipe
        found = {winner.recipe or "confirm": winner} if winner is not None else {}
        recipes = self._reserved[method] - 1 if tuned else len(self._recipes[method])
        return found | {stage: self.fold.trials[_uid(method, n)] for n, stage in enumerate(RECIPES[:recipes])}

    def _costs(self, method: str, epoch: int = 0) -> dict[str, float]:
        """Device-seconds of confirming each configuration with one seed, after this epoch, by stage."""
        planned = self._planned_cost(method, "confirm", epoch, self.plan.epochs)
        return {stage: planned * self._pace(method, t.uid) for stage, t in self._configurations(method).items()}

    def _confirmations(self, method: str) -> Iterator[dict[str, Any]]:
        """The trials that confirm, seed by seed. After the seeds that were asked for come more, where a share has room
        for them (a larger budget leaves some, when winner and recipes are confirmed already); unless one has failed, as
        more would then. None where the method was given up."""
        if method in self.fold.given_up:
            return
        configurations = self._configurations(method)
        most = self._asked(method) if method in self._unconfirmed else None
        trainings = ((k, *each) for k in itertools.count() for each in configurations.items())
        for k, stage, trial in itertools.islice(trainings, most):
            name = f"{trial.number:04d}" if stage == "confirm" else stage
            yield {
                "uid": f"{method}-{name}-s{k + 1}",
                "method": method,
                "stage": stage,
                "k": k,
                "hyperparameters": trial.hyperparameters,
                "of": trial.uid if stage == "confirm" else None,
                "published": trial.published,
                "epochs": self.plan.epochs,
                "halved": trial.halved,
                **({"ours": True} if trial.ours else {}),
            }

    def _open_or_new(self, uid: str, k: int, **values: Any) -> Trial | None:
        trial = self.fold.trials.get(uid)
        if trial is None:
            seed = self.plan.experiment.seed * 1_000_000 + 900_001 + k
            self.ledger.append(
                "suggested",
                uid=uid,
                seed=seed,
                number=k,
                parameters={},
                evaluate_at=[values["epochs"]],
                **values,
            )
            trial = self.fold.trials[uid]
        return None if trial.final or uid in self.running else trial

    def _propose(self, method: str) -> Trial | None:
        """A new search trial: the recipes first, then what Optuna asks for; None where that is nothing new."""
        number, space = self._numbers[method], self.spaces[method]
        recipe = number < len(self._recipes[method])
        if recipe:
            hyperparameters = self._recipes[method][number]
            parameters = space.to_params(hyperparameters if space.proposes(hyperparameters) else space.defaults)
            self._add_to_study(self._study(method), method, parameters, hyperparameters)
        else:
            parameters = self._ask(method, number)
            if parameters is None:
                return None
            hyperparameters = space.from_params(parameters)
        self._numbers[method] += 1
        self._tried[method].add(_key(parameters))
        uid = _uid(method, number)
        self.ledger.append(
            "suggested",
            uid=uid,
            method=method,
            stage="search",
            seed=self.plan.experiment.seed * 1_000_000 + number,
            number=number,
            hyperparameters=hyperparameters,
            parameters=parameters,
            published=number == 0,
            of=None,
            epochs=self.plan.epochs,
            evaluate_at=[*self.schedulers[method].milestones, self.plan.epochs],
            halved=method in self.fold.halved,
            **({"ours": True} if recipe and number > 0 else {}),
        )
        return self.fold.trials[uid]

    def _assign(self, trial: Trial) -> Assignment:
        attempt = trial.attempts + 1
        self.ledger.append("assigned", uid=trial.uid, attempt=attempt)
        self.running[trial.uid] = Running(attempt, self.clock(), trial.held, trial.held)
        self.pending.add(trial.uid)
        if not self._shared:
            self.alive(trial.uid)
        if trial.stage == "search":
            self._searching[trial.method].add(trial.uid)
        self._promise(trial)
        return Assignment(trial.job, attempt, known=trial.epoch, time_limit=self.plan.time_limit(trial.method))

    def _wait(self, trial: Trial) -> None:
        """Keep an open search trial, with what it needs as planned, until there is room for it."""
        self._waiting[trial.method].append((self._to_next_milestone(trial), trial))

    def _to_next_milestone(self, trial: Trial) -> float:
        """Device-seconds as planned; to the trial's last epoch where nothing can stop it before."""
        ends = [trial.epochs] if trial.recipe else trial.evaluate_at
        return self._planned_cost(trial.method, trial.stage, trial.epoch, next(e for e in ends if e > trial.epoch))

    def _promise(self, trial: Trial) -> None:
        running = self.running[trial.uid]
        pace = self._pace(trial.method, self._searched(trial))
        due = self.held(trial.uid) + self._to_next_milestone(trial) * pace
        if trial.method in self._promised:
            self._promised[trial.method] += due - running.due
        running.due = due

    def _release(self, trial: Trial) -> None:
        """The trial gave its slot back; `trial.held` is final for now."""
        self.alive(trial.uid)
        running = self.running.pop(trial.uid)
        self._starting.pop(trial.uid, None)
        self._count(trial)
        self._since -= running.since
        self._settled += trial.held - running.before
        if trial.method in self._promised:
            self._promised[trial.method] += trial.held - running.due
        if trial.stage == "search":
            self._searching[trial.method].remove(trial.uid)
            if not trial.final:
                self._wait(trial)
            elif trial.method in self._studies:  # one made later is told when it is made
                self._tell(self._studies[trial.method], trial)

    def _count(self, trial: Trial) -> None:
        if trial.method not in self.spaces:
            return
        if trial.stage != "search" and trial.state == "complete":
            self._confirmed[trial.method][trial.stage] += 1
        if trial.stage != "search" and trial.state == "failed":
            self._unconfirmed.add(trial.method)
        if trial.stage == "search" and trial.state == "failed":
            self._failures[trial.method][trial.kind] += 1
        if trial.stage == "search" and trial.state == "complete":
            self._best[trial.method] = max(self._best.get(trial.method, trial), trial, key=_standing)

    # What happened

    def alive(self, uid: str) -> None:
        """The trial's slot is held, at least by a worker that starts: from now on it is charged."""
        if uid in self.pending:
            self.pending.remove(uid)
            running = self._starting[uid] = self.running[uid]
            running.since = self.clock()
            self._since += running.since

    def started(self, uid: str) -> None:
        """A worker has the trial now; what went before was start-up."""
        if uid in self.running:
            self._worker_has(uid)
            self.ledger.append("started", uid=uid, held=self.held(uid), startup=self.startup)

    def _worker_has(self, uid: str) -> None:
        self.alive(uid)
        running = self._starting.pop(uid, None)
        if running is None:
            return
        now = self.clock()
        waited = self.plan.rate * (now - running.since)
        self._startup += waited
        self._settled += waited
        self._since += now - running.since
        running.since = now

    def reported(self, uid: str, attempt: int, report: EpochReport, facts: dict | None = None) -> bool:
        """Write an epoch and what was decided upon it; whether the trial goes on."""
        running, trial = self.running.get(uid), self.fold.trials[uid]
        if running is None or running.attempt != attempt:
            return False  # a worker that should be dead
        epoch = report.epoch
        if epoch in trial.reports:
            return True
        decision, reason, kind = self._decide(trial, report)
        values = {name: value for name, value in (("kind", kind), ("facts", facts)) if value}
        self.ledger.append(
            "reported",
            uid=uid,
            attempt=attempt,
            report=report.to_json(),
            held=self.held(uid),
            decision=decision,
            reason=reason,
            **values,
        )
        self._learn(trial, epoch)
        if decision != "continue":
            self._release(trial)
            return False
        if self._at_milestone(trial, epoch):
            self._promise(trial)
        return True

    def _at_milestone(self, trial: Trial, epoch: int) -> bool:
        return trial.stage == "search" and epoch < trial.epochs and epoch in trial.evaluate_at

    def _decide(self, trial: Trial, report: EpochReport) -> tuple[str, str | None, str | None]:
        """The decision, its reason, and the kind of a failure."""
        epoch, accuracy, spread = report.epoch, report.metrics.get(SELECTION.name), report.metrics.get(FEATURE_STD.name)
        if not math.isfinite(report.loss):
            return "failed", f"loss is {report.loss} at epoch {epoch}", "diverged"
        if spread is not None and not spread >= COLLAPSED and trial.stage != "baseline":
            return "failed", f"collapsed: feature_std is {spread:.3g} at epoch {epoch}", "collapsed"
        if epoch >= trial.epochs:
            if accuracy is None or not math.isfinite(accuracy):
                return (
                    "failed",
                    f"accuracy is {accuracy} at the last epoch",
                    "error" if accuracy is None else "diverged",
                )
            return "complete", None, None
        if self._at_milestone(trial, epoch):
            if accuracy is None or not math.isfinite(accuracy):
                reason = f"accuracy is {accuracy} at epoch {epoch}, where it should be evaluated"
                return "failed", reason, "error" if accuracy is None else "diverged"
            goes_on = self.schedulers[trial.method].arrive(trial.uid, epoch, accuracy)
            if not trial.recipe:
                if not goes_on:
                    return "pruned", None, None
                coming = next(e for e in trial.evaluate_at if e > epoch)
                planned = self._planned_cost(trial.method, "search", epoch, coming)
                if planned * self._pace(trial.method, trial.uid) > self.room(trial.method):
                    return "cut", "its method's share has no room for the epochs to the next milestone", None
        if self.exhausted:
            return "cut", "the budget is spent", None
        return "continue", None, None

    def failed(self, uid: str, failure: Failure) -> None:
        """The trial ended with a failure that would come again. One that ran out of memory before its first report may
        have room with half the batch: it stays open."""
        trial = self.fold.trials[uid]
        if failure.kind == "memory" and trial.stage == "search" and not trial.halved and not trial.reports:
            self._interrupt("halved", uid, failure.text)
        else:
            self._interrupt("failed", uid, failure.text, kind=failure.kind)

    def lost(self, uid: str, reason: str) -> None:
        """The trial's worker died of something else: it is tried again, but not for ever."""
        losses = self.fold.trials[uid].fruitless + 1
        if losses < LOSSES_OF_A_WORKER:
            self._interrupt("lost", uid, reason)
        else:
            self._interrupt(
                "failed", uid, f"lost {losses} workers without an epoch between them: {reason}", kind="lost"
            )

    def cut(self, uid: str, reason: str) -> None:
        """Stop charging a trial that stays open."""
        self._interrupt("cut", uid, reason)

    def _interrupt(self, event: str, uid: str, reason: str, **values: Any) -> None:
        if uid in self.running:
            self._worker_has(uid)
            self.ledger.append(event, uid=uid, held=self.held(uid), startup=self.startup, reason=reason, **values)
            self._release(self.fold.trials[uid])

    def heartbeat(self) -> None:
        """Make durable what running trials have held."""
        if self.running:
            held = {uid: round(self.held(uid), 3) for uid in self.running}
            self.ledger.append("held", held=held, startup=self.startup)

    # Optuna

    def _ask(self, method: str, number: int) -> dict[str, Any] | None:
        """The parameters of a configuration that was not tried, which the study has then as a running trial: as the
        searcher proposes, asked with other seeds where it repeats itself; else the first that is left of finitely many.
        None where none is left, or the searcher insists."""
        distributions, tried = self.spaces[method].distributions(), self._tried[method]
        size = _size(distributions.values())
        if len(tried) >= size:
            return None
        for again in range(ASKS):
            name = f"{self.plan.experiment.seed}/{method}/{number}" + (f"/{again}" if again else "")
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") >> 1
            study = self._study(method)
            study.sampler = self._sampler(seed)
            parameters = study.ask(distributions).params
            if _key(parameters) not in tried:
                return parameters
            del self._studies[method]  # and with it what was asked for in vain
        if size == math.inf:
            return None
        grid = itertools.product(*map(_values, distributions.values()))
        parameters = next(p for values in grid if _key(p := dict(zip(distributions, values, strict=True))) not in tried)
        self._add_to_study(self._study(method), method, parameters, self.spaces[method].from_params(parameters))
        return parameters

    def _study(self, method: str) -> optuna.Study:
        """The method's study in memory, made from the ledger when first asked for."""
        if method not in self._studies:
            # A searcher of a user sees all trials: it may count them, or look for its own marks on them.
            make_storage = BestAndLatest if self._sampler is tpe else optuna.storages.InMemoryStorage
            storage = self._storages[method] = make_storage()
            study = optuna.create_study(direction="maximize", study_name=method, storage=storage)
            for trial in self.fold.of(method, "search"):
                self._add_to_study(study, method, trial.parameters, trial.hyperparameters)
                if trial.final:
                    self._tell(study, trial)
            self._studies[method] = study  # in memory and alone in its storage, a trial's number is its id
        return self._studies[method]

    def _add_to_study(
        self, study: optuna.Study, method: str, parameters: dict[str, Any], hyperparameters: dict[str, Any]
    ) -> None:
        """A recipe that the search space does not propose is not what its `parameters` say: it is there as a failure
        from the start, of which no searcher learns, so that numbers are the same."""
        state = TrialState.RUNNING if self.spaces[method].proposes(hyperparameters) else TrialState.FAIL
        distributions = self.spaces[method].distributions()
        study.add_trial(optuna.trial.create_trial(state=state, params=parameters, distributions=distributions))

    def _tell(self, study: optuna.Study, trial: Trial) -> None:
        """A trial ended: its accuracies by epoch, and whether it completed, was pruned or failed. A failure of the
        recipe is told as pruned, the worst of all: TPE does not look at failures, and would come back to the cliff.
        Nothing is told of what the search space does not propose."""
        if not self.spaces[trial.method].proposes(trial.hyperparameters):
            return
        if trial.kind in OF_THE_RECIPE:
            study.tell(trial.number, state=TrialState.PRUNED)
            return
        for epoch, report in trial.reports.items():
            if (accuracy := report.metrics.get(SELECTION.name)) is not None:
                self._storages[trial.method].set_trial_intermediate_value(trial.number, epoch, accuracy)
        if trial.state == "complete":
            study.tell(trial.number, trial.accuracy)
        else:
            study.tell(trial.number, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)
