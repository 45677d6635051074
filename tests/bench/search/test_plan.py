import dataclasses
import json
import math
import subprocess
import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.execution import calibration as calibrating
from bench.execution import interpreter
from bench.execution.factory import Calibration
from bench.search import planning
from bench.search.budget import Budget
from bench.search.description import describe
from bench.search.events import FORMAT
from bench.search.experiment import Experiment
from bench.search.fold import read
from bench.search.ledger import Ledger
from bench.search.plan import Costs, Plan
from bench.search.planning import EPOCHS, mixture
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, NoSettings, Space
from bench.search.space import load
from tests.bench.fake_trainer import Fake, Settings

FAKE = "tests.bench.fake_trainer:Fake"
CALIBRATING = 7.0
"""Seconds that a calibration takes in these tests."""
SPACES = {method: Space(method) for method in ("simclr", "byol", "moco")}


def experiment(**values):
    values = {"spaces": SPACES, "factory": FAKE, "settings": {"seconds": 0.5}} | values
    settings = Settings(values.pop("settings"), values.pop("local", {}))
    return Experiment(settings=settings, **values)


def make(*asked, **options):
    return planning.make(*asked, **options, calibrate=lambda experiment: calibrating.calibrate(experiment))


@pytest.fixture
def calibrated(monkeypatch):
    """Calibration as the fake trainer would give it, without its process."""
    calls = []

    now = [100.0]

    def calibrate(experiment):
        calls.append(experiment)
        now[0] += CALIBRATING
        names = [*experiment.spaces, *experiment.baselines]
        seconds = {name: {"epoch": 0.5, "evaluation": 0.1, "start": 0.0} for name in names}
        return {"calibration": seconds, "startup": 2.0, "choices": {}, "halved": []}

    monkeypatch.setattr(planning, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(calibrating, "calibrate", calibrate)
    return calls


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


def test_the_budget_is_shared_equally_after_baselines_start_up_and_calibration(calibrated):
    plan = make(experiment(), Budget.parse("1cpu-hours"), slots=2)
    assert plan.calibration_seconds == CALIBRATING
    whole = len(SPACES) * plan.share + plan.allowance + plan.calibration_seconds
    assert whole == pytest.approx(3600)
    training = plan.cost("supervised", "baseline", 0, plan.epochs)
    evaluations = 4 * plan.cost("random", "baseline", 0, 1)  # 3 seeds, and pixels has one
    assert plan.allowance == pytest.approx(3 * training + evaluations + 2 * 2.0)


def test_a_budget_too_small_is_refused_and_the_smallest_that_would_do_does(calibrated, tmp_path):
    with pytest.raises(UserError, match=r"--budget (\S+) would do") as error:
        make(experiment(epochs=20), Budget.parse("1cpu-minutes"), slots=2, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    enough = str(error.value).split("--budget ")[1].split()[0]
    plan = make(experiment(epochs=20), Budget.parse(enough), slots=2)
    assert plan.epochs == 20
    assert plan.share >= plan.least_share()


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
    each = seeds * (epochs * epoch * 10 / 9 + evaluation)
    assert plan.configurations("m") == (3 if two and 3 * each <= plan.share / 2 else 2)
    assert plan.reserve("m") == pytest.approx(plan.configurations("m") * each)
    training = plan.training("m")
    assert plan.least_share() == pytest.approx((2 if two else 1) * training + 2 * each)
    assert plan.trials("m") >= (2 if two else 1)


def test_the_plan_says_which_methods_have_two_recipes_and_which_have_no_time_to_confirm_ours(calibrated):
    spaces = SPACES | {"byol": Space("byol", published={"x": 0.2})}
    enough, short = (make(experiment(epochs=9, spaces=spaces), Budget.parse(f"{n}cpu-minutes"), 2) for n in (30, 4))
    assert "trial 1 is ours, where ours is another one: byol." in describe(enough)
    assert "No time is kept back" not in describe(enough)
    assert "No time is kept back to confirm ours of byol" in describe(short)
    assert "ours" not in describe(make(experiment(epochs=9), Budget.parse("30cpu-minutes"), 2))


def test_no_budget_is_suggested_that_would_itself_be_refused(calibrated):
    with pytest.raises(UserError, match="fewer --epochs or --seeds would do"):
        make(experiment(epochs=10**5, seeds=10**6), Budget.parse("1cpu-hours"), slots=2)


def test_what_beginning_a_trial_takes_is_part_of_its_first_epoch():
    calibration = {"m": Costs(2.0, 1.0, 5.0)}
    asked = Experiment({"m": Space("m")}, FAKE, NoSettings(), baselines=(), seeds=1, scheduler="full")
    plan = Plan(asked, Budget("gpu", 1000.0), 1, 0.5, 10, calibration, 0.0, 0.0)
    assert plan.training("m") == pytest.approx(0.5 * (5 + 20 + 1))
    assert plan.cost("m", "search", 0, 1) + plan.cost("m", "search", 1, 10) == pytest.approx(plan.training("m"))
    assert plan.confirming("m") == pytest.approx(2 * 0.5 * (5 + 20 * 10 / 9 + 1))


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


def start(run_dir, plan):
    ledger = Ledger(run_dir)
    ledger.append("run", format=FORMAT, settings=plan.experiment.identity(), plan=plan.to_json())
    ledger.close()


def test_a_run_that_continues_keeps_its_epochs_and_calibration(calibrated, tmp_path):
    first = make(experiment(), Budget.parse("10cpu-minutes"), slots=2, run_dir=tmp_path)
    start(tmp_path, first)
    second = make(experiment(), Budget.parse("40cpu-minutes"), slots=2, run_dir=tmp_path)
    assert len(calibrated) == 1
    assert second.epochs == first.epochs
    assert second.share > 3 * first.share
    anew = make(experiment(), Budget.parse("40cpu-minutes"), slots=2, run_dir=tmp_path, fresh=True)
    assert anew.epochs > first.epochs


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spaces": {"simclr": Space("simclr")}}, "methods simclr,byol,moco"),
        ({"spaces": SPACES | {"byol": Space("byol", hash="other")}}, "search_spaces of byol"),
        ({"settings": {"seconds": 0.7}}, "seconds 0.5, not 0.7"),
        ({"epochs": 77}, "epochs None, not 77"),
        ({"seed": 5}, "seed 0, not 5"),
        ({"scheduler": "full"}, "scheduler asha, not full"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused_and_the_difference_named(calibrated, tmp_path, change, named):
    start(tmp_path, make(experiment(), Budget.parse("10cpu-minutes"), slots=2))
    with pytest.raises(UserError, match="--fresh") as error:
        make(experiment(**change), Budget.parse("10cpu-minutes"), slots=2, run_dir=tmp_path)
    assert named in str(error.value)


def test_a_run_counts_time_of_one_device_only(calibrated, tmp_path):
    plan = make(experiment(epochs=4), Budget.parse("10cpu-minutes"), slots=2)
    start(tmp_path, plan)
    ledger = Ledger(tmp_path)
    ledger.append("session", number=0, budget={"device": "cpu", "seconds": 600}, slots=2, rate=1.0, share=1, facts={})
    ledger.close()
    make(experiment(epochs=4), Budget.parse("20cpu-minutes"), slots=2, run_dir=tmp_path)
    with pytest.raises(UserError, match=r"a budget in time of cpu, not gpu.*--fresh"):
        make(experiment(epochs=4), Budget.parse("1gpu-hours"), slots=1, run_dir=tmp_path)


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


H100 = {"device": "NVIDIA H100 in bfloat16", "versions": {"torch": "2.11.0", "ray": "2.60"}}
T4 = {"device": "Tesla T4 in float32", "versions": {"torch": "2.11.0", "ray": "2.60"}}
NEWER = {"device": "Tesla T4 in float32", "versions": {"torch": "2.12.0", "ray": "2.60"}}


def session(run_dir, facts, **values):
    """Adds a session to the run in the folder, with the `plan` that it calibrated anew (`driver.run`)."""
    ledger = Ledger(run_dir)
    budget = {"device": "gpu", "seconds": 3600}
    number = len(ledger.fold.sessions)
    ledger.append("session", number=number, budget=budget, slots=1, rate=1.0, share=1.0, facts=facts, **values)
    ledger.close()


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


def test_the_description_says_how_to_pin_epochs_that_were_chosen_and_only_those(calibrated):
    chosen = make(experiment(), Budget.parse("1cpu-hours"), 2)
    assert f"{chosen.epochs} epochs a training (--epochs {chosen.epochs} pins this)" in describe(chosen)
    assert "pins" not in describe(make(experiment(epochs=chosen.epochs), Budget.parse("1cpu-hours"), 2))


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


def test_nothing_in_the_working_directory_is_taken_for_a_module_of_the_calibration(tmp_path, monkeypatch):
    for name in ("bench/__init__.py", "algorithms/__init__.py", "queue.py", "profile.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('raise SystemExit("a file of the user was imported")')
    (tmp_path / "mine.py").write_text(
        "from bench.execution.factory import Calibration\nfrom tests.bench.fake_trainer import Fake\n"
        "class Mine(Fake):\n    calibrate = lambda self, job: Calibration(1.0, 0.0)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` and a PYTHONPATH with an empty entry do
    monkeypatch.syspath_prepend("")
    assert calibrating.calibrate(experiment())["calibration"]["byol"]["epoch"] == 0.5
    assert calibrating.calibrate(experiment(factory="mine:Mine"))["calibration"]["byol"]["epoch"] == 1.0


def test_modules_are_found_where_the_project_lies_when_it_is_called_there(monkeypatch):
    project = str(Path(calibrating.__file__).resolve().parents[2])
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", ["/elsewhere", project, "/usr/lib"])
    assert interpreter.import_path() == f"/elsewhere:{project}:/usr/lib"


def test_a_plugin_that_cannot_be_imported_is_told_in_one_line(calibrated, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_plugin.py").write_text("1 +")
    with pytest.raises(
        UserError, match=r"searcher 'broken_plugin:f' cannot be imported \(SyntaxError.*use tpe, random"
    ):
        make(experiment(searcher="broken_plugin:f"), Budget.parse("1cpu-hours"), slots=2)


def test_a_calibration_that_hangs_is_ended(monkeypatch):
    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("calibration", timeout)

    monkeypatch.setattr(calibrating.subprocess, "run", hang)
    with pytest.raises(UserError, match=r"calibration took more than \d.*; the device may hang"):
        calibrating.calibrate(experiment())


def test_folders_and_threads_may_change_between_sessions(calibrated, tmp_path):
    start(tmp_path, make(experiment(local={"folder": "/a"}), Budget.parse("10cpu-minutes"), slots=2))
    make(experiment(local={"folder": "/b"}), Budget.parse("10cpu-minutes"), slots=4, run_dir=tmp_path)


def test_the_description_has_slots_costs_trials_and_the_end(calibrated):
    plan = make(experiment(), Budget.parse("1cpu-hours"), slots=2)
    text = describe(plan)
    half = f"{(3600 - CALIBRATING) / 2 / 60:.1f} min"
    for part in ("2 slots", f"{plan.epochs} epochs", half, "byol", "0.5", "trials", "It ends in about"):
        assert part in text


class Choices(Space):
    """`x` and two choices, of which some train the same (`Heads` below)."""

    choices: ClassVar = {"heads": [1, 2, 3, 4], "queue": [8, 16, 32]}

    def narrowed(self, choices):
        return dataclasses.replace(self, hash=f"{self.hash} of {choices}")


class Heads(Fake):
    """At most two heads, of a halved trial three, and the queue that the settings name, if any."""

    def calibrate(self, job):
        if self.settings.get("holds half") and not job.halved:
            raise MemoryError
        return Calibration(1.0, 0.0, 5, 7)

    def effective(self, job):
        given, most = job.hyperparameters, 3 if job.halved else 2
        queue = self.settings["queue"] or given["queue"]
        return {"x": given["x"], "heads": min(given["heads"], most), "queue": queue}


def test_choices_that_train_the_same_are_one_before_the_search_and_the_default_stands_for_them(monkeypatch, tmp_path):
    spaces = {
        "simclr": Choices("simclr", defaults={"x": 0.5, "heads": 3, "queue": 8}),
        "byol": Choices("byol", defaults={"x": 0.5, "heads": 1, "queue": 32}),
        "moco": Space("moco"),
    }
    asked = experiment(spaces=spaces, factory="tests.bench.search.test_plan:Heads", settings={"queue": 0}, baselines=())
    found = {"simclr": {"heads": [1, 3]}, "byol": {"heads": [1, 2]}}
    plan = make(asked, Budget.parse("10cpu-minutes"), slots=1)
    assert plan.choices == found
    assert {m: space.hash for m, space in plan.spaces.items()} == {
        "simclr": "simulated of {'heads': [1, 3]}",
        "byol": "simulated of {'heads': [1, 2]}",
        "moco": "simulated",
    }
    assert plan.calibration["byol"].to_json().keys() == {"epoch", "evaluation", "start"}
    monkeypatch.setattr(calibrating, "calibrate", None)  # a run that continues asks no more
    start(tmp_path, plan)
    assert make(asked, Budget.parse("20cpu-minutes"), slots=1, run_dir=tmp_path).choices == found


def test_a_published_recipe_that_takes_longer_than_ours_is_planned_with_its_own_time(monkeypatch, tmp_path):
    both = Space("simclr", defaults={"x": 0.5}, published={"x": 0.5, "slowness": 4})
    asked = experiment(spaces={"simclr": both, "moco": Space("moco")}, factory=FAKE, baselines=(), epochs=4)
    budget = Budget.parse("10cpu-minutes")
    plan = make(asked, budget, slots=1, run_dir=tmp_path, keep=True)
    assert plan.calibration["simclr"].published == pytest.approx(4 * plan.calibration["simclr"].epoch)
    assert plan.calibration["moco"].published is None
    assert (plan.pace("simclr"), plan.pace("moco")) == (pytest.approx(4), 1)
    one = plan.cost("simclr", "confirm", 0, 4)
    assert plan.confirming("simclr") == pytest.approx(3 * (1 + 4) * one)
    assert plan.trying("simclr") == pytest.approx((1 + 4) * plan.training("simclr"))
    monkeypatch.setattr(calibrating, "calibrate", None)  # what was kept has it too
    assert make(asked, budget, slots=1, run_dir=tmp_path).calibration == plan.calibration


def test_a_run_that_is_calibrated_anew_keeps_the_choices_that_it_began_with(calibrated, tmp_path):
    plan = dataclasses.replace(make(experiment(), Budget.parse("1gpu-hours"), 1), choices={"byol": {"heads": [1]}})
    start(tmp_path, plan)
    session(tmp_path, H100)
    calibrated.clear()
    assert make(experiment(), plan.budget, 1, run_dir=tmp_path, facts=T4).choices == plan.choices
    assert len(calibrated) == 1


def test_a_search_proposes_the_choices_that_are_left():
    asked = Experiment({"simsiam": load("simsiam", 32)}, FAKE, NoSettings(), baselines=(), searcher="random")
    calibration = {"simsiam": Costs(1.0, 0.0)}
    left = {"simsiam": {"predictor_hidden": [128, 512]}}
    plan = Plan(asked, Budget("gpu", 1e6), 20, 1.0, 10, calibration, 0.0, 0.0, left)
    search = Search(plan, MemoryLedger())
    proposed = [search.next().job.hyperparameters["predictor_hidden"] for _ in range(20)]
    assert set(proposed) == {128, 512}


def test_a_choice_of_which_no_value_makes_a_difference_is_left_with_the_default():
    space = Choices("byol", defaults={"x": 0.5, "heads": 1, "queue": 16})
    local = {"queue": 4}
    asked = experiment(
        spaces={"byol": space}, factory="tests.bench.search.test_plan:Heads", settings=local, baselines=()
    )
    assert calibrating.calibrate(asked)["choices"] == {"byol": {"heads": [1, 2], "queue": [16]}}


def test_the_choices_of_a_method_with_half_the_batch_are_those_that_differ_with_it():
    space = Choices("byol", defaults={"x": 0.5, "heads": 1, "queue": 8})
    own = {"queue": 0, "holds half": True}
    asked = experiment(spaces={"byol": space}, factory="tests.bench.search.test_plan:Heads", settings=own, baselines=())
    found = calibrating.calibrate(asked)
    assert found["halved"] == ["byol"]
    assert found["choices"] == {"byol": {"heads": [1, 2, 3]}}


def with_batches(**sizes):
    """Methods with these batches, in a memory that holds 64 images."""
    spaces = {method: Space(method, defaults={"x": 0.5, "batch_size": size}) for method, size in sizes.items()}
    return experiment(spaces=spaces, settings={"seconds": 0.5, "holds": 64}, baselines=("random",))


def test_a_method_whose_batch_memory_does_not_hold_is_planned_with_half_of_it_and_keeps_it(tmp_path, monkeypatch):
    asked, budget = with_batches(byol=128, moco=64), Budget.parse("1gpu-hours")
    options = {"run_dir": tmp_path, "facts": H100}
    planned = make(asked, budget, 1, **options, keep=True)
    assert planned.halved == ["byol"]
    assert planned.calibration["byol"].epoch == 0.5
    assert "With half the batch, as memory does not hold the whole: byol." in describe(planned).splitlines()
    monkeypatch.setattr(calibrating, "calibrate", None)
    assert make(asked, budget, 1, **options) == planned  # by calibration.json
    start(tmp_path, planned)
    session(tmp_path, H100)
    assert make(asked, budget, 1, **options).halved == ["byol"]
    search = Search(planned, types.SimpleNamespace(fold=read(tmp_path / "ledger.jsonl"), append=None))
    assert search.fold.halved == {"byol"}


def test_on_a_device_with_more_memory_a_run_keeps_the_halves_and_on_one_with_less_it_adds_some(calibrated, tmp_path):
    plan = dataclasses.replace(make(experiment(), Budget.parse("1gpu-hours"), 1), halved=["byol"])
    start(tmp_path, plan)
    session(tmp_path, H100)
    with pytest.MonkeyPatch.context() as patch:
        assert make(experiment(), plan.budget, 1, run_dir=tmp_path, facts=T4).halved == ["byol"]
        calibrate = calibrating.calibrate
        patch.setattr(calibrating, "calibrate", lambda experiment: calibrate(experiment) | {"halved": ["moco"]})
        assert make(experiment(), plan.budget, 1, run_dir=tmp_path, facts=T4).halved == ["byol", "moco"]


def test_a_method_of_which_memory_does_not_hold_half_a_batch_ends_the_calibration_in_a_line():
    with pytest.raises(UserError, match=r"^calibration failed: .*out of memory") as error:
        calibrating.calibrate(with_batches(byol=130))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("slots", "rate", "said"), [(4, 1.0, "4 slots (1 trial"), (8, 0.5, "8 slots (2 trials")])
def test_the_description_says_how_many_trials_share_a_gpu(calibrated, slots, rate, said):
    assert f"{said} per GPU)" in describe(make(experiment(), Budget.parse("1gpu-hours"), slots, rate))


def test_calibration_runs_in_a_process_of_its_own_and_tells_what_went_wrong():
    found = calibrating.calibrate(experiment(settings={"seconds": 0.5, "start": 0.1, "memory": 2**30}))
    calibration = found["calibration"]
    assert calibration["byol"] == {"epoch": 0.5, "evaluation": 0.0, "start": pytest.approx(0.1, abs=10)}
    assert calibration["byol"]["start"] >= 0.1
    assert set(calibration) == {*SPACES, "pixels", "random", "supervised"}
    assert found["startup"] >= 0
    assert not found["choices"]
    assert not found["halved"]
    assert found["memory"] == dict.fromkeys(calibration, 2**30)
    assert found["device_memory"] == 2**33
    with pytest.raises(UserError, match=r"calibration failed: .*no_such_module"):
        calibrating.calibrate(experiment(factory="no_such_module:Factory"))
