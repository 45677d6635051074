"""What TPE sees and finds."""

import dataclasses
import math
import statistics

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from bench.search.searchers import FEW, BestAndLatest, random, tpe
from bench.search.simulate import simulate
from tests.bench.search.driving import Cube, small


def beside_a_cliff(trial, epoch):
    """A training that diverges where `a` is a little larger than is best."""
    at = trial.hyperparameters
    off = (at["a"] - 0.6) ** 2 + 2 * (at["b"] - 0.9) ** 2 + 3 * (at["c"] - at["a"]) ** 2
    return (math.nan if at["a"] > 0.65 else math.exp(-4 * off) * epoch / trial.epochs), 1.0


@pytest.mark.slow
def test_tpe_finds_more_than_random_search_and_keeps_away_from_where_trainings_diverge():
    missed, failed = {}, {}
    for searcher in ("tpe", "random"):
        best, fails = [], []
        for seed in range(5):
            plan, _ = small(methods=1, slots=2, trials=100, searcher=searcher)
            experiment = dataclasses.replace(plan.experiment, spaces={"method00": Cube("method00")}, seed=seed)
            fold, _ = simulate(dataclasses.replace(plan, experiment=experiment), beside_a_cliff)
            best.append(1 - fold.trials[fold.winner("method00")].accuracy)
            fails += [trial.state == "failed" for trial in fold.of("method00", "search") if trial.number >= FEW]
        missed[searcher], failed[searcher] = statistics.median(best), statistics.mean(fails)
    assert missed["tpe"] < missed["random"] / 2
    assert failed["tpe"] < 0.75 * failed["random"]


def test_tpe_proposes_all_parameters_together():
    study = optuna.create_study(direction="maximize", storage=BestAndLatest())
    space = Cube("method00").distributions()
    for seed in range(FEW + 1):
        study.sampler = tpe(seed)
        trial = study.ask(space)
        study.tell(trial, trial.params["a"])
    assert trial.relative_params.keys() == {"a", "b", "c"}


def best_of(make_sampler, storage, seed, trials=160, parallel=8):
    """The best value that a searcher finds, with pruned and running trials beside the complete ones."""
    study = optuna.create_study(direction="maximize", storage=storage)
    space = {name: FloatDistribution(0, 1) for name in "abc"}
    going, best = [], 0.0
    for number in range(trials):
        study.sampler = make_sampler(seed * trials + number)
        going.append(study.ask(space))
        if len(going) == parallel:
            trial = going.pop(0)
            off = [trial.params[name] - at for name, at in (("a", 0.2), ("b", 0.9), ("c", 0.5))]
            value = math.exp(-4 * (off[0] ** 2 + 2 * off[1] ** 2 + 3 * (off[2] + off[0]) ** 2))
            trial.report(value / 2, 1)
            if value < best / 2:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, value)
            best = max(best, value)
    return best


def test_tpe_finds_more_than_random_search_and_as_much_with_a_part_of_the_trials_as_with_all():
    all_trials, part = optuna.storages.InMemoryStorage, lambda: BestAndLatest(7, 63)
    found = {
        name: statistics.median(1 - best_of(sampler, storage(), seed) for seed in range(3))
        for name, sampler, storage in (("random", random, all_trials), ("all", tpe, all_trials), ("part", tpe, part))
    }
    assert found["part"] < found["random"] / 3
    assert found["part"] < 2 * found["all"]


def test_tpe_sees_the_best_and_the_latest_trials_and_all_that_run():
    study = optuna.create_study(direction="maximize", storage=BestAndLatest(2, 3))
    space = {"x": FloatDistribution(0, 1)}
    for number in range(12):
        trial = study.ask(space)
        trial.report(0.5 if number == 4 else 0.1, 3 if number == 1 else 1)
        if number in (2, 8):
            study.tell(trial, 0.9 - number / 100)
        elif number in (3, 9):
            study.tell(trial, state=TrialState.FAIL)
        elif number not in (0, 11):
            study.tell(trial, state=TrialState.PRUNED)
    # complete, and so the best: 2 and 8; the latest three that tell something: 7, 8 and 10; still running: 0 and 11
    assert [trial.number for trial in study.get_trials()] == [0, 2, 7, 8, 10, 11]
    study.tell(0, state=TrialState.PRUNED)
    assert [trial.number for trial in study.get_trials()] == [2, 7, 8, 10, 11]


def test_what_failed_is_never_among_the_best_that_tpe_sees_while_anything_else_is_there():
    study = optuna.create_study(direction="maximize", storage=BestAndLatest(2, 3))
    for number in range(9):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        if number > 1:
            trial.report(0.1, 1)
        study.tell(trial, state=TrialState.PRUNED)
    assert [trial.number for trial in study.get_trials()] == [2, 3, 6, 7, 8]


@pytest.mark.parametrize("late", [False, True])
def test_what_tpe_sees_does_not_depend_on_the_order_in_which_trials_ended(late):
    study = optuna.create_study(direction="maximize", storage=BestAndLatest(2, 3))
    trials = [study.ask({"x": FloatDistribution(0, 1)}) for _ in range(9)]
    for trial in reversed(trials) if late else trials:
        study.tell(trial, (trial.number * 7 % 5) / 5)
    assert [trial.number for trial in study.get_trials()] == [2, 6, 7, 8]
