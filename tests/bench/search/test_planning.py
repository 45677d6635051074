"""How a plan is made."""

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.execution import calibration as calibrating
from bench.search import planning
from bench.search.budget import Budget
from bench.search.description import describe
from bench.search.events import FORMAT
from bench.search.experiment import Experiment
from bench.search.fold import read
from bench.search.plan import Costs, Plan
from bench.search.planning import EPOCHS, mixture
from bench.search.simulate import NoSettings, Space
from tests.bench.search.planned import (
    CALIBRATING,
    FAKE,
    H100,
    NEWER,
    T4,
    experiment,
    make,
    session,
    start,
)


@given(
    st.lists(st.floats(0.01, 30), min_size=1, max_size=16),
    st.floats(0, 10),
    st.floats(100, 1e6),
    st.integers(1, 8),
    st.integers(1, 5),
)
@settings(max_examples=50)
def test_chosen_epochs_leave_most_of_every_share_to_search(seconds, evaluation, budget, slots, seeds):
    calibration = {f"m{i}": Costs(s, evaluation) for i, s in enumerate(seconds)}
    spaces = {method: Space(method) for method in calibration}
    asked = Experiment(spaces, FAKE, NoSettings(), baselines=(), seeds=seeds)
    plan = planning._choose_epochs(Plan(asked, Budget("gpu", budget), slots, 1.0, 1, calibration, 0.0, 1.0))
    parts = [plan.confirming(method) / plan.share for method in spaces]
    assert 1 <= plan.epochs <= 200
    if plan.epochs > 1:
        assert max(parts) <= planning.MOST_CONFIRM_PART
        assert sum(parts) / len(parts) <= planning.CONFIRM_PART
    assert plan.epochs in EPOCHS
    if 1 < plan.epochs < 200:  # and it is the longest of them that does
        longer = dataclasses.replace(plan, epochs=next(epochs for epochs in EPOCHS if epochs > plan.epochs))
        parts = [longer.confirming(method) / longer.share for method in spaces]
        assert (
            longer.share <= 0
            or max(parts) > planning.MOST_CONFIRM_PART
            or sum(parts) / len(parts) > planning.CONFIRM_PART
        )


