"""Every method's share of the budget: what of it is spent, promised to trials that run, or kept back."""

from collections.abc import Mapping

from bench.search.evaluations import Evaluations
from bench.search.fold import Fold
from bench.search.meter import Meter
from bench.search.paces import Paces
from bench.search.plan import Plan
from bench.search.tally import Tally
from bench.search.trials import RECIPES, Suggestion, Trial, search_uid


class Shares:
    """A trial that runs has its device time promised up to its next milestone; what confirming a method and judging
    what confirms it will cost is kept back."""

    def __init__(
        self,
        plan: Plan,
        fold: Fold,
        meter: Meter,
        paces: Paces,
        tallies: Mapping[str, Tally],
        evaluations: Evaluations,
    ) -> None:
        self._plan, self._fold, self._meter, self._paces = plan, fold, meter, paces
        self._tallies, self._evaluations = tallies, evaluations
        self.reserved = {method: plan.configurations(method) for method in plan.spaces}
        """How many configurations of each method time is kept back for to be confirmed."""
        self.used = {method: fold.spent.get(method, 0.0) for method in plan.spaces}
        """Device-seconds of each method that are spent or promised."""
        self.raced = dict.fromkeys(plan.spaces, 0.0)
        """Device-seconds of each method that its race has taken or is promised."""
        for trial in fold.trials.values():
            if trial.stage == "race":
                self.raced[trial.method] += trial.held
        self._promises: dict[str, float] = {}  # what each running trial may hold up to its next milestone

    @property
    def share(self) -> float:
        """Device-seconds of each method: as planned, less what baselines and start-up took beyond their part."""
        others = self._fold.startup + sum(self._fold.spent.get(name, 0.0) for name in self._plan.baselines)
        return self._plan.share - max(0.0, others - self._plan.allowance) / len(self._plan.spaces)

    def promise(self, trial: Trial) -> None:
        """Keep for a running trial what it takes to its next milestone."""
        promise = self._meter.held(trial.uid) + self._paces.ahead(trial)
        if trial.method in self.used:
            self._use(trial, promise - self._promises.get(trial.uid, trial.held))
        self._promises[trial.uid] = promise

    def settle(self, trial: Trial) -> None:
        """Nothing is promised to the trial any more; `trial.held` is final for now."""
        promise = self._promises.pop(trial.uid)
        if trial.method in self.used:
            self._use(trial, trial.held - promise)

    def _use(self, trial: Trial, seconds: float) -> None:
        self.used[trial.method] += seconds
        if trial.stage == "race":
            self.raced[trial.method] += seconds

    def has_room_for(self, evaluation: Suggestion) -> bool:
        """Whether the method's share, in which nothing is left to train, has room for an evaluation."""
        cost = self._paces.evaluation(evaluation.method, evaluation.protocol or "")
        return self.used[evaluation.method] + cost <= self.share * 1.02

    def room(self, method: str, *waiting: str, racing: bool = False) -> float:
        """Device-seconds of the method's share that are neither spent, promised nor kept back: for its race, unless
        that is over or it is `racing` that asks, and for confirming the recipes and what may win beside them, so the
        dearest of the best trial so far, those that run, and those `waiting`."""
        seeds, tally = self._plan.experiment.seeds, self._tallies[method]
        best = [tally.best.uid] if tally.best else []
        tuned = (uid for uid in (*best, *tally.running, *waiting) if not self._fold.trials[uid].recipe)
        reserve = seeds * self._paces.pace(method, *tuned)
        recipes = self.reserved[method] - 1
        for number, stage in enumerate(RECIPES[:recipes]):
            reserve += max(0, seeds - tally.confirmed[stage]) * self._paces.pace(method, search_uid(method, number))
        confirming = reserve * self._paces.planned(method, "confirm", 0, self._plan.epochs)
        choosing = self.share - confirming - self._evaluations.reserve(method, recipes)
        race = 0.0 if racing or tally.raced else self._plan.racing(method, choosing) - self.raced[method]
        return choosing - max(0.0, race) - self.used[method]
