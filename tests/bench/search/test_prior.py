"""A searcher that knows the recipe."""

import math
import statistics

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from algorithms import METHODS
from bench.search.prior import CENTRES, PriorSampler, Space, standings
from bench.search.searchers import BestAndLatest, random
from bench.search.space import load
from tests.bench.search.driving import slow

MIXED = {
    "a": FloatDistribution(1e-5, 1e-1, log=True),
    "b": FloatDistribution(-2.0, 3.0),
    "c": IntDistribution(1, 64, log=True),
    "d": IntDistribution(2, 10, step=4),
    "e": CategoricalDistribution([None, True, "x", 2.5]),
}
CENTRE = {"a": 1e-4, "b": 2.9, "c": 1, "d": 10, "e": "x"}


def study_of(space, *centres, storage=BestAndLatest):
    """A study whose recipe, the first of the centres, runs."""
    study = optuna.create_study(direction="maximize", storage=storage())
    study.set_user_attr(CENTRES, list(centres))
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, params=centres[0], distributions=space))
    return study


def search(study, space, value, trials, seed=0, make_sampler=PriorSampler, parallel=2):
    """Ask and tell with so many that run at a time; the trials' parameters."""
    going = [(0, study.get_trials(deepcopy=False)[0].params)]
    asked = [going[0][1]]
    while going:
        while len(asked) < trials and len(going) < parallel:
            study.sampler = make_sampler(1000 * seed + len(asked))
            trial = study.ask(space)
            going.append((trial.number, trial.params))
            asked.append(trial.params)
        number, params = going.pop(0)
        study.tell(number, value(params))
    return asked


@slow
@given(st.data())
def test_proposals_lie_in_the_space_whatever_came_out(data):
    study = study_of(MIXED, CENTRE)
    for number in range(data.draw(st.integers(1, 8))):
        study.sampler = PriorSampler(data.draw(st.integers(0, 2**31 - 1)))
        trial = study.ask(MIXED)
        for name, distribution in MIXED.items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[name]))
        assert isinstance(trial.params["c"], int)
        if (ended := data.draw(st.sampled_from(["complete", "pruned", "worst", "failed", "runs"]))) == "complete":
            study.tell(trial, data.draw(st.sampled_from([0.0, 0.5, 1.0, 1e9])))
        elif ended == "pruned":
            trial.report(data.draw(st.floats(0, 1)), 1 + number % 3)
            study.tell(trial, state=TrialState.PRUNED)
        elif ended != "runs":
            study.tell(trial, state=TrialState.PRUNED if ended == "worst" else TrialState.FAIL)


@pytest.mark.parametrize("method", [name for name in METHODS if load(name, 32).searched])
def test_every_methods_space_can_be_searched(method):
    space = load(method, 32)
    distributions = space.distributions()
    study = study_of(distributions, space.to_params(space.defaults))
    asked = search(study, distributions, lambda params: len(str(params)), 6)
    assert all(space.proposes(space.from_params(params)) for params in asked)


@given(st.floats(0, 1))
def test_a_range_and_its_coordinates_go_back_and_forth(place):
    space = Space(MIXED, [CENTRE])
    point = np.array([place, place, place, place, round(place * 3)])
    params = space.parameters(point)
    (back,) = space.points([params])
    assert back[:2] == pytest.approx(point[:2], abs=1e-9)
    assert space.parameters(back) == pytest.approx(params) if params["e"] == 2.5 else True
    assert Space(MIXED, [params]).parameters(back)["c"] == params["c"]


def test_the_prior_is_a_density_whose_draws_follow_it():
    rng = np.random.default_rng(0)
    for centres in ([CENTRE], [CENTRE, {"a": 1e-2, "b": 0.0, "c": 30, "d": 2, "e": None}]):
        space = Space(MIXED, centres)
        everywhere, drawn = space.uniform(rng, 100_000), space.believed(rng, 100_000)
        density = np.exp(space.log_prior(everywhere))
        assert density.mean() == pytest.approx(1, abs=0.05)
        assert (density[:, None] * everywhere).mean(0) == pytest.approx(drawn.mean(0), abs=0.1)
        shares = [(drawn[:, -1] == choice).mean() for choice in range(4)]
        assert shares[2] == pytest.approx(0.7 if len(centres) == 1 else 0.4, abs=0.01)