def test_a_budget_too_small_is_refused_and_the_smallest_that_would_do_does(calibrated, tmp_path):
    with pytest.raises(UserError, match=r"--budget (\S+) would do") as error:
        make(experiment(epochs=20), Budget.parse("1cpu-minutes"), slots=2, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    enough = str(error.value).split("--budget ")[1].split()[0]
    plan = make(experiment(epochs=20), Budget.parse(enough), slots=2)
    assert plan.epochs == 20
    assert plan.share >= plan.least_share()


def test_no_budget_is_suggested_that_would_itself_be_refused(calibrated):
    with pytest.raises(UserError, match="fewer --epochs or --seeds would do"):
        make(experiment(epochs=10**5, seeds=10**6), Budget.parse("1cpu-hours"), slots=2)


def test_trials_that_share_a_gpu_are_planned_as_if_that_gained_nothing_until_it_is_measured(calibrated):
    half = make(experiment(epochs=10), Budget.parse("1gpu-hours"), slots=2, rate=0.5)
    whole = make(experiment(epochs=10), Budget.parse("1gpu-hours"), slots=1, rate=1.0)
    assert half.calibration["byol"] == Costs(1.0, 0.2, 0.0)
    assert half.training("byol") == pytest.approx(whole.training("byol"))


def test_an_unknown_searcher_or_scheduler_is_refused_before_anything_runs(calibrated):
    for asked in (experiment(searcher="grid"), experiment(scheduler="no.such.module:Class")):
        with pytest.raises(UserError, match=r"package\.module:attribute"):
            make(asked, Budget.parse("1cpu-hours"), slots=2)
    assert not calibrated


def test_a_run_that_continues_keeps_its_epochs_and_calibration(calibrated, tmp_path):
    first = make(experiment(), Budget.parse("10cpu-minutes"), slots=2, run_dir=tmp_path)
    start(tmp_path, first)
    second = make(experiment(), Budget.parse("40cpu-minutes"), slots=2, run_dir=tmp_path)
    assert len(calibrated) == 1
    assert second.epochs == first.epochs
    assert second.share > 3 * first.share
    anew = make(experiment(), Budget.parse("40cpu-minutes"), slots=2, run_dir=tmp_path, fresh=True)
    assert anew.epochs > first.epochs


def test_what_is_asked_is_checked_before_anything_is_prepared(calibrated, tmp_path):
    start(tmp_path, make(experiment(epochs=4), Budget.parse("10cpu-minutes"), slots=2))
    prepared: list[int] = []
    for asked in (experiment(seed=5), experiment(epochs=4, searcher="grid")):
        with pytest.raises(UserError):
            make(asked, Budget.parse("10cpu-minutes"), 2, run_dir=tmp_path, prepare=lambda: prepared.append(1))
    make(experiment(epochs=4), Budget.parse("10cpu-minutes"), 2, run_dir=tmp_path, prepare=lambda: prepared.append(1))
    assert not prepared  # it continues, and calibrates no more
    make(experiment(epochs=4), Budget.parse("10cpu-minutes"), 2, prepare=lambda: prepared.append(1))
    assert prepared == [1]


def test_a_calibration_is_charged_to_the_budget_at_the_rate_of_the_slot_that_it_had(calibrated, tmp_path):
    for rate in (1.0, 0.5):
        plan = make(experiment(epochs=4), Budget.parse("1gpu-hours"), slots=2, rate=rate)
        assert plan.calibration_seconds == rate * CALIBRATING
        start(tmp_path / str(rate), plan)
        assert read(tmp_path / str(rate) / "ledger.jsonl").charged == rate * CALIBRATING


def test_a_run_continued_as_if_on_another_machine_calibrates_anew_and_says_so(calibrated, tmp_path):
    budget = Budget.parse("1gpu-hours")
    first = make(experiment(), budget, 1, run_dir=tmp_path, facts=H100)
    start(tmp_path, first)
    session(tmp_path, H100)
    path = tmp_path / "ledger.jsonl"
    assert make(experiment(), budget, 1, run_dir=tmp_path, facts=H100) == first
    assert mixture(read(path), H100) is None
    assert len(calibrated) == 1

    second = make(experiment(), budget, 1, run_dir=tmp_path, facts=T4)
    assert len(calibrated) == 2
    assert second.calibration_seconds == 2 * CALIBRATING
    assert second.epochs == first.epochs
    said = mixture(read(path), T4)
    assert "device NVIDIA H100 in bfloat16, and goes on with device Tesla T4 in float32" in said
    assert "PyTorch" not in said
    anew = {"calibration": {"byol": {"epoch": 9.0}}, "calibration_seconds": second.calibration_seconds, "startup": 3.0}
    session(tmp_path, T4, plan=anew)
    fold = read(path)
    assert fold.charged == 2 * CALIBRATING
    assert fold.plan["calibration"] == anew["calibration"]
    assert fold.plan["epochs"] == first.epochs

    assert "PyTorch 2.11.0, and goes on with device Tesla T4 in float32, PyTorch 2.12.0" in mixture(fold, NEWER)


def test_a_run_that_continues_on_the_device_of_its_last_session_uses_the_calibration_of_that(calibrated, tmp_path):
    budget = Budget.parse("1gpu-hours")
    plan = make(experiment(), budget, 1, facts=H100)
    start(tmp_path, plan)
    session(tmp_path, H100)
    names = [*plan.experiment.spaces, *plan.experiment.baselines]
    slow = dict.fromkeys(names, Costs(0.75, 0.1))
    anew = {name: costs.to_json() for name, costs in slow.items()}
    session(tmp_path, T4, plan={"calibration": anew, "calibration_seconds": 20.0, "startup": 3.0})
    calibrated.clear()
    for facts in (T4, NEWER, {}):  # where the session's device is not told, nothing is made of it
        assert make(experiment(), budget, 1, run_dir=tmp_path, facts=facts).calibration == slow
    assert not calibrated
    make(experiment(), budget, 1, run_dir=tmp_path, facts=H100)
    assert len(calibrated) == 1


@pytest.mark.parametrize("version", range(1, FORMAT))
def test_a_run_of_an_earlier_version_is_refused_before_anything_is_prepared(calibrated, tmp_path, version):
    plan = make(experiment(), Budget.parse("1cpu-hours"), 1)
    start(tmp_path, plan)
    path = tmp_path / "ledger.jsonl"
    path.write_text(path.read_text().replace(f'"format":{FORMAT}', f'"format":{version}'))
    prepared: list[int] = []
    with pytest.raises(UserError, match=f"earlier version began .format {version}"):
        make(experiment(), plan.budget, 1, run_dir=tmp_path, prepare=lambda: prepared.append(1))
    assert not prepared
    make(experiment(), plan.budget, 1, run_dir=tmp_path, fresh=True)


def test_what_a_dry_run_measured_is_what_the_run_that_follows_goes_by(calibrated, tmp_path, monkeypatch):
    budget = Budget.parse("1gpu-hours")
    make(experiment(), budget, 1, run_dir=tmp_path, facts=H100)
    assert not list(tmp_path.iterdir())
    planned = make(experiment(), budget, 1, run_dir=tmp_path, facts=H100, keep=True)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    calibrated.clear()
    monkeypatch.setattr(calibrating, "calibrate", None)
    assert make(experiment(), budget, 1, run_dir=tmp_path, facts=H100) == planned
    pinned = make(experiment(epochs=planned.epochs), budget, 1, run_dir=tmp_path, facts=H100)
    assert (pinned.share, pinned.calibration_seconds) == (planned.share, CALIBRATING)
    larger = make(experiment(), Budget.parse("2gpu-hours"), 1, run_dir=tmp_path, facts=H100)
    assert larger.calibration == planned.calibration


@pytest.mark.parametrize(
    "change",
    [
        {"asked": experiment(settings={"seconds": 0.7})},
        {"facts": T4},
        {"facts": H100 | {"versions": {"torch": "2.12.0"}}},
        {"rate": 0.5},
        {"fresh": True},
        {"damage": b"{"},
        {"damage": b"[]"},
        {"damage": b""},
        {"damage": b'{"depends_on": null}'},
    ],
)
def test_a_calibration_that_is_not_of_the_same_experiment_and_machine_is_made_anew(calibrated, tmp_path, change):
    budget, options = Budget.parse("1gpu-hours"), {"run_dir": tmp_path, "facts": H100, "rate": 1.0}
    make(experiment(), budget, 1, **options, keep=True)
    calibrated.clear()
    if (damage := change.pop("damage", None)) is not None:
        (tmp_path / "calibration.json").write_bytes(damage)
    make(change.pop("asked", experiment()), budget, 1, **(options | change))
    assert len(calibrated) == 1


def test_a_kept_calibration_with_figures_that_are_none_is_made_anew(calibrated, tmp_path):
    budget, options = Budget.parse("1gpu-hours"), {"run_dir": tmp_path, "facts": H100}
    make(experiment(), budget, 1, **options, keep=True)
    content = json.loads((tmp_path / "calibration.json").read_text())
    for wrong in ("fast", None, math.nan, math.inf, -1.0):
        calibrated.clear()
        content["calibration"]["byol"]["epoch"] = wrong
        (tmp_path / "calibration.json").write_text(json.dumps(content))
        make(experiment(), budget, 1, **options)
        assert len(calibrated) == 1
    del content["calibration"]["byol"]
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    make(experiment(), budget, 1, **options)
    assert len(calibrated) == 2


@pytest.mark.parametrize(("rate", "use"), [(1 / 2, None), (1 / 3, "--gpus-per-trial 0.5"), (1 / 4, "0.5")])
def test_trials_that_do_not_fit_together_into_a_gpus_memory_are_refused(calibrated, tmp_path, monkeypatch, rate, use):
    def with_memory(experiment, calibrate=calibrating.calibrate):
        memory = {"byol": 30 * 2**30, "simclr": 5 * 2**30, "supervised": 2**30}
        return calibrate(experiment) | {"memory": memory, "device_memory": 80 * 2**30}

    monkeypatch.setattr(calibrating, "calibrate", with_memory)
    options = {"rate": rate, "run_dir": tmp_path, "keep": True}
    if use is None:
        make(experiment(), Budget.parse("1gpu-hours"), 8, **options)
        return
    with pytest.raises(UserError, match="trials of byol take") as error:
        make(experiment(), Budget.parse("1gpu-hours"), 8, **options)
    assert str(error.value) == (
        f"{round(1 / rate)} trials of byol take {round(1 / rate)} x 30.0 GiB on a GPU that has 80.0; "
        "use --gpus-per-trial 0.5"
    )
    assert not list(tmp_path.iterdir())
    make(experiment(), Budget.parse("1gpu-hours"), 2, rate=1.0)  # alone each fits


def test_a_plugin_that_cannot_be_imported_is_told_in_one_line(calibrated, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_plugin.py").write_text("1 +")
    with pytest.raises(
        UserError, match=r"searcher 'broken_plugin:f' cannot be imported \(SyntaxError.*use prior, tpe, random, none"
    ):
        make(experiment(searcher="broken_plugin:f"), Budget.parse("1cpu-hours"), slots=2)


def test_a_run_that_is_calibrated_anew_keeps_the_choices_that_it_began_with(calibrated, tmp_path):
    plan = dataclasses.replace(make(experiment(), Budget.parse("1gpu-hours"), 1), choices={"byol": {"heads": [1]}})
    start(tmp_path, plan)
    session(tmp_path, H100)
    calibrated.clear()
    assert make(experiment(), plan.budget, 1, run_dir=tmp_path, facts=T4).choices == plan.choices
    assert len(calibrated) == 1


def test_on_a_device_with_more_memory_a_run_keeps_the_halves_and_on_one_with_less_it_adds_some(calibrated, tmp_path):
    plan = dataclasses.replace(make(experiment(), Budget.parse("1gpu-hours"), 1), halved=["byol"])
    start(tmp_path, plan)
    session(tmp_path, H100)
    with pytest.MonkeyPatch.context() as patch:
        assert make(experiment(), plan.budget, 1, run_dir=tmp_path, facts=T4).halved == ["byol"]
        calibrate = calibrating.calibrate
        patch.setattr(calibrating, "calibrate", lambda experiment: calibrate(experiment) | {"halved": ["moco"]})
        assert make(experiment(), plan.budget, 1, run_dir=tmp_path, facts=T4).halved == ["byol", "moco"]


def judged_by(budget: float, **seconds: float) -> Plan:
    """Of two methods and the baselines, with protocols that take these seconds an encoder."""
    names = ("a", "b", "random", "supervised")
    calibration = {name: Costs(1.0, 0.1, protocols=seconds) for name in names}
    spaces = {name: Space(name) for name in names[:2]}
    asked = Experiment(spaces, FAKE, NoSettings(), baselines=names[2:], protocols=tuple(seconds))
    return Plan(asked, Budget("cpu", budget), 2, 1.0, 1, calibration, 0.0, 1.0)


def test_protocols_that_nobody_asks_for_by_name_take_a_tenth_of_the_budget_each_at_most():
    plan = judged_by(1000.0, linear=1.0, few=5.0, finetune=8.0)
    # Of two methods winner and recipe with three seeds each, and of the baselines three seeds; `few` judges
    # none with labels, `finetune` no untrained network.
    costs = {"linear": 18 * 1.0, "few": 15 * 5.0, "finetune": 15 * 8.0}
    assert {name: plan.judging_all(name) for name in costs} == costs
    chosen = planning._affordable(plan, optional=True)
    assert chosen.experiment.protocols == ("linear", "few")
    assert chosen.dear == {"finetune": 120.0}
    assert planning._affordable(plan, optional=False) == plan
    told = describe(chosen)
    assert "judged by linear (18.0 s), few (75.0 s)." in told
    assert "too small for them: finetune (2.0 min); --evaluate linear,few,finetune asks for all" in told


@given(st.floats(5, 200), st.floats(0, 20), st.floats(0, 20))
@settings(max_examples=50)
def test_protocols_that_nobody_asks_for_by_name_never_make_a_budget_too_small(budget, linear, few):
    plan = judged_by(budget, linear=linear, few=few)
    without = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, protocols=()))
    chosen = planning._affordable(plan, optional=True)
    if without.share >= without.least_share():
        planning._check_share(chosen)
    else:
        assert not chosen.experiment.protocols


def test_a_run_whose_calibration_knows_nothing_of_a_protocol_is_calibrated_anew(calibrated, tmp_path):
    start(tmp_path, make(experiment(), Budget("cpu", 3600), 2, run_dir=tmp_path))
    make(experiment(), Budget("cpu", 3600), 2, run_dir=tmp_path)
    assert len(calibrated) == 1
    make(experiment(protocols=("linear",)), Budget("cpu", 3600), 2, run_dir=tmp_path)
    assert len(calibrated) == 2
    assert calibrated[-1].spaces
