"""What to run next, when to stop it, and whom to believe: the search, as a fold over the ledger. No Ray here.

Every method gets the same share of the budget in device-seconds. Of it, what confirming will cost is kept back:
two trainings for each fresh seed, or three where there are two recipes and room for them
(`bench.search.plan.Plan.configurations`), and their evaluations; the rest is searched. A method goes through

    search    trial 0 is the published recipe and, where ours is another one, trial 1 is ours; neither is ever pruned;
              Optuna proposes the others (`proposals`, `studies`); the scheduler prunes them within the method at its
              milestones (`decisions`) by the metric that selects (`selection`)
    race      the best of them, and the recipes, have further seeds until it is clear which wins, or a part of the share
              is spent (`race`)
    confirm   the winner (`winners`), the published recipe and ours, with the same fresh seeds (`confirmations`)
    evaluate  every protocol judges every encoder that a complete training with fresh seeds has kept (`evaluations`)

The next trial goes to the method with the least device time spent or promised to its running trials (`shares`). No
configuration is searched twice: where all of a method's were tried, its search ends.

A search trial that runs out of memory before its first report is tried once more, with half the images in a step; all
search trials of its method that begin later have half of them too.
"""

import time
from collections.abc import Callable
from typing import Any

from algorithms.training.report import EpochReport
from bench.search import plugins
from bench.search.confirmations import Confirmations
from bench.search.decisions import Decisions
from bench.search.evaluations import Evaluations
from bench.search.fold import EventLog
from bench.search.job import Assignment, Failure, Idle
from bench.search.meter import Meter
from bench.search.paces import Paces
from bench.search.plan import Plan
from bench.search.proposals import Proposals
from bench.search.race import Race
from bench.search.selection import figure
from bench.search.shares import Shares
from bench.search.tally import Tally
from bench.search.trials import Suggestion, Trial
from bench.search.winners import Winners

LOSSES_OF_A_WORKER = 3
"""A trial fails when it has lost this many workers without an epoch between them."""


