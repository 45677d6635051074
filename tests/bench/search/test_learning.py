"""What a run learns from earlier ones."""

import dataclasses
import json
import os
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.search.experiment import check_identity
from bench.search.fold import Fold
from bench.search.learning import MOST, learn
from bench.search.prior import CENTRES
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, Space, simulate
from tests.bench.search.driving import Cube, peak, replayed, slow, small

SETTINGS = {"dataset": "cifar10", "dataset_fingerprint": "f", "image_size": 32, "encoder": "resnet18"}
HERE = {"method00": Space("method00")}


def write(folder, events, **settings):
    """A run's ledger with these events, of trainings with these settings."""
    folder.mkdir(parents=True, exist_ok=True)
    events = [dict(event) for event in events]
    events[0]["settings"] = events[0]["settings"] | SETTINGS | settings
    (folder / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def run(trials=20, at=0.8, methods=1, **asked):
    """The events of a run whose best configuration is `at`."""
    plan, _ = small(methods=methods, trials=trials, scheduler="full", **asked)
    ledger = MemoryLedger(keep=True)
    simulate(plan, peak(at), ledger)
    return ledger.events


@pytest.fixture
def earlier(tmp_path):
    return write(tmp_path / "earlier", run())


def taught(*folders, spaces=HERE, settings=SETTINGS, before=None, run_dir="/nowhere/run"):
    return learn(folders, spaces, settings, before or Fold(), run_dir)


def best(events, at=0.8):
    tried = [e["hyperparameters"] for e in events if e["event"] == "suggested" and e["stage"] == "search"]
    return sorted((each for each in tried if each != {"x": 0.5}), key=lambda each: abs(each["x"] - at)), len(tried)


def test_the_best_configurations_of_a_run_are_learnt_and_told(tmp_path):
    events = run()
    ranked, count = best(events)
    folder = write(tmp_path / "earlier", events)
    learnt, told = taught(folder, spaces=HERE | {"method01": Space("method01")})
    assert learnt.configurations == {"method00": ranked[:MOST]}
    assert told == [
        f"method00 begins with the 3 best of {count} configurations in {folder}.",
        "method01 has no earlier run to learn from.",
    ]


def test_in_what_the_run_differs_is_told(tmp_path):
    folder = write(tmp_path / "earlier", run(), dataset="shapes", image_size=16, encoder="resnet8")
    assert f"in {folder} (on shapes at 16 px with resnet8)." in taught(folder)[1][0]
    folder = write(tmp_path / "earlier", run(), dataset_fingerprint="g")
    assert f"in {folder} (on other images called cifar10)." in taught(folder)[1][0]


def test_of_several_runs_each_gives_its_best_in_turn(tmp_path):
    first, second = run(at=0.8), run(at=0.1, seed=1)
    folders = [write(tmp_path / "first", first), write(tmp_path / "second", second)]
    learnt, (told,) = taught(*folders, folders[0])
    here, there = best(first, 0.8)[0], best(second, 0.1)[0]
    assert learnt.configurations == {"method00": [here[0], there[0], here[1]]}
    assert learnt.sources == tuple(map(str, folders))
    assert re.search(rf"the 2 best of \d+ configurations in {folders[0]} and the best of \d+ .* in {folders[1]}", told)


def test_what_raced_comes_before_what_was_trained_once(tmp_path):
    events = [each for each in run() if each.get("stage") != "race" and "-r" not in each.get("uid", "")]
    (lucky, better, *_), _ = best(events)
    uid = next(e["uid"] for e in events if e.get("hyperparameters") == better and e.get("stage") == "search")
    suggested = next(e for e in events if e.get("uid") == uid and e["event"] == "suggested")
    reports = [e for e in events if e.get("uid") == uid and e["event"] == "reported"]
    own = {"uid": f"{uid}-race-1"}
    events += [suggested | own | {"stage": "race", "of": uid, "parameters": None, "seed": 77}]
    events += [report | own for report in reports]
    learnt, _ = taught(write(tmp_path / "earlier", events))
    assert learnt.configurations["method00"][:2] == [better, lucky]


def test_what_lies_outside_the_search_space_is_left_out(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Lower(Space):
        def proposes(self, hyperparameters):
            return hyperparameters["x"] <= 0.6

    learnt, _ = taught(write(tmp_path / "earlier", run()), spaces={"method00": Lower("method00")})
    assert all(each["x"] <= 0.6 for each in learnt.configurations["method00"])
    with pytest.raises(UserError, match="no trial of method00 is complete within the search spaces of now"):
        taught(write(tmp_path / "only", run()[:3]))


def test_a_run_begins_with_what_was_learnt_and_its_prior_is_about_it_too(earlier):
    learnt, _ = taught(earlier)
    taught_ = learnt.configurations["method00"]
    plan, curve = small(methods=1, trials=20, searcher="prior", published=0.2)
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, learnt=learnt))
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, curve, ledger)
    begun = [trial.hyperparameters for trial in fold.of("method00", "search")]
    assert begun[:5] == [{"x": 0.2}, {"x": 0.5}, *taught_]
    assert len({each["x"] for each in begun}) == len(begun)
    assert [trial.recipe for trial in fold.of("method00", "search")][2:5] == [None] * 3
    search = Search(plan, MemoryLedger(), clock=lambda: 0.0)
    centres = search.proposals.studies.study("method00").user_attrs[CENTRES]
    assert centres == [{"x": 0.5}, *taught_]


