"""The search trials of a method: which of those that wait goes on, and when there is a new one."""

from collections.abc import Mapping
from typing import Any

from bench.search.fold import EventLog
from bench.search.paces import Paces
from bench.search.plan import Plan
from bench.search.schedulers import Scheduler
from bench.search.shares import Shares
from bench.search.studies import Studies
from bench.search.tally import Tally
from bench.search.trials import Suggestion, Trial, search_uid
from bench.search.winners import Winners


class Proposals:
    """A new trial starts where a whole training has room: one that cannot reach its last epoch cannot win. Only when
    the race is over too (`Tally.filling`), the rest of a share, too short for that, goes to trials that get as far as
    they can: so that all methods have the same device time, to a milestone's."""

    def __init__(
        self,
        plan: Plan,
        ledger: EventLog,
        tallies: Mapping[str, Tally],
        schedulers: Mapping[str, Scheduler],
        paces: Paces,
        shares: Shares,
        winners: Winners,
    ) -> None:
        self._plan, self._ledger, self._fold = plan, ledger, ledger.fold
        self._tallies, self._schedulers, self._paces = tallies, schedulers, paces
        self._shares, self._winners = shares, winners
        self._recipes = {method: space.recipes for method, space in plan.spaces.items()}
        self.studies = Studies(plan, ledger.fold)

    def wait(self, trial: Trial) -> None:
        """Keep an open search trial, with what it needs as planned, until there is room for it."""
        self._tallies[trial.method].waiting.append((self._paces.to_next_milestone(trial), trial))

    def put_back(self, trial: Trial) -> None:
        """Keep a trial that `next` gave to be the first that it gives again."""
        self._tallies[trial.method].waiting.insert(0, (self._paces.to_next_milestone(trial), trial))

    def next(self, method: str) -> Trial | None:
        """A search trial of the method for a free slot: one that waits, else a new one; None where none has room."""
        room, waiting = self._shares.room(method), self._tallies[method].waiting
        for place, (planned, trial) in enumerate(waiting):
            ahead = planned * self._paces.pace(method, trial.uid)
            if trial.recipe or (ahead <= room and ahead <= self._shares.room(method, trial.uid)):
                del waiting[place]
                return trial
        return self._propose(method) if self._may_propose(method, room) else None

    def published(self, method: str) -> Trial:
        """The search trial of the published recipe, which is there from now on; whether it is trained is not said."""
        if not self._tallies[method].suggested and (trial := self._propose(method)):
            self.wait(trial)
        return self._fold.trials[search_uid(method, 0)]

    def _may_propose(self, method: str, room: float) -> bool:
        """Whether the method's search goes on, and a new trial has room."""
        tally, epochs = self._tallies[method], self._plan.epochs
        if tally.suggested < len(self._recipes[method]):
            return True
        if self._winners.only_fails(method):
            return False
        if self._paces.cost(method, "search", 0, epochs) <= room:
            return True
        first = [*self._schedulers[method].milestones, epochs][0]
        return tally.filling and self._paces.cost(method, "search", 0, first) <= room

    def _propose(self, method: str) -> Trial | None:
        """A new search trial: the recipes first, then what earlier runs taught, then what Optuna asks for; None where
        that is nothing new."""
        number, epochs = self._tallies[method].suggested, self._plan.epochs
        recipe = number < len(self._recipes[method])
        given = [*self._recipes[method], *self.studies.learnt[method]]
        parameters: dict[str, Any] | None
        if number < len(given):
            hyperparameters = given[number]
            parameters = self.studies.add(method, hyperparameters)
        else:
            parameters = self.studies.ask(method, number)
            if parameters is None:
                return None
            hyperparameters = self._plan.spaces[method].from_params(parameters)
        self._tallies[method].suggested += 1
        suggestion = Suggestion(
            uid=search_uid(method, number),
            method=method,
            stage="search",
            seed=self._plan.experiment.training_seed("search"),
            number=number,
            hyperparameters=hyperparameters,
            parameters=parameters,
            published=number == 0,
            of=None,
            epochs=epochs,
            evaluate_at=[*self._schedulers[method].milestones, epochs],
            halved=method in self._fold.halved,
            ours=recipe and number > 0,
        )
        self._ledger.append("suggested", **suggestion.event())
        return self._fold.trials[suggestion.uid]