def test_the_same_seed_and_study_give_the_same_proposal_in_whatever_order_trials_ended():
    asked = search(study_of(MIXED, CENTRE), MIXED, lambda params: params["b"], 12)

    def proposed(order):
        study = study_of(MIXED, CENTRE)
        for params in asked[1:]:
            study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, params=params, distributions=MIXED))
        for number in order:
            study.tell(number, asked[number]["b"])
        study.sampler = PriorSampler(5)
        return study.ask(MIXED).params

    assert proposed(range(11)) == proposed(reversed(range(11))) == proposed([*range(4, 11), *range(4)])


def distances(asked, centre, space):
    points = Space(space, [centre]).points([centre, *asked])
    return np.abs(points[1:] - points[0]).mean(1)


CUBE = {name: FloatDistribution(0, 1) for name in "abc"}
LOW = dict.fromkeys("abc", 0.2)


def test_proposals_are_nearer_the_recipe_than_uniform_ones_at_first_and_where_results_are_later():
    early, late, uniform = [], [], []
    for seed in range(5):
        far = search(study_of(CUBE, LOW), CUBE, lambda p: -sum((p[n] - 0.8) ** 2 for n in "abc"), 30, seed)
        early.append(distances(far[1:4], LOW, CUBE).mean())
        late.append(distances(far[-8:], dict.fromkeys("abc", 0.8), CUBE).mean())
        any_ = search(study_of(CUBE, LOW), CUBE, lambda p: 0.0, 30, seed, random)
        uniform.append(distances(any_[1:], LOW, CUBE).mean())
    assert statistics.mean(early) < 0.75 * statistics.mean(uniform)
    assert statistics.mean(late) < 0.5 * statistics.mean(uniform)


def test_a_wrong_prior_is_overcome_and_more_is_found_than_by_random_search():
    missed = {}
    for name, sampler in (("prior", PriorSampler), ("random", random)):
        best = []
        for seed in range(5):
            noise = np.random.default_rng(seed)

            def value(params, noise=noise):
                return truth(params) + 0.01 * noise.normal()

            asked = search(study_of(CUBE, LOW), CUBE, value, 40, seed, sampler)
            best.append(1 - max(map(truth, asked)))
        missed[name] = statistics.median(best)
    assert missed["prior"] < missed["random"] / 3


def truth(params):
    return math.exp(-2 * sum((params[name] - at) ** 2 for name, at in (("a", 0.9), ("b", 0.8), ("c", 0.95))))


def test_nothing_is_proposed_twice_while_the_candidates_have_anything_else():
    space = {"a": CategoricalDistribution(["x", "y", "z"]), "b": IntDistribution(1, 2)}
    asked = search(study_of(space, {"a": "x", "b": 1}), space, lambda params: params["b"], 6, parallel=3)
    assert len({tuple(each.items()) for each in asked}) == 6


def test_a_pruned_trial_stands_where_others_went_from_there():
    study = optuna.create_study(direction="maximize")

    def add(state, *figures):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        for epoch, figure in figures:
            trial.report(figure, epoch)
        study.tell(trial, figures[-1][1] if state == TrialState.COMPLETE else None, state=state)

    add(TrialState.COMPLETE, (1, 0.1), (3, 0.2), (9, 0.3))  # the recipe, which is never pruned
    add(TrialState.PRUNED, (1, 0.2))  # would have reached 0.4
    add(TrialState.PRUNED)  # diverged
    add(TrialState.PRUNED)
    add(TrialState.PRUNED, (1, 0.25), (3, 0.24))  # 0.39, not more
    add(TrialState.COMPLETE, (1, 0.4), (3, 0.5), (9, 0.65))
    ranks = standings(study.get_trials())
    assert list(np.argsort(-ranks, kind="stable")) == [5, 1, 4, 0, 2, 3]
    assert ranks[2] == ranks[3]
    assert np.isfinite(ranks).all()
