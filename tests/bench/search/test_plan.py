"""The figures of a plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search.budget import Budget
from bench.search.experiment import Experiment
from bench.search.plan import Costs, Plan
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, NoSettings, Space
from bench.search.space import load
from tests.bench.search.planned import CALIBRATING, FAKE, SPACES, experiment, make


def test_the_budget_is_shared_equally_after_baselines_start_up_and_calibration(calibrated):
    plan = make(experiment(), Budget.parse("1cpu-hours"), slots=2)
    assert plan.calibration_seconds == CALIBRATING
    whole = len(SPACES) * plan.share + plan.allowance + plan.calibration_seconds
    assert whole == pytest.approx(3600)
    training = plan.cost("supervised", "baseline", 0, plan.epochs)
    evaluations = 4 * plan.cost("random", "baseline", 0, 1)  # 3 seeds, and pixels has one
    assert plan.allowance == pytest.approx(3 * training + evaluations + 2 * 2.0)


@given(
    st.floats(0.01, 30), st.floats(0, 10), st.floats(100, 1e6), st.integers(1, 5), st.integers(1, 200), st.booleans()
)
def test_our_recipe_is_confirmed_beside_winner_and_published_one_where_search_has_half_of_the_share(
    epoch, evaluation, budget, seeds, epochs, two
):
    space = Space("m", published={"x": 0.2} if two else None)
    asked = Experiment({"m": space}, FAKE, NoSettings(), baselines=(), seeds=seeds)
    calibration = {"m": Costs(epoch, evaluation)}
    plan = Plan(asked, Budget("gpu", budget), 1, 1.0, epochs, calibration, 0.0, 1.0)
    each = seeds * (epochs * epoch + evaluation)
    training = plan.training("m")
    assert plan.least_share() == plan.recipe_share("m") == pytest.approx(each)
    assert plan.searching_share("m") == pytest.approx((2 if two else 1) * training + 2 * each)
    alone = plan.share < plan.searching_share("m")
    assert plan.recipe_alone("m") == alone
    assert plan.configurations("m") == (1 if alone else 3 if two and 3 * each <= plan.share / 2 else 2)
    assert plan.reserve("m") == pytest.approx(plan.configurations("m") * each)
    assert plan.trials("m") >= (0 if alone else 2 if two else 1)


def test_what_beginning_a_trial_takes_is_part_of_its_first_epoch():
    calibration = {"m": Costs(2.0, 1.0, 5.0)}
    asked = Experiment({"m": Space("m")}, FAKE, NoSettings(), baselines=(), seeds=1, scheduler="full")
    plan = Plan(asked, Budget("gpu", 1000.0), 1, 0.5, 10, calibration, 0.0, 0.0)
    assert plan.training("m") == pytest.approx(0.5 * (5 + 20 + 1))
    assert plan.cost("m", "search", 0, 1) + plan.cost("m", "search", 1, 10) == pytest.approx(plan.training("m"))
    assert plan.confirming("m") == pytest.approx(2 * 0.5 * (5 + 20 + 1))


def test_a_search_proposes_the_choices_that_are_left():
    asked = Experiment({"simsiam": load("simsiam", 32)}, FAKE, NoSettings(), baselines=(), searcher="random")
    calibration = {"simsiam": Costs(1.0, 0.0)}
    left = {"simsiam": {"predictor_hidden": [128, 512]}}
    plan = Plan(asked, Budget("gpu", 1e6), 20, 1.0, 10, calibration, 0.0, 0.0, left)
    search = Search(plan, MemoryLedger())
    proposed = [search.next().job.hyperparameters["predictor_hidden"] for _ in range(20)]
    assert set(proposed) == {128, 512}
