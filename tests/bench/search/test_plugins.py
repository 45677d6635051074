"""Searchers and schedulers of users."""

import dataclasses
import re
import sys
import types

import optuna
import pytest

from bench.errors import UserError
from bench.search import plugins
from bench.search.experiment import Experiment
from bench.search.simulate import NoSettings, simulate
from tests.bench.search.driving import EveryThird, small


class Quarter(optuna.samplers.RandomSampler):
    """A searcher of a user: `x` in the first quarter of its range."""

    def sample_independent(self, study, trial, name, distribution):
        return super().sample_independent(study, trial, name, distribution) / 4


def test_a_scheduler_and_a_searcher_plug_in_by_name(monkeypatch):
    module = types.ModuleType("users")
    module.EveryThird, module.Quarter, module.__file__ = EveryThird, Quarter, __file__
    monkeypatch.setitem(sys.modules, "users", module)
    plan, curve = small()
    experiment = Experiment(
        plan.experiment.spaces, "", NoSettings(), baselines=(), searcher="users:Quarter", scheduler="users:EveryThird"
    )
    plan = dataclasses.replace(plan, experiment=experiment)
    fold, _ = simulate(plan, curve)
    searched = [t for t in fold.trials.values() if t.stage == "search" and t.number > 0]
    assert len(searched) > 5
    assert all(t.hyperparameters["x"] <= 0.25 for t in searched)
    assert {t.epoch for t in searched if t.state == "pruned"} == {plan.epochs // 2}


@pytest.mark.parametrize(
    "name", ["nowhere:f", "users_own:g", "users_own:VALUE", "users_own.more:f", "", ".:f", "users_own"]
)
def test_a_searcher_that_is_not_there_is_called_that(name, tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text("from bench.search.searchers import random as f\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert callable(plugins.searcher("users_own:f"))
    with pytest.raises(UserError, match="there is no searcher") as caught:
        plugins.searcher(name)
    assert "\n" not in str(caught.value)
    sys.modules.pop("users_own", None)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
        ("import users_broken.other", "ModuleNotFoundError: No module named 'users_broken.other'"),
        ("from math import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        ("import math; math.no_such_name", "AttributeError: module 'math' has no attribute"),
        ("int('x')", "ValueError: invalid literal"),
        ("def f(", "SyntaxError"),
        ("raise OSError('one\\ntwo')", "OSError: one)"),
    ],
)
def test_what_is_wrong_inside_a_users_module_is_told_as_that(code, told, tmp_path, monkeypatch):
    (tmp_path / "users_broken.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        plugins.searcher("users_broken:f")
    assert "'users_broken:f' cannot be imported" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("searcher", "def f(seed): raise ValueError('no such seed')", "cannot be used (ValueError: no such seed)"),
        ("searcher", "def f(): pass", "cannot be used (TypeError: f() takes 0 positional arguments"),
        ("searcher", "def f(seed): return seed", "gives int, not an Optuna sampler"),
        (
            "scheduler",
            "class f:\n def __init__(self, epochs): self.milestones = [epochs / 2]",
            "gives f, not something",
        ),
        (
            "scheduler",
            "from bench.search.searchers import random as f",
            "gives RandomSampler, not something with milestones",
        ),
    ],
)
def test_what_cannot_be_a_searcher_or_scheduler_is_refused_before_anything_runs(
    kind, code, told, tmp_path, monkeypatch
):
    (tmp_path / "users_wrong.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        getattr(plugins, kind)("users_wrong:f")
    sys.modules.pop("users_wrong")
    assert "\n" not in str(caught.value)