class Search:
    """The decisions of a run. All state is `ledger.fold`, or follows from it when this object is made.

    `clock` counts seconds and never jumps. `slots` may be changed at any time (nodes come and go). On `shared` devices,
    where others may hold what a trial waits for, its slot is charged only when its worker is `alive`.
    """

    def __init__(
        self, plan: Plan, ledger: EventLog, clock: Callable[[], float] = time.monotonic, *, shared: bool = False
    ) -> None:
        self.plan, self.ledger, self.fold = plan, ledger, ledger.fold
        self.spaces, self.slots = plan.spaces, plan.slots
        make_scheduler = plugins.scheduler(plan.experiment.scheduler)
        self.schedulers = {method: make_scheduler(plan.epochs) for method in self.spaces}
        self.tallies = {method: Tally() for method in self.spaces}
        self.meter = Meter(plan, self.fold, clock, shared=shared)
        self.running, self.pending = self.meter.running, self.meter.pending
        self.paces = Paces(plan)
        self.evaluations = Evaluations(plan, self.fold, self.paces)
        self.shares = Shares(plan, self.fold, self.meter, self.paces, self.tallies, self.evaluations)
        self.race = Race(plan, self.fold, self.tallies, self.paces, self.shares)
        self.winners = Winners(ledger, self.tallies, self.shares, self.race)
        self.proposals = Proposals(plan, ledger, self.tallies, self.schedulers, self.paces, self.shares, self.winners)
        self.confirmations = Confirmations(plan, self.fold, self.tallies, self.paces, self.shares, self.evaluations)
        self._decisions = Decisions(self.schedulers, self.meter, self.paces, self.shares)
        self._baselines = list(self.confirmations.baselines())
        for trial in self.fold.trials.values():
            if trial.stage == "search":
                self.tallies[trial.method].suggested += 1
                if not trial.final:
                    self.proposals.wait(trial)
            self._count(trial)
        for uid, epoch in self.fold.arrivals:
            trial = self.fold.trials[uid]
            self.paces.learn(trial, epoch)
            if trial.at_milestone(epoch) and trial.decisions[epoch] != "failed":
                reached = figure(trial.reports[epoch].metrics)
                assert reached is not None
                self.schedulers[trial.method].arrive(uid, epoch, reached)

    # What has been charged

    @property
    def charged(self) -> float:
        """Device-seconds charged up to now, running trials included."""
        return self.meter.charged

    @property
    def exhausted(self) -> bool:
        return self.meter.exhausted

    @property
    def training(self) -> bool:
        """Whether any worker has a trial."""
        return self.meter.training

    @property
    def startup(self) -> float:
        """Device-seconds in which slots waited for their workers, up to now."""
        return self.meter.startup

    def held(self, uid: str) -> float:
        """Device-seconds that a trial has held up to now."""
        return self.meter.held(uid)

    # What to run next

    def next(self) -> Assignment | Idle:
        """The next assignment for a free slot; WAIT where there is none now; DONE where nothing is left to do."""
        trial = None
        if not self.exhausted:
            if len(self.running) >= self.slots:
                return Idle.WAIT
            trial = self._pick()
        if trial is None:
            return Idle.WAIT if self.running else Idle.DONE
        return self._assign(trial)

    def work_left(self) -> bool:
        """Whether there is anything to start. What that is may be proposed, and winners chosen, to answer."""
        trial = None if self.exhausted else self._pick()
        if trial is not None and trial.stage == "search":
            self.proposals.put_back(trial)
        return trial is not None

    def _pick(self) -> Trial | None:
        """The trial to start next, which is in the ledger; None where none has room."""
        for training in self._baselines:
            if trial := self._startable(training):
                return trial
        for baseline in self.plan.baselines:
            for evaluation in self.evaluations.due(baseline):
                if trial := self._startable(evaluation):
                    return trial
        chosen = []
        for method in sorted(self.spaces, key=self.shares.used.__getitem__):
            if self.plan.recipe_alone(method):
                self.winners.take(self.proposals.published(method))
            elif not self.winners.chosen(method):
                if trial := self._pick_to_choose(method):
                    return trial
                if not self.winners.chosen(method):
                    continue
            chosen.append(method)
        suggestion = self.confirmations.next(chosen, self.running)
        if suggestion is not None and suggestion.number < self.plan.experiment.seeds:
            return self._startable(suggestion)
        for method in chosen:  # before seeds beyond those that were asked for
            for evaluation in self.evaluations.due(method):
                if self.shares.has_room_for(evaluation) and (trial := self._startable(evaluation)):
                    return trial
        return self._startable(suggestion) if suggestion is not None else None

    def _pick_to_choose(self, method: str) -> Trial | None:
        """The trial to start next of a method whose winner is to be found; None where it is chosen now, or has to wait
        for those that run."""
        tally = self.tallies[method]
        while True:
            if trial := self.proposals.next(method):
                return trial
            if tally.running:
                return None
            if not tally.raced:
                if suggestion := self.race.next(method):
                    return self._startable(suggestion)
                if tally.racing:
                    return None
                tally.raced = True
            elif not tally.filling:
                tally.filling = True
            else:
                self.winners.choose(method)
                return None

    def _startable(self, suggestion: Suggestion) -> Trial | None:
        """The trial, suggested now unless it was before; None where it has ended or runs."""
        if suggestion.uid not in self.fold.trials:
            self.ledger.append("suggested", **suggestion.event())
        trial = self.fold.trials[suggestion.uid]
        return None if trial.final or trial.uid in self.running else trial

    def _assign(self, trial: Trial) -> Assignment:
        attempt = trial.attempts + 1
        self.ledger.append("assigned", uid=trial.uid, attempt=attempt)
        self.meter.begin(trial)
        if trial.stage == "search":
            self.tallies[trial.method].running.add(trial.uid)
        elif trial.stage == "race":
            self.tallies[trial.method].racing.add(trial.uid)
        self.shares.promise(trial)
        limit = self.plan.time_limit(trial.method, trial.stage)
        return Assignment(trial.job, attempt, known=trial.epoch, time_limit=limit)

    def _release(self, trial: Trial) -> None:
        """The trial gave its slot back; `trial.held` is final for now."""
        self.meter.end(trial)
        self.shares.settle(trial)
        self._count(trial)
        if trial.stage == "race":
            self.tallies[trial.method].racing.remove(trial.uid)
        if trial.stage == "search":
            self.tallies[trial.method].running.remove(trial.uid)
            if not trial.final:
                self.proposals.wait(trial)
            else:
                self.proposals.studies.tell(trial)

    def _count(self, trial: Trial) -> None:
        self.evaluations.count(trial)
        if trial.method in self.spaces:
            self.tallies[trial.method].count(trial)
            self.race.count(trial)

    # What happened

    def alive(self, uid: str) -> None:
        """The trial's slot is held, at least by a worker that starts: from now on it is charged."""
        self.meter.alive(uid)

    def started(self, uid: str) -> None:
        """A worker has the trial now; what went before was start-up."""
        if uid in self.running:
            self.meter.working(uid)
            self.ledger.append("started", uid=uid, held=self.held(uid), startup=self.startup)

    def reported(self, uid: str, attempt: int, report: EpochReport, facts: dict[str, Any] | None = None) -> bool:
        """Write an epoch and what was decided upon it; whether the trial goes on."""
        running, trial = self.running.get(uid), self.fold.trials[uid]
        if running is None or running.attempt != attempt:
            return False  # a worker that should be dead
        epoch = report.epoch
        if epoch in trial.reports:
            return True
        decision = self._decisions.decide(trial, report)
        values = {name: value for name, value in (("kind", decision.kind), ("facts", facts)) if value}
        self.ledger.append(
            "reported",
            uid=uid,
            attempt=attempt,
            report=report.to_json(),
            held=self.held(uid),
            decision=decision.name,
            reason=decision.reason,
            **values,
        )
        self.paces.learn(trial, epoch)
        if decision.name != "continue":
            self._release(trial)
            return False
        if trial.at_milestone(epoch):
            self.shares.promise(trial)
        return True

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
            text = f"lost {losses} workers without an epoch between them: {reason}"
            self._interrupt("failed", uid, text, kind="lost")

    def cut(self, uid: str, reason: str) -> None:
        """Stop charging a trial that stays open."""
        self._interrupt("cut", uid, reason)

    def _interrupt(self, event: str, uid: str, reason: str, **values: Any) -> None:
        if uid in self.running:
            self.meter.working(uid)
            self.ledger.append(event, uid=uid, held=self.held(uid), startup=self.startup, reason=reason, **values)
            self._release(self.fold.trials[uid])

    def heartbeat(self) -> None:
        """Make durable what running trials have held."""
        if self.running:
            held = {uid: round(self.held(uid), 3) for uid in self.running}
            self.ledger.append("held", held=held, startup=self.startup)
