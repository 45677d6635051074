"""Search spaces: the files as they stand, and what a faulty one gets."""

import math

import optuna
import pytest
import yaml
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from algorithms import BASELINES, METHODS, WITH_TEACHER, method_class
from algorithms.training.recipe import hyperparameter_names
from bench.errors import UserError
from bench.search.entries import check_entry
from bench.search.methods import check_methods
from bench.search.space import FOLDER, OF_CONVOLUTIONS, SearchSpace, load


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, *BASELINES])
def test_every_method_has_a_search_space_that_its_constructor_takes(name: str):
    required, known = hyperparameter_names(method_class(name))
    assert required <= set(load(name, 32).defaults) <= known


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
def test_learning_rate_weight_decay_and_the_papers_own_parameters_are_searched(name: str):
    space = load(name, 32)
    always = {"learning_rate", "weight_decay", "temperature", "ema_momentum", "prototypes"}
    assert always & set(space.defaults) <= set(space.searched)
    if "ema_momentum" in space.defaults:
        assert space.entries["ema_momentum"]["scale"] == "log1m"


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
def test_the_published_recipe_survives_the_way_to_optuna_and_back(name: str):
    space = load(name, 32)
    there_and_back = space.from_params(space.to_params(space.defaults))
    assert there_and_back.keys() == space.defaults.keys()
    for key, value in space.defaults.items():
        assert there_and_back[key] == (pytest.approx(value) if isinstance(value, float) else value)
    for key, value in space.to_params(space.defaults).items():
        assert space.distributions()[key]._contains(space.distributions()[key].to_internal_repr(value))


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_what_optuna_proposes_lies_in_the_ranges(name: str, seed: int):
    space = load(name, 32)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = space.from_params(study.ask(space.distributions()).params)
    for key, entry in space.entries.items():
        if "choices" in entry:
            assert found[key] in entry["choices"]
        elif "scale" in entry:
            assert entry["low"] - 1e-9 <= found[key] <= entry["high"] + 1e-9
            assert type(found[key]) is type(entry["default"])
        else:
            assert found[key] == entry["default"]


def test_a_narrowed_space_has_the_choices_that_are_left_and_fixes_what_has_a_single_one():
    space = load("swav", 32)
    assert space.choices.items() >= {"local_crops": [0, 2, 6], "queue_length": [0, 3840]}.items()
    narrow = space.narrowed({"prototypes": [128, 512], "queue_length": [0]})
    assert narrow.choices == space.choices | {"prototypes": [128, 512], "queue_length": [0]}
    assert set(space.searched) - set(narrow.searched) == {"queue_length"}
    assert narrow.distributions()["prototypes"].choices == (128, 512)
    assert "queue_length" not in narrow.to_params(space.defaults)
    assert narrow.from_params(narrow.to_params(space.defaults))["queue_length"] == 0
    assert narrow.hash == space.hash


def test_the_distance_of_the_ema_momentum_from_one_is_sampled_on_a_log_scale():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = load("byol", 32)
    momenta = [space.from_params(study.ask(space.distributions()).params)["ema_momentum"] for _ in range(400)]
    distances = [math.log10(1 - momentum) for momentum in momenta]
    assert sum(-4 <= d < -2.5 for d in distances) == pytest.approx(200, abs=45)


def test_the_hash_follows_what_decides_a_search_and_not_the_words_about_it(tmp_path):
    content = yaml.safe_load(yaml.safe_dump(space_content()))
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    first = load("simclr", 32, tmp_path).hash
    content["hyperparameters"]["temperature"]["source"] = "elsewhere"
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    assert load("simclr", 32, tmp_path).hash == first
    content["hyperparameters"]["temperature"]["high"] = 0.9
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    assert load("simclr", 32, tmp_path).hash != first


def space_content() -> dict:
    space = load("simclr", 32)
    return {"method": "simclr", "paper": space.paper, "recipe": space.recipe, "hyperparameters": space.entries}


