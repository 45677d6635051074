"""What epochs and evaluations take: as calibrated, corrected by what the run has measured."""

import functools

from bench.search.plan import Plan
from bench.search.trials import Trial, search_uid

ONCE = 3
"""A first epoch that takes so many times what was planned has done something that happens once."""
DEARER = 1.1
"""A trial that takes so many times what its method's trials take is dearer; what is less is the noise of a machine."""


class Paces:
    """How many times as long as planned trainings take, on the whole and each by itself."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.planned = functools.cache(plan.cost)
        """Device-seconds as calibrated, as `Plan.cost` has them."""
        # Device-seconds that epochs took, and that they were planned to take
        self._of_methods = {method: [0.0, 0.0] for method in plan.calibration}
        self._of_trials: dict[str, list[float]] = {}  # search trials
        self._evaluations: dict[str, list[float]] = {}  # by protocol: device-seconds that it took, and as planned

    def learn(self, trial: Trial, epoch: int) -> None:
        """What an epoch took beside what was planned. Not learnt from: the first epoch of a later attempt, with which
        comes what a lost worker had trained already, and a first epoch with which comes what happens once, such as
        compiling."""
        report, before = trial.reports[epoch], trial.reports.get(epoch - 1)
        if trial.protocol is not None:
            if trial.method in self._plan.calibration:
                measured = self._evaluations.setdefault(trial.protocol, [0.0, 0.0])
                measured[0] += report.took
                measured[1] += self._plan.evaluation(trial.method, trial.protocol)
            return
        if trial.method not in self._of_methods or (before is not None and before.attempt != report.attempt):
            return
        planned = self.planned(trial.method, trial.stage, epoch - 1, epoch)
        if before is not None or report.took <= ONCE * planned:
            own = [self._of_trials.setdefault(trial.uid, [0.0, 0.0])] if trial.stage == "search" else []
            # What was calibrated is our recipe: the published one, where it is another, has a pace of its own alone.
            space = self._plan.spaces.get(trial.method)
            apart = trial.published and space is not None and len(space.recipes) > 1
            for measured in own if apart else (self._of_methods[trial.method], *own):
                measured[0] += report.took
                measured[1] += planned

    def cost(self, method: str, stage: str, first: int, last: int) -> float:
        """Device-seconds of the epochs after `first` up to `last`, as calibrated, corrected by what was measured."""
        return self.planned(method, stage, first, last) * self._correction(method)

    def evaluation(self, method: str, protocol: str) -> float:
        """Device-seconds of judging one encoder, as planned, corrected by what the protocol has taken so far."""
        took, planned = self._evaluations.get(protocol, (1.0, 1.0))
        return self._plan.evaluation(method, protocol) * (took / planned if planned else 1.0)

    def _correction(self, method: str) -> float:
        actual, nominal = self._of_methods[method]
        prior = self.planned(method, "search", 0, self._plan.epochs) / 2
        return (actual + prior) / (nominal + prior)

    def pace(self, method: str, *uids: str) -> float:
        """By how much longer than planned the dearest configuration of these search trials takes: as the method's
        trainings do on the whole or, where it is clearly dearer, as its trial itself did."""
        whole = self._correction(method)
        dearest = max((self._own(method, uid) for uid in uids), default=0.0)
        return dearest if dearest > DEARER * whole else whole

    def _own(self, method: str, uid: str) -> float:
        """That of a single search trial, the published recipe's as calibrated before it was seen; 0 where unknown."""
        if uid in self._of_trials:
            return self._of_trials[uid][0] / self._of_trials[uid][1]
        return self._plan.pace(method) if uid == search_uid(method, 0) else 0.0

    def to_next_milestone(self, trial: Trial) -> float:
        """Device-seconds as planned; to the trial's last epoch where nothing can stop it before."""
        ends = [trial.epochs] if trial.recipe else trial.evaluate_at
        return self.planned(trial.method, trial.stage, trial.epoch, next(e for e in ends if e > trial.epoch))

    def ahead(self, trial: Trial) -> float:
        """Device-seconds to the trial's next milestone, as its configuration takes them."""
        if trial.protocol is not None:
            return self.evaluation(trial.method, trial.protocol)
        return self.to_next_milestone(trial) * self.pace(trial.method, trial.configuration)