@pytest.mark.parametrize("searcher", ["prior", "tpe"])
def test_a_run_that_has_learnt_continues_with_what_it_learnt_though_the_other_run_is_gone(earlier, searcher):
    learnt, _ = taught(earlier)
    plan, curve = small(methods=1, slots=1, trials=30, searcher=searcher)
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, learnt=learnt))
    whole = MemoryLedger(keep=True)
    simulate(plan, curve, whole)
    proposed = [e["parameters"] for e in whole.events if e["event"] == "suggested" and e["stage"] == "search"]
    (earlier / "ledger.jsonl").unlink()
    ends = [i for i, e in enumerate(whole.events) if e["event"] == "reported" and e["decision"] != "continue"]
    for kept in (2, ends[1] + 1, ends[len(ends) // 2] + 1):
        begun = json.loads(json.dumps(whole.events[:kept]))
        again, told = taught(earlier, before=replayed(begun).fold)
        assert again == learnt
        assert told == ["method00 began with 3 configurations of earlier runs."]
        ledger = replayed(begun)
        experiment = dataclasses.replace(plan.experiment, learnt=again)
        simulate(dataclasses.replace(plan, experiment=experiment), curve, ledger)
        found = [e["parameters"] for e in ledger.events if e["event"] == "suggested" and e["stage"] == "search"]
        assert found == proposed


def test_what_was_learnt_from_identifies_a_run_and_one_that_learnt_nothing_is_as_before(earlier, tmp_path):
    plan, _ = small(methods=1)
    nothing = plan.experiment
    assert not {"learn_from", "learnt"} & nothing.identity().keys()
    learning = dataclasses.replace(nothing, learnt=taught(earlier)[0])
    fold = Fold()
    fold.plan = {"epochs": 9}
    for there, here, named in (
        (learning, nothing, f"learn_from {earlier}, not None"),
        (nothing, learning, f"learn_from None, not {earlier}"),
    ):
        fold.settings = there.identity()
        check_identity(fold, there, plan.budget, tmp_path)
        with pytest.raises(UserError) as caught:
            check_identity(fold, here, plan.budget, tmp_path)
        assert f"holds a run with {named[:40]}" in str(caught.value)


def test_what_the_recipe_is_by_now_is_not_learnt_again():
    plan, _ = small(methods=1, published=1.5)
    given = [{"x": 0.5}, {"x": 1.5}, {"x": 0.75}, {"x": 0.75}, {"x": 0.25}]
    learnt = dataclasses.replace(plan.experiment.learnt, sources=("a",), configurations={"method00": given})
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, learnt=learnt))
    studies = Search(plan, MemoryLedger(), clock=lambda: 0.0).proposals.studies
    assert studies.learnt == {"method00": [{"x": 0.75}, {"x": 0.25}]}


