"""Evaluations: jobs by which protocols judge the encoders that trainings have kept."""

from collections import Counter
from collections.abc import Container, Iterator

from bench.search.fold import Fold
from bench.search.paces import Paces
from bench.search.plan import Plan, judges
from bench.search.trials import CONFIRMING, RECIPES, Suggestion, Trial


def judged(fold: Fold, method: str, protocol: str) -> Iterator[Trial]:
    """The complete trainings of a method or baseline that a protocol judges: those that confirm its winner and recipes,
    and those of a baseline that has an encoder."""
    for trial in fold.by_method.get(method, ()):
        compared = trial.stage == "baseline" or fold.stage(trial) in CONFIRMING
        if trial.state == "complete" and compared and judges(protocol, method, trial.number):
            yield trial


def left_out(plan: Plan, fold: Fold) -> list[str]:
    """When a run has ended: a line for each reason for which protocols have not judged what they should have."""
    lines: list[str] = []
    without: dict[str, None] = {}
    for protocol in plan.experiment.protocols:
        trainings = [training for method in fold.by_method for training in judged(fold, method, protocol)]
        kept = [trial for trial in trainings if has_encoder(trial)]
        without |= dict.fromkeys(trial.uid for trial in trainings if not has_encoder(trial))
        done = sum(_final(fold, uid(trial, protocol)) for trial in kept)
        if done < len(kept):
            lines.append(
                f"{protocol} has judged {done} of {len(kept)} trainings: neither the budget nor their methods' shares "
                "have room for the others; a larger --budget continues"
            )
    if without:
        lines.insert(
            0,
            f"no protocol judges {len(without)} trainings ({next(iter(without))}, ...): an earlier version trained "
            "them, which kept no encoders",
        )
    return lines


def has_encoder(trial: Trial) -> bool:
    """Whether the training's encoder was kept."""
    return bool(trial.facts.get("encoder_file"))


def uid(training: Trial, protocol: str) -> str:
    return f"{training.uid}-{protocol}"


def _final(fold: Fold, name: str) -> bool:
    return name in fold.trials and fold.trials[name].final


class Evaluations:
    """What is to be judged of each method, and the time that is kept back for it."""

    def __init__(self, plan: Plan, fold: Fold, paces: Paces) -> None:
        self._plan, self._fold, self._paces = plan, fold, paces
        self._protocols = plan.experiment.protocols
        self._ended: Counter[tuple[str, str, str]] = Counter()  # by method, stage of the training, protocol

    def count(self, trial: Trial) -> None:
        """Take note of what needs no time any more: an evaluation that ended, a training that cannot be judged."""
        if not trial.final:
            return
        if trial.protocol is not None and trial.of is not None:
            self._ended[trial.method, self._fold.trials[trial.of].stage, trial.protocol] += 1
        elif trial.state == "failed" or not has_encoder(trial):
            self._ended.update((trial.method, trial.stage, protocol) for protocol in self._protocols)

    def due(self, method: str) -> Iterator[Suggestion]:
        """The evaluations of the method's, or baseline's, trainings that have not ended."""
        for protocol in self._protocols:
            for training in judged(self._fold, method, protocol):
                name = uid(training, protocol)
                if has_encoder(training) and not _final(self._fold, name):
                    yield Suggestion(
                        uid=name,
                        method=method,
                        stage="evaluate",
                        seed=training.seed,
                        number=training.number,
                        hyperparameters=training.hyperparameters,
                        parameters={},
                        published=training.published,
                        of=training.uid,
                        epochs=1,
                        evaluate_at=[1],
                        halved=training.halved,
                        ours=training.ours,
                        protocol=protocol,
                    )

    def reserve(self, method: str, recipes: int) -> float:
        """Device-seconds kept back while the method is searched: for every seed of its winner and so many recipes."""
        seeds, reserve = self._plan.experiment.seeds, 0.0
        for protocol in self._judging(method):
            ended = [self._ended[method, stage, protocol] for stage in RECIPES[:recipes]]
            count = seeds + sum(max(0, seeds - each) for each in ended)
            reserve += count * self._paces.evaluation(method, protocol)
        return reserve

    def kept_for_more(self, method: str, running: Container[str]) -> float:
        """Device-seconds that another training which confirms leaves: for what is still to be judged of those that were
        begun, and of itself and the one that it is compared with."""
        if not self._protocols:
            return 0.0
        every = self._judging(method)
        trainings = 2 + sum(trial.uid in running for trial in self._fold.of(method, *CONFIRMING))
        due = [each.protocol for each in self.due(method) if each.uid not in running and each.protocol]
        return sum(self._paces.evaluation(method, protocol) for protocol in (*due, *trainings * every))

    def _judging(self, method: str) -> list[str]:
        """The protocols that judge what a method's trainings leave."""
        return [protocol for protocol in self._protocols if judges(protocol, method)]
