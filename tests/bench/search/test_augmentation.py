"""Presets of augmentation: the file as it stands, what a faulty one gets, and what methods search of one."""

import dataclasses

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms import METHODS, WITH_TEACHER, method_class
from algorithms.images.augmentation import OFF, PAPER, SETTINGS, Augmentation
from algorithms.training.recipe import effective_hyperparameters
from bench.errors import UserError
from bench.execution.configuration import PRESETS
from bench.search import augmentation
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, simulate
from bench.search.space import load
from tests.bench.search.driving import next_trial, replayed, small


def searched(name: str, preset: str, image_size: int = 32):
    return augmentation.with_preset(load(name, image_size), preset, method_class(name), image_size)


def test_the_presets_of_the_file_are_those_that_the_command_line_knows():
    assert tuple(yaml.safe_load(augmentation.FILE.read_text())) == PRESETS


@pytest.mark.parametrize("image_size", [32, 224])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_of_every_setting_what_it_is_and_why_and_what_is_searched_can_be_off(preset, image_size):
    entries = augmentation.load(preset, image_size)
    assert tuple(entries) == SETTINGS
    assert all(entry["source"].strip() for entry in entries.values())
    assert isinstance(augmentation.defaults(preset, image_size), Augmentation)
    assert entries.keys() >= {"least_crop", "jitter_strength"}
    for name, entry in entries.items():
        if "choices" in entry:
            assert getattr(OFF, name) in entry["choices"]
        elif "low" in entry:
            assert entry["low"] <= getattr(OFF, name) <= entry["high"]


def test_text_is_never_mirrored_or_turned():
    entries = augmentation.load("text", 32)
    for name in ("horizontal_flip_probability", "vertical_flip_probability", "quarter_turn_probability"):
        assert entries[name].keys() == {"default", "source"}
        assert entries[name]["default"] == 0


@pytest.mark.parametrize("preset", ["grey", "multiband"])
def test_where_there_is_no_colour_none_is_changed(preset):
    found = augmentation.defaults(preset, 32)
    assert (found.jitter_colour, found.grayscale_probability) == (False, 0)


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
def test_the_published_recipe_has_the_papers_own_views_and_is_else_as_without_a_preset(name):
    own, space = load(name, 32), searched(name, "texture")
    assert {key: space.published[key] for key in own.published} == own.published
    assert space.published["augment"] == PAPER
    assert space.defaults["augment"] == "texture"
    assert space.recipes == [space.published, space.defaults]
    assert space.hash != own.hash
    taken = [
        effective_hyperparameters(method_class(name), recipe, width=64, images=10**6)
        for recipe in (own.published, space.published)
    ]
    assert taken[1] == taken[0] | {"augment": PAPER}


def test_what_changes_no_view_of_a_method_and_what_a_preset_leaves_off_is_not_searched():
    assert "least_crop" not in searched("amdim", "texture").entries
    assert "least_crop" in searched("amdim", "texture", 64).entries
    assert "solarize_probability" not in searched("cpc", "natural").entries
    assert "solarize_probability" in searched("simclr", "natural").entries
    assert "solarize_probability" not in searched("simclr", "texture").entries
    assert "jitter_colour" not in searched("simclr", "multiband").entries


@pytest.mark.parametrize("name", ["simclr", "byol", "swav", "amdim"])
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), preset=st.sampled_from(PRESETS))
def test_trainings_with_the_papers_own_views_are_one_whatever_settings_are_proposed_beside_them(name, seed, preset):
    space = searched(name, preset)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    params = study.ask(space.distributions()).params
    for switch in (PAPER, preset):
        found = space.settled(params | {"augment": switch})
        assert space.settled(found) == found
        hyperparameters = space.from_params(params | {"augment": switch})
        assert hyperparameters == space.from_params(found)
        assert space.proposes(hyperparameters)
        same = {key for key in found if found[key] == params[key]} | {"augment"}
        assert same >= set(found) - (set(SETTINGS) if switch == PAPER else set())
        if switch == PAPER:
            assert {key: hyperparameters[key] for key in SETTINGS if key in space.entries} == {
                key: space.defaults[key] for key in SETTINGS if key in space.entries
            }


@pytest.mark.parametrize("searcher", ["tpe", "prior", "random"])
def test_a_searcher_sees_what_is_trained_and_a_continued_run_proposes_the_same(searcher):
    plan, _ = small(methods=1, slots=1, trials=40, searcher=searcher, published=0.5)
    space = dataclasses.replace(searched("simclr", "texture"), method="method00")
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, spaces={"method00": space}))

    def curve(trial, epoch):
        own = trial.hyperparameters["augment"] == PAPER
        return (0.6 if own else 0.2 + 0.3 * trial.hyperparameters["least_crop"]), 1.0

    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, curve, ledger)
    trials = list(fold.of("method00", "search"))
    papers = [trial for trial in trials if trial.hyperparameters["augment"] == PAPER]
    assert len(papers) > 3, "the searcher never came back to what is better"
    assert len({trial.configuration for trial in trials}) == len(trials)
    for trial in papers:
        assert {key: trial.parameters[key] for key in ("least_crop", "jitter_strength")} == {
            "least_crop": space.defaults["least_crop"],
            "jitter_strength": space.defaults["jitter_strength"],
        }
    search = Search(plan, ledger, clock=lambda: 0.0)
    seen = search.proposals.studies.study("method00").get_trials()
    assert [trial.params for trial in seen] == [trial.parameters for trial in trials]
    for trial in trials[2::5]:
        suggested = next(at for at, event in enumerate(ledger.events) if event.get("uid") == trial.uid)
        uid, assignment = next_trial(Search(plan, replayed(ledger.events[:suggested]), clock=lambda: 0.0))
        assert (uid, assignment.job.hyperparameters) == (trial.uid, trial.hyperparameters)


FAULTS = {
    "no preset": (lambda content: content.pop("grey"), "no preset 'grey'"),
    "no words": (lambda content: content["grey"].pop("images"), "must have exactly images, in words, and settings"),
    "a setting missing": (
        lambda content: content["grey"]["settings"].pop("least_crop"),
        "settings must be exactly least_crop, ",
    ),
    "an unknown one": (lambda content: content["grey"]["settings"].update(zoom=1), "settings must be exactly"),
    "no source": (
        lambda content: content["grey"]["settings"]["blur_probability"].pop("source"),
        "must have default and source",
    ),
    "published": (
        lambda content: content["grey"]["settings"]["blur_probability"].update(published=0.1),
        "leave out published",
    ),
    "beyond a probability": (
        lambda content: content["grey"]["settings"]["blur_probability"].update(choices=[0.0, 5.0]),
        "blur_probability is 5.0; it must be a number from 0 to 1",
    ),
    "no off": (
        lambda content: content["grey"]["settings"]["least_crop"].update(high=0.9),
        "1.0, which is off, must be among what is searched",
    ),
    "no presets at all": (lambda content: content.clear(), "no preset 'grey'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_refused_in_one_line(fault, tmp_path):
    change, expected = FAULTS[fault]
    content = yaml.safe_load(augmentation.FILE.read_text())
    change(content)
    path = tmp_path / "augmentation.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=expected) as caught:
        augmentation.load("grey", 32, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, "they would stand in"), ("a: [", "is not YAML"), ("3", "no preset")]
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(text, expected, tmp_path):
    path = tmp_path / "augmentation.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=expected):
        augmentation.load("grey", 32, path)
