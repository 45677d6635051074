"""Whatever selects: all that choose follow its name and its direction."""

import dataclasses

import optuna
import pytest
from optuna.distributions import FloatDistribution

from algorithms.evaluation import metrics
from bench.search import selection
from bench.search.schedulers import Asha
from bench.search.searchers import BestAndLatest
from bench.search.simulate import simulate
from tests.bench.search.driving import small


@pytest.fixture
def less(monkeypatch):
    """A metric of which less is better selects."""
    other = dataclasses.replace(metrics.SELECTION, name="error", higher_is_better=False)
    monkeypatch.setattr(metrics, "SELECTION", other)


def test_of_a_metric_that_is_better_when_it_is_less_the_mirror_image_of_a_run_is_the_same(monkeypatch):
    plan, curve = small(methods=2, trials=80, searcher="tpe", published=0.2)
    runs = []
    for higher in (True, False):
        selection = dataclasses.replace(metrics.SELECTION, name="error", higher_is_better=higher)
        monkeypatch.setattr(metrics, "SELECTION", selection)

        def mirrored(job, epoch, higher=higher):
            figure, seconds = curve(job, epoch)
            return figure if higher else -figure, seconds

        fold, _ = simulate(plan, mirrored)
        runs.append([(trial.uid, trial.state, trial.hyperparameters) for trial in fold.trials.values()])
        assert {trial.last.metrics.keys() == {"error"} for trial in fold.trials.values() if trial.accuracy} == {True}
    assert runs[0] == runs[1]


def test_asha_keeps_the_least(less):
    asha = Asha(9)
    assert [asha.arrive(str(error), 1, error) for error in (0.5, 0.4, 0.6, 0.3)] == [True, True, False, True]


def test_what_tpe_sees_of_a_long_study_are_those_with_the_least(less):
    study = optuna.create_study(direction="minimize", storage=BestAndLatest(2, 3))
    for number in range(9):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        study.tell(trial, number / 10)
    assert [trial.number for trial in study.get_trials()] == [0, 1, 6, 7, 8]


def test_what_few_labels_say_together_with_views_goes_before_what_they_say_alone():
    assert selection.figure({"knn_200": 0.5, "judged": 0.3}) == 0.3
    assert selection.figure({"judged": 0.3}) == 0.3
    assert selection.figure({"knn_200": 0.5}) == 0.5
    assert selection.figure({"rankme": 5.0}) is None


def test_where_no_test_image_has_a_label_their_instance_accuracy_is_the_figure_and_nowhere_else():
    assert selection.figure({"instance_accuracy": 0.4, "rankme": 5.0}) == 0.4
    assert selection.figure({"instance_accuracy": 0.4, "knn_200": 0.0}) == 0.0
    assert selection.metric(["rankme"]) is None


def test_what_was_measured_without_labels_is_called_so():
    assert selection.called(["judged", "instance_accuracy"]) == "instance accuracy"
    assert selection.called(["judged"]) == "instance accuracy", "of a training that diverged"
    assert selection.called(["instance_accuracy", "rankme"]) == "instance accuracy"
    assert selection.called(["judged", "instance_accuracy", "knn_200"]) == "few labels and instance accuracy"
    assert selection.called(["instance_accuracy", "knn_200"]) == "kNN k=200"
    assert selection.called(["rankme"]) == ""
