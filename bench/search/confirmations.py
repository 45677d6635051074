"""The trainings with fresh seeds: those that confirm a method's winner and recipes, and the baselines."""

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.search.evaluations import Evaluations
from bench.search.fold import Fold
from bench.search.paces import Paces
from bench.search.plan import Plan
from bench.search.shares import Shares
from bench.search.tally import Tally
from bench.search.trials import RECIPES, Suggestion, Trial, search_uid


class Training(NamedTuple):
    """One that confirms."""

    uid: str
    stage: str
    seed: int
    """0, 1, ... of the fresh ones."""
    configuration: Trial
    """The search trial that has it."""


class Confirmations:
    """The winner (the best figure at the last epoch of complete trials, the earlier of equals), the published recipe
    (stage `published`) and, where its time was kept back too, our recipe (stage `ours`) are trained with the same fresh
    seeds, seed by seed; where the winner is a recipe, both recipes, with the time of all, and so more seeds: twice as
    many where there is one recipe. What confirms a search trial has the batch that it had."""

    def __init__(
        self,
        plan: Plan,
        fold: Fold,
        tallies: Mapping[str, Tally],
        paces: Paces,
        shares: Shares,
        evaluations: Evaluations,
    ) -> None:
        self._plan, self._fold, self._tallies, self._paces = plan, fold, tallies, paces
        self._shares, self._evaluations = shares, evaluations

    def baselines(self) -> Iterator[Suggestion]:
        for baseline, (epochs, seeds) in self._plan.baselines.items():
            for k in range(seeds):
                yield Suggestion(
                    uid=f"{baseline}-s{k + 1}",
                    method=baseline,
                    stage="baseline",
                    seed=self._plan.experiment.training_seed("baseline", k),
                    number=k,
                    hyperparameters={},
                    parameters={},
                    published=True,
                    of=None,
                    epochs=epochs,
                    evaluate_at=[epochs],
                    halved=baseline in self._fold.halved,
                )

    def next(self, methods: Sequence[str], running: Container[str]) -> Suggestion | None:
        """What confirms one of these methods next and has room in its share; the first seed that is wanting first."""
        candidates = []
        for order, method in enumerate(methods):
            for place, training in enumerate(self.of(method)):
                trial = self._fold.trials.get(training.uid)
                if trial is not None and (trial.final or trial.uid in running):
                    continue
                cost = self._costs(method, trial.epoch if trial else 0)[training.stage]
                most = self._shares.share * 1.02
                if place >= self._asked(method):  # more than was asked for: the winner's, with what it is compared with
                    first, *others = self._costs(method).items()
                    pair = sum(each for _, each in others[:1] if training.stage == first[0])
                    most = self._shares.share - pair - self._evaluations.kept_for_more(method, running)
                if self._shares.used[method] + cost <= most:
                    candidates.append((training.seed, place, order, training))
                break
        return self._suggest(min(candidates, key=lambda each: each[:3])[3]) if candidates else None

    def of(self, method: str) -> Iterator[Training]:
        """What confirms the method, seed by seed. After the seeds that were asked for come more, where a share has room
        for them (a larger budget leaves some, when winner and recipes are confirmed already); unless one has failed, as
        more would then, or the recipe is alone."""
        configurations = self._configurations(method).items()
        more = not (self._tallies[method].unconfirmed or self._recipe_alone(method))
        most = None if more else self._asked(method)
        trainings = ((k, *each) for k in itertools.count() for each in configurations)
        for k, stage, trial in itertools.islice(trainings, most):
            name = f"{trial.number:04d}" if stage == "confirm" else stage
            yield Training(f"{method}-{name}-s{k + 1}", stage, k, trial)

    def _suggest(self, training: Training) -> Suggestion:
        trial = training.configuration
        return Suggestion(
            uid=training.uid,
            method=trial.method,
            stage=training.stage,
            seed=self._plan.experiment.training_seed(training.stage, training.seed),
            number=training.seed,
            hyperparameters=trial.hyperparameters,
            parameters={},
            published=trial.published,
            of=trial.uid if training.stage == "confirm" else None,
            epochs=self._plan.epochs,
            evaluate_at=[self._plan.epochs],
            halved=trial.halved,
            ours=trial.ours,
        )

    def _asked(self, method: str) -> int:
        """How many trainings confirm the method. Where a recipe has won, there are fewer configurations, which have the
        time of all that it was kept back for."""
        won = self._fold.winner(method) and not self._recipe_alone(method)
        configurations = self._shares.reserved[method] if won else len(self._configurations(method))
        return self._plan.experiment.seeds * configurations

    def _configurations(self, method: str) -> dict[str, Trial]:
        """The search trials of the configurations that are confirmed, by stage: the winner, the published recipe, and
        ours where its time was kept back, or that of a winner is left, as a recipe has won."""
        winner = self._fold.trials.get(self._fold.winner(method) or "")
        tuned = winner is not None and not winner.recipe
        found = {winner.recipe or "confirm": winner} if winner is not None else {}
        if tuned:
            recipes = self._shares.reserved[method] - 1
        else:
            recipes = 1 if self._recipe_alone(method) else len(self._plan.spaces[method].recipes)
        return found | {stage: self._fold.trials[search_uid(method, n)] for n, stage in enumerate(RECIPES[:recipes])}

    def _recipe_alone(self, method: str) -> bool:
        """Whether the published recipe is all that is trained: nothing is searched, or the method was given up."""
        return self._plan.recipe_alone(method) or method in self._fold.given_up

    def _costs(self, method: str, epoch: int = 0) -> dict[str, float]:
        """Device-seconds of confirming each configuration with one seed, after this epoch, by stage."""
        planned = self._paces.planned(method, "confirm", epoch, self._plan.epochs)
        configurations = self._configurations(method).items()
        return {stage: planned * self._paces.pace(method, trial.uid) for stage, trial in configurations}
