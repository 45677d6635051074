"""A run beside published numbers."""

import pytest

from algorithms import METHODS
from bench.report import anchors, results
from bench.report.anchors import Anchor
from tests.bench import synthetic_run

SETTING = {"kind": "knn", "encoder": "resnet18", "epochs": 20, "image_size": 32, "images": 50_000, "dataset": "cifar10"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return results.load(synthetic_run.write(tmp_path_factory.mktemp("made-up")))


def test_every_published_number_names_a_method_a_kind_and_its_source():
    known = set(METHODS) - {"simclrv2", "pirl", "amdim", "seer", "sela", "lejepa", "ibot"}  # of which none was found
    found = anchors.load()
    assert {anchor.method for anchor in found} == known
    assert {anchor.setting["kind"] for anchor in found} == {"knn", "purity", "linear", "fine-tuned"}
    assert all(0 < anchor.value < 100 and anchor.source and anchor.protocol for anchor in found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"encoder": "resnet8"}, ["resnet8 instead of resnet18"]),
        ({"epochs": 10, "images": 4_500}, ["4,500 instead of 50,000 training images", "10 instead of 20 epochs"]),
        ({"image_size": None}, ["— instead of 32 px"]),
        ({"own": ["queue_length 4480 instead of 16384"]}, ["queue_length 4480 instead of 16384"]),
    ],
)
def test_a_number_is_comparable_only_in_the_same_setting(change, told):
    anchor = Anchor("simclr", 80.0, "a paper", "once", {k: v for k, v in SETTING.items() if k != "images"})
    assert anchors.differences(anchor, SETTING | {"own": []} | change) == told


def test_a_linear_classifier_is_never_compared_with_knn():
    anchor = Anchor("simclr", 80.0, "a paper", "once", SETTING | {"kind": "linear"})
    assert anchors.differences(anchor, SETTING | {"own": []}) == ["a linear classifier"]


def test_more_than_five_points_below_is_called_a_bug():
    assert "bug" in anchors.verdict(-5.1)
    assert "bug" not in anchors.verdict(-4.9)


def test_the_page_has_each_method_once_for_each_number_and_says_what_differs(run):
    trials = run.trials[(run.trials.method == "byol") & (run.trials.stage == "published")]
    mean = 100 * trials.test_knn_200.mean()
    images = run.run | {"facts": (run.run.get("facts") or {}) | {"images": {"train": 50_000}}}
    found = results.Results(run.trials, run.epochs, images)
    setting = {"kind": "knn", "encoder": "resnet18", "epochs": 20}
    text = anchors.page(found, [Anchor("byol", 50.0, "a paper", "once", setting)])
    (line,) = [line for line in text.splitlines() if line.startswith("| byol")]
    assert f"| {mean:.1f} |" in line
    assert f"| {mean - 50:+.1f}: " in line
    assert sum("nothing published" in line for line in text.splitlines()) == len(synthetic_run.METHODS) - 1
    other = anchors.page(run, [Anchor("byol", 50.0, "a paper", "once", setting | {"epochs": 200})])
    assert "not comparable: 20 instead of 200 epochs" in other


def test_a_recipe_that_was_trained_otherwise_or_failed_with_a_seed_is_not_compared(tmp_path):
    options = {
        "fitted": {"byol": {"prototypes": 400}},
        "failing": {("byol", "published"): 1, ("simclr", "published"): 1},
    }
    found = results.load(synthetic_run.write(tmp_path, ("byol", "simclr", "swav"), **options))
    found.run["facts"]["images"] = {"train": 50_000}
    setting = {"kind": "knn", "encoder": "resnet18", "epochs": 20}
    text = anchors.page(
        found, [Anchor(method, 70.0, "a paper", "once", setting) for method in ("byol", "simclr", "swav")]
    )
    byol, simclr, swav = text.splitlines()[-3:]
    assert "not comparable: prototypes 400 instead of 512, 1 of the recipe's seeds failed" in byol
    assert "(2 of 3 seeds; 1 failed) |" in byol
    assert "not comparable: 1 of the recipe's seeds failed" in simclr
    assert "comparable" not in swav
    assert "failed" not in swav


def test_an_adapted_recipe_is_not_compared_and_of_one_that_won_its_own_trials_are_shown(tmp_path):
    options = {
        "published": {"byol": {"learning_rate": 0.3}},
        "recipes": {"byol": {"source": "a repository", "adapted": "8 parts"}, "swav": {"source": "a paper"}},
    }
    found = results.load(synthetic_run.write(tmp_path, ("byol", "swav"), **options))
    found.run["facts"]["images"] = {"train": 50_000}
    ours = found.trials[(found.trials.method == "byol") & found.trials.our_recipe]
    found.run["winners"]["byol"] = ours[ours.stage == "search"].uid.iloc[0]
    setting = {"kind": "knn", "encoder": "resnet18", "epochs": 20}
    byol, swav = anchors.page(
        found, [Anchor(method, 70.0, "a paper", "once", setting) for method in ("byol", "swav")]
    ).splitlines()[-2:]
    assert "not comparable: the recipe is adapted: 8 parts |" in byol
    assert f"| {100 * ours.test_knn_200.mean():.1f} | 70.0 |" in byol
    assert "comparable" not in swav


def test_a_methods_name_cannot_break_out_of_the_page(tmp_path):
    name = "evil|<script>`"
    text = anchors.page(results.load(synthetic_run.write(tmp_path, (name,), baselines=False)), [])
    assert "<script" not in text
    assert text.splitlines()[-1].replace("\\|", "").count("|") == 8