def no_folder(folder):
    return folder / "missing"


def a_file(folder):
    (folder / "file").write_text("")
    return folder / "file"


def no_ledger(folder):
    return folder


def no_event(folder):
    (folder / "ledger.jsonl").write_text("")
    return folder


def a_folder_as_ledger(folder):
    (folder / "ledger.jsonl").mkdir()
    return folder


def damaged(folder):
    write(folder, run())
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_bytes(b"".join([lines[0], b"\xff\x00{", *lines[1:]]))
    return folder


def of_a_later_version(folder):
    events = run()
    events[0]["format"] = 99
    return write(folder, events)


def no_event_of_a_run(folder):
    return write(folder, [*run(), {"event": "reported", "time": 0, "uid": "nobody"}])


def other_methods(folder):
    events = json.loads(json.dumps(run()).replace("method00", "barlow"))
    return write(folder, events)


def other_hyperparameters(folder):
    events = json.loads(json.dumps(run()).replace('"x"', '"y"'))
    return write(folder, events)


def nothing_complete(folder):
    return write(folder, [event for event in run() if event["event"] != "reported"])


def this_very_run(folder):
    write(folder / "run", run())
    os.symlink(folder / "run", folder / "link")
    return folder / "link"


def with_a_long_name(folder):
    return folder / ("x" * 300)


BAD = {
    no_folder: r"there is no run in .*missing; --learn-from takes the folder of one, with its ledger.jsonl",
    a_file: r"there is no run in .*file; --learn-from takes",
    no_ledger: r"there is no run in ",
    no_event: r"there is no run in ",
    a_folder_as_ledger: r"there is no run in ",
    damaged: r"nothing can be learnt: .*ledger.jsonl: line 2 is damaged; restore the file, or leave out --learn-from",
    of_a_later_version: r"nothing can be learnt: .* has format 99, this version reads 1 and .* and 6; restore",
    no_event_of_a_run: r"nothing can be learnt: .*: line \d+ is no event of a run",
    other_methods: r"has none of method00, but barlow; leave it out of --learn-from",
    other_hyperparameters: r"has other hyper-parameters for method00 \(x, y\); leave it out",
    nothing_complete: r"no trial of method00 is complete",
    this_very_run: r"is this very run, which continues by itself; name an earlier one",
    with_a_long_name: r"nothing can be learnt: .*File name too long",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_cannot_be_learnt_from_is_refused_in_one_line(make, tmp_path):
    folder = make(tmp_path)
    with pytest.raises(UserError, match=BAD[make]) as caught:
        taught(folder, run_dir=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert "--fresh" not in str(caught.value)


@slow
@given(st.randoms(use_true_random=False))
def test_a_ledger_that_was_tampered_with_is_learnt_from_or_refused(tmp_path_factory, chance: random.Random):
    folder = write(tmp_path_factory.mktemp("run"), EVENTS)
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    for _ in range(chance.randint(1, 3)):
        event = json.loads(lines[(at := chance.randrange(len(lines)))])
        event[chance.choice(sorted(event))] = chance.choice([None, [], {}, "x", -1, {"x": None}, {"epoch": 1}])
        lines[at] = json.dumps(event)
    (folder / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    try:
        learnt, _ = taught(folder)
    except UserError:
        return
    assert all(space.proposes(each) for m, space in HERE.items() for each in learnt.configurations.get(m, ()))


EVENTS = run(trials=6)


def test_a_run_with_several_parameters_teaches_them_together(tmp_path):
    plan, _ = small(methods=1, trials=20, scheduler="full")
    cube = {"method00": Cube("method00")}
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, spaces=cube))
    ledger = MemoryLedger(keep=True)
    fold, _ = simulate(plan, lambda trial, epoch: (1 - sum(trial.hyperparameters.values()) / 3, 1.0), ledger)
    learnt, _ = taught(write(tmp_path / "earlier", ledger.events), spaces=cube)
    lowest = sorted((sum(t.hyperparameters.values()), t.uid) for t in fold.of("method00", "search") if t.number)
    assert learnt.configurations["method00"] == [fold.trials[uid].hyperparameters for _, uid in lowest[:MOST]]