FAULTS = {
    "unknown hyper-parameter": (
        lambda c: c["hyperparameters"].update(temprature={"default": 1, "source": "x"}),
        "did you mean temperature",
    ),
    "unknown key of an entry": (
        lambda c: c["hyperparameters"]["temperature"].update(lowest=1),
        "must have default and source",
    ),
    "missing hyper-parameter": (lambda c: c["hyperparameters"].pop("temperature"), "lacks temperature"),
    "empty range": (lambda c: c["hyperparameters"]["temperature"].update(low=2.0, high=1.0), "is empty"),
    "default outside": (
        lambda c: c["hyperparameters"]["temperature"].update(default=7.0),
        "outside the range",
    ),
    "unknown scale": (lambda c: c["hyperparameters"]["temperature"].update(scale="lg"), "no scale 'lg'"),
    "log of zero": (lambda c: c["hyperparameters"]["temperature"].update(low=0.0), "above 0"),
    "log1m of one": (
        lambda c: c["hyperparameters"]["temperature"].update(high=1.0, scale="log1m", default=0.5),
        "below 1",
    ),
    "number as text": (lambda c: c["hyperparameters"]["temperature"].update(low="1e-4"), "must be numbers"),
    "default not among choices": (
        lambda c: c["hyperparameters"].update(temperature={"default": 3, "source": "x", "choices": [1, 2]}),
        "holds the default",
    ),
    "unknown top key": (lambda c: c.update(trials=3), "exactly the keys"),
    "no recipe": (lambda c: c.pop("recipe"), "exactly the keys"),
    "recipe without source": (lambda c: c.update(recipe={"adapted": "the heads"}), "must have a source"),
    "recipe that says nothing": (lambda c: c.update(recipe={"source": "x", "adapted": " "}), "must have a source"),
    "recipe of other words": (lambda c: c.update(recipe={"source": "x", "changed": "y"}), "must have a source"),
    "small outside": (lambda c: c["hyperparameters"]["temperature"].update(small=7.0), "outside the range"),
    "published that is no value": (
        lambda c: c["hyperparameters"]["temperature"].update(published=[1]),
        "published must be a text",
    ),
    "published that is no number": (
        lambda c: c["hyperparameters"]["temperature"].update(published="0.1"),
        "published must be a number",
    ),
    "another method's": (lambda c: c.update(method="byol"), "its file name says"),
    "not a mapping": (lambda c: c.update(hyperparameters=[1]), "must be a mapping"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_gets_one_line_that_says_what_is_wrong(fault: str, tmp_path):
    spoil, expected = FAULTS[fault]
    content = yaml.safe_load(yaml.safe_dump(space_content()))
    spoil(content)
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=expected) as caught:
        load("simclr", 32, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [", "is not YAML, line 1"),
        (b"a: \x00", "is not YAML"),
        (b"a: 2026-99-99", "is not YAML"),
        (b"[" * 100_000, "is not YAML"),
        (b"a: " + b"9" * 10_000, "is not YAML"),
        (b"a: !!python/object/apply:os.getcwd []", "is not YAML"),
        (b"method: simclr\n# caf\xe9\n", "is not UTF-8"),
        (b"", "exactly the keys"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_not_yaml_gets_one_line(content, told, tmp_path):
    path = tmp_path / "simclr.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        load("simclr", 32, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="has no search space"):
        load("byol", 32, tmp_path)


def test_a_small_image_has_a_default_of_its_own(tmp_path):
    content = yaml.safe_load(yaml.safe_dump(space_content()))
    content["hyperparameters"]["temperature"]["small"] = 0.25
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    assert load("simclr", 64, tmp_path).defaults["temperature"] == 0.25
    large = load("simclr", 65, tmp_path)
    assert large.defaults["temperature"] == content["hyperparameters"]["temperature"]["default"]
    assert large.hash == load("simclr", 224).hash


def test_what_was_published_is_a_recipe_of_its_own_where_ours_differs(tmp_path):
    content = yaml.safe_load(yaml.safe_dump(space_content()))
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    space = load("simclr", 32, tmp_path)
    assert space.published == space.defaults
    assert space.recipes == [space.defaults]
    content["hyperparameters"]["temperature"]["published"] = 0.125
    content["hyperparameters"]["optimizer"]["published"] = "adamw"
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    other = load("simclr", 32, tmp_path)
    assert other.defaults == space.defaults
    assert other.published == space.defaults | {"temperature": 0.125, "optimizer": "adamw"}
    assert other.recipes == [other.published, other.defaults]
    assert other.hash != space.hash


@pytest.mark.parametrize(
    ("changed", "inside"),
    [({}, True), ({"temperature": 0.2}, True), ({"temperature": 7.0}, False), ({"batch_size": 64}, False)],
)
def test_a_search_proposes_what_lies_within_its_ranges_and_nothing_of_what_is_fixed(changed, inside):
    space = load("simclr", 32)
    assert space.proposes(space.defaults | changed) is inside


def space_of(entry: dict) -> SearchSpace:
    return SearchSpace(
        "simclr", "2002.05709", {"source": "x"}, {"temperature": entry, "batch_size": {"default": 512, "source": "x"}}
    )


numbers = st.integers(-(10**13), 10**13) | st.floats() | st.sampled_from([0, 1, 0.5, 1.0, 0.05, 4.0, 0.9, 0.999])
scalars = numbers | st.text(max_size=3) | st.booleans() | st.none() | st.dates()
ranges = st.fixed_dictionaries(
    {"low": numbers, "high": numbers, "default": numbers, "scale": st.sampled_from(["linear", "log", "log1m"])}
)


def ordered(entry: dict) -> dict:
    """Most ranges are in order, so that most are accepted."""
    if all(math.isfinite(entry[key]) for key in ("low", "default", "high")):
        entry |= dict(
            zip(("low", "default", "high"), sorted(entry[k] for k in ("low", "default", "high")), strict=True)
        )
    return entry


choices = st.lists(scalars | st.lists(numbers), max_size=4).flatmap(
    lambda values: st.fixed_dictionaries(
        {"choices": st.just(values), "default": st.sampled_from(values) if values else scalars}
    )
)


@given(ranges.map(ordered) | ranges | choices | st.fixed_dictionaries({"default": scalars | st.lists(numbers)}))
@example({"default": 1, "low": 0.05, "high": 4.0, "scale": "log"})
@example({"default": 1, "low": 0.5, "high": 2.5, "scale": "linear"})
@example({"default": 0.5, "low": 0.1, "high": 0.9, "scale": "log1m"})
@example({"default": 3, "low": 1, "high": 9, "scale": "log"})
@example({"default": 0, "low": -3, "high": 0, "scale": "log1m"})
@example({"default": 1, "choices": [1, 1.0]})
@example({"default": 1, "choices": [True, 1]})
@example({"default": 1, "choices": [1.0, 2.0]})
@example({"default": math.nan, "choices": [math.nan]})
@example({"default": "a", "choices": ["a", "b", "a"]})
@settings(max_examples=300, deadline=None)
def test_what_is_accepted_optuna_accepts_too_and_what_it_proposes_lies_within(entry):
    entry |= {"source": "x"}
    try:
        check_entry("here", entry)
    except UserError as error:
        event("refused" if "\n" not in str(error) else pytest.fail("more than a line"))
        return
    event("accepted")
    space = space_of(entry)
    assert len(space.hash) == 12
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = space.distributions()
    study.add_trial(
        optuna.trial.create_trial(value=0.0, params=space.to_params(space.defaults), distributions=distributions)
    )
    recipe = space.from_params(space.to_params(space.defaults))["temperature"]
    assert recipe == (pytest.approx(entry["default"]) if isinstance(recipe, float) else entry["default"])
    for _ in range(5):
        trial = study.ask(distributions)
        study.add_trial(optuna.trial.create_trial(value=0.0, params=trial.params, distributions=distributions))
        found = space.from_params(trial.params)
        assert found["batch_size"] == 512
        value = found["temperature"]
        assert type(value) is type(space.defaults["temperature"]) or "choices" in entry
        if "choices" in entry:
            assert any(value is choice or value == choice for choice in entry["choices"])
            assert space.to_params(found) == trial.params
        elif "scale" in entry:
            assert entry["low"] <= value <= entry["high"]
            assert list(space.to_params(found).values()) == pytest.approx(list(trial.params.values()))
        else:
            assert not trial.params
            assert value == entry["default"]


def test_a_range_is_of_whole_numbers_only_where_all_of_it_is():
    entry = {"default": 1, "source": "x", "low": 0.5, "high": 2.5, "scale": "linear"}
    assert space_of(entry).distributions() == {"temperature": FloatDistribution(0.5, 2.5)}
    assert type(space_of(entry).defaults["temperature"]) is float
    assert space_of(entry | {"low": 1, "high": 3}).distributions() == {"temperature": IntDistribution(1, 3)}
    assert type(space_of(entry | {"low": 1, "high": 3}).defaults["temperature"]) is int


@pytest.mark.parametrize("choices", [[1, 1.0], [1, True], [2, 1, 2], [0.0, -0.0], ["a", "b", "a"]])
def test_choices_that_are_the_same_are_refused(choices):
    with pytest.raises(UserError, match="are the same"):
        check_entry("here", {"default": choices[0], "source": "x", "choices": choices})


HASHES = {
    "amdim": "72ef31fd0af6",
    "barlow": "71e45265fa50",
    "byol": "1b945f819a7e",
    "simsiam": "bcd6b4debd50",
}


@pytest.mark.parametrize("name", HASHES)
def test_runs_that_were_made_with_a_space_that_ships_can_be_continued(name):
    assert load(name, 32).hash == HASHES[name]


def test_an_unknown_method_is_answered_with_the_nearest_names():
    with pytest.raises(UserError, match=r"'simclrr'.*simclr"):
        check_methods(["byol", "simclrr"])
    assert check_methods(["byol", "swav", "byol"]) == ["byol", "swav"]


def with_a_vit(tmp_path, **changes) -> dict:
    """SimCLR's file with a recipe and a learning rate for vision transformers."""
    content = yaml.safe_load((FOLDER / "simclr.yaml").read_text())
    content["recipe"]["vit"] = {"source": "elsewhere"}
    content["hyperparameters"]["learning_rate"]["vit"] = {
        "default": 1.5e-4, "small": 3.0e-4, "source": "elsewhere", "low": 1.0e-5, "high": 1.0e-2, "scale": "log"
    } | changes  # fmt: skip
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    return content


def test_a_vision_transformer_has_its_own_recipe_where_the_file_has_one(tmp_path):
    with_a_vit(tmp_path)
    plain, large, small = (
        load("simclr", size, tmp_path, transformer=transformer)
        for size, transformer in ((32, False), (224, True), (32, True))
    )
    assert plain.hash == load("simclr", 32).hash
    assert (plain.defaults["learning_rate"], large.defaults["learning_rate"], small.defaults["learning_rate"]) == (
        0.12,
        1.5e-4,
        3e-4,
    )
    assert large.recipe == {"source": "elsewhere"}
    assert large.entries["learning_rate"]["low"] == 1e-5
    assert large.defaults["temperature"] == plain.defaults["temperature"]
    assert len({plain.hash, large.hash, small.hash}) == 3


def test_a_recipe_for_convolutional_networks_is_called_adapted_on_a_vision_transformer():
    assert OF_CONVOLUTIONS in load("simclr", 32, transformer=True).recipe["adapted"]
    assert OF_CONVOLUTIONS not in load("simclr", 32).recipe["adapted"]


def test_a_method_that_brings_its_encoder_has_one_recipe():
    assert load("amdim", 32, transformer=True) == load("amdim", 32)


@pytest.mark.parametrize(
    "changes",
    [{"default": 1.0}, {"vit": {"default": 1.0, "source": "again"}}, {"scale": "cubic"}, {"source": 3, "low": 1}],
)
def test_a_faulty_entry_for_vision_transformers_is_refused_whatever_the_encoder(tmp_path, changes):
    with_a_vit(tmp_path, **changes)
    with pytest.raises(UserError, match="learning_rate: vit"):
        load("simclr", 32, tmp_path)


@pytest.mark.parametrize("vit", [{}, {"source": ""}, "elsewhere", {"source": "a", "vit": {"source": "b"}}])
def test_a_recipe_for_vision_transformers_without_a_source_is_refused(tmp_path, vit):
    content = with_a_vit(tmp_path)
    content["recipe"]["vit"] = vit
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="recipe must have a source"):
        load("simclr", 32, tmp_path)


def test_an_entry_for_vision_transformers_alone_is_there_for_these_alone(tmp_path):
    content = with_a_vit(tmp_path)
    content["hyperparameters"]["scale_rate"] = {"vit": {"default": True, "source": "elsewhere"}}
    (tmp_path / "simclr.yaml").write_text(yaml.safe_dump(content))
    assert load("simclr", 32, tmp_path).hash == load("simclr", 32).hash
    assert load("simclr", 32, tmp_path, transformer=True).defaults["scale_rate"] is True


@pytest.mark.parametrize("name", ["dino", "mocov3", "lejepa"])
def test_recipes_for_vision_transformers_leave_runs_of_other_encoders_as_they_are(tmp_path, name):
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    alone = {name: entry for name, entry in content["hyperparameters"].items() if entry.keys() != {"vit"}}
    content["hyperparameters"] = {
        name: {key: value for key, value in entry.items() if key != "vit"} for name, entry in alone.items()
    }
    assert content["recipe"].pop("vit")
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    assert load(name, 32, tmp_path).hash == load(name, 32).hash != load(name, 32, transformer=True).hash
