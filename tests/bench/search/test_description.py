"""A plan in words."""

import pytest

from bench.search.budget import Budget
from bench.search.description import chooses_by, describe
from bench.search.simulate import Space
from tests.bench.search.planned import CALIBRATING, SPACES, experiment, make


def test_the_plan_says_which_methods_have_two_recipes_and_which_have_no_time_to_confirm_ours(calibrated):
    spaces = SPACES | {"byol": Space("byol", published={"x": 0.2})}
    enough, short = (make(experiment(epochs=9, spaces=spaces), Budget.parse(f"{n}cpu-minutes"), 2) for n in (30, 4))
    assert "trial 1 is ours, where ours is another one: byol." in describe(enough)
    assert "No time is kept back" not in describe(enough)
    assert "No time is kept back to confirm ours of byol" in describe(short)
    assert "ours" not in describe(make(experiment(epochs=9), Budget.parse("30cpu-minutes"), 2))


def test_the_description_says_how_to_pin_epochs_that_were_chosen_and_only_those(calibrated):
    chosen = make(experiment(), Budget.parse("1cpu-hours"), 2)
    assert f"{chosen.epochs} epochs a training (--epochs {chosen.epochs} pins this)" in describe(chosen)
    assert "pins" not in describe(make(experiment(epochs=chosen.epochs), Budget.parse("1cpu-hours"), 2))


def test_the_description_has_slots_costs_trials_and_the_end(calibrated):
    plan = make(experiment(), Budget.parse("1cpu-hours"), slots=2)
    text = describe(plan)
    half = f"{(3600 - CALIBRATING) / 2 / 60:.1f} min"
    for part in ("2 slots", f"{plan.epochs} epochs", half, "byol", "0.5", "trials", "It ends in about"):
        assert part in text


@pytest.mark.parametrize(("slots", "rate", "said"), [(4, 1.0, "4 slots (1 trial"), (8, 0.5, "8 slots (2 trials")])
def test_the_description_says_how_many_trials_share_a_gpu(calibrated, slots, rate, said):
    assert f"{said} per GPU)" in describe(make(experiment(), Budget.parse("1gpu-hours"), slots, rate))


@pytest.mark.parametrize(
    ("labelled", "said"),
    [
        (1000, "It chooses by leave-one-out kNN among 1,000 labelled training images."),
        (40, "among 40 labelled training images, and by how often a view's nearest other view is of the same image"),
        (0, "It chooses without labels, by how often a view's nearest"),
    ],
)
def test_the_description_says_by_what_it_chooses(calibrated, labelled, said):
    assert said in describe(make(experiment(), Budget.parse("1cpu-hours"), 2), labelled=labelled)


def test_without_labels_it_says_that_no_baseline_is_trained_with_them(calibrated):
    plan, left_out = make(experiment(), Budget.parse("1cpu-hours"), 2), "Left out of the baselines"
    assert f"{left_out}, as there are no labels: supervised." in describe(plan, labelled=0)
    assert left_out not in describe(plan, labelled=1)


def test_without_labels_it_says_of_which_methods_that_is_worse_than_their_recipe(monkeypatch):
    monkeypatch.setattr("bench.search.description.DOUBTED", ("b", "c"))
    assert chooses_by(0, ["a", "b"]).endswith("worse than the published recipe of b.")
    assert "worse" not in chooses_by(0, ["a"])


def test_it_says_that_images_are_not_judged_by_their_own_group(calibrated):
    plan = make(experiment(), Budget.parse("1cpu-hours"), 2)
    said = "among 1,000 labelled training images, none judged by its own group."
    assert said in describe(plan, labelled=1000, grouped=True)
    assert "group" not in describe(plan, labelled=1000)
