"""Every check of `ssl-bench verify` finds what it is there to find."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.report import bundle, results
from bench.report.rows import rows
from bench.search.audit import audit
from tests.bench import older_runs, simulated_run
from tests.bench.commands.answering import answer_of, check_refusal

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def events():
    return simulated_run.events()


@pytest.fixture(scope="module")
def run(events, tmp_path_factory):
    return simulated_run.write(tmp_path_factory.mktemp("verify") / "a-run", events)


def wrong(events):
    return {check.name: check.wrong for check in audit(events) if check.wrong}


def find(events, **wanted):
    """The first event that has all of this."""
    return next(event for event in events if wanted.items() <= event.items())


def test_a_run_as_it_is_is_right_in_a_folder_and_in_a_bundle(run, tmp_path):
    status, out, _ = answer_of(["verify", str(run)])
    assert status == 0, out
    assert all(f"ok     {name}:" in out for name in ("lines", "trials", "decisions", "winners", "budget", "Parquet"))
    packed = bundle.write(run, tmp_path / "a.zip")
    status, out, _ = answer_of(["verify", str(packed)])
    assert status == 0, out
    assert "ok     environment:" in out
    assert "not checked: figures that were made up and fit together" in out


def test_the_simulated_run_has_what_is_to_be_checked(events):
    decisions = {event["decision"] for event in events if event["event"] == "reported"}
    stages = {event["stage"] for event in events if event["event"] == "suggested"}
    assert {"pruned", "continue", "complete"} <= decisions
    assert {"search", "race", "confirm", "published", "baseline"} <= stages
    assert any("better" in event for event in events)


@pytest.mark.parametrize("seed", range(1, 4))
def test_other_honest_runs_are_right(seed):
    assert wrong(simulated_run.events(methods=seed, seconds=300.0 + 150 * seed, seed=seed)) == {}


def test_an_honest_run_with_a_method_too_dear_for_a_search_is_right_and_says_so():
    told = simulated_run.events(methods=3, dear=8.0)
    begun = {event["uid"] for event in told if event["event"] == "assigned"}
    assert "method00-0000" not in begun
    assert "method00-published-s1" in begun
    checks = audit(told)
    assert {check.name: check.wrong for check in checks if check.wrong} == {}
    assert any("a search of method00 was too dear" in line for check in checks for line in check.untold)


# ---- the ledger ----


def test_a_complete_trial_without_a_figure_to_choose_by_is_named(events):
    changed = copy.deepcopy(events)
    last = find(changed, event="reported", decision="complete", uid="method01-0000")
    del last["report"]["knn_200"]
    assert "method01-0000: it is complete, and its last epoch has no figure to choose by" in wrong(changed)["trials"]


def raised_test_figure(events):
    next(e for e in events if e.get("decision") == "pruned")["report"]["purity_20"] = 0.9


def turned_decision(events):
    find(events, event="reported", decision="pruned")["decision"] = "continue"


def turned_to_pruned(events):
    uid = find(events, event="suggested", stage="search", number=1)["uid"]
    find(events, event="reported", decision="continue", uid=uid)["decision"] = "pruned"


def swapped_winner(events):
    chosen = find(events, event="chosen")
    uids = [e["uid"] for e in events if e["event"] == "reported" and e["decision"] == "complete"]
    chosen["winner"] = next(
        uid
        for uid in uids
        if uid.startswith(f"{chosen['method']}-0") and uid.count("-") == 1 and uid != chosen["winner"]
    )


def another_probability(events):
    next(event for event in events if "better" in event)["better"] -= 0.01


def given_up_for_nothing(events):
    find(events, event="chosen")["reason"] = "its trials fail"


def shortened_held(events):
    find(events, event="reported", decision="complete")["held"] = 0.0
    uid = find(events, event="suggested", stage="confirm")["uid"]
    find(events, event="reported", decision="complete", uid=uid)["held"] -= 5


def hidden_time(events):
    report = find(events, event="reported", decision="complete")["report"]
    report["seconds"] = 1000.0


def spent_too_much(events):
    event = [e for e in events if e["event"] == "reported" and e["decision"] == "complete"][-1]
    event["held"] += 1000


def another_share(events):
    find(events, event="session")["share"] *= 1.01


def another_share_at_the_choice(events):
    find(events, event="chosen")["share"] *= 1.01


def cheaper_calibration(events):
    find(events, event="run")["plan"]["calibration_seconds"] = 0.0


def falling_startup(events):
    found = [event for event in events if event.get("startup")]
    find(events, event="started")["startup"] = 9.0
    (found or [events[-2]])[-1]["startup"] = 1.0


def another_seed(events):
    find(events, event="suggested", stage="confirm")["seed"] += 1


def seeds_of_the_race(events):
    find(events, event="suggested", stage="race")["seed"] += 1


def other_hyperparameters_confirmed(events):
    find(events, event="suggested", stage="confirm")["hyperparameters"] = {"x": 0.123}


def published_recipe_later(events):
    find(events, event="suggested", stage="search", number=1)["published"] = True


def judged_too_often(events):
    find(events, event="suggested", stage="confirm")["evaluate_at"] = [1, 9]


def earlier_figure_of_a_confirmation(events):
    uid = find(events, event="suggested", stage="confirm")["uid"]
    find(events, event="reported", uid=uid, decision="continue")["report"]["knn_200"] = 0.99


def a_fifth_epoch_twice(events):
    place = events.index(find(events, event="reported", decision="continue"))
    events.insert(place, copy.deepcopy(events[place]))


def two_runs(events):
    events.insert(5, copy.deepcopy(events[0]))


def a_session_in_the_middle(events):
    session = find(events, event="session") | {"number": 1}
    events.insert(events.index(find(events, event="started")) + 1, session)


def better_at_a_milestone(events):
    """The first that would have been pruned goes on by its own figure."""
    find(events, event="reported", decision="pruned")["report"]["knn_200"] = 0.99


def collapsed_and_not_told(events):
    uid = find(events, event="suggested", stage="confirm")["uid"]
    find(events, event="reported", decision="complete", uid=uid)["report"]["feature_std"] = 0.001


def diverged_and_not_told(events):
    find(events, event="reported", decision="continue")["report"]["loss"] = None


def other_milestones(events):
    find(events, event="run")["plan"]["milestones"] = [1]


TAMPERED = {
    "lines": (a_fifth_epoch_twice, two_runs, a_session_in_the_middle),
    "trials": (
        *(raised_test_figure, another_seed, seeds_of_the_race, other_hyperparameters_confirmed, published_recipe_later),
        *(judged_too_often, earlier_figure_of_a_confirmation),
    ),
    "decisions": (
        *(turned_decision, turned_to_pruned, better_at_a_milestone, collapsed_and_not_told, diverged_and_not_told),
        other_milestones,
    ),
    "winners": (swapped_winner, another_probability, given_up_for_nothing),
    "budget": (
        *(shortened_held, hidden_time, spent_too_much, another_share, another_share_at_the_choice),
        *(cheaper_calibration, falling_startup),
    ),
}


@pytest.mark.parametrize(("name", "tamper"), [(n, t) for n, some in TAMPERED.items() for t in some])
def test_what_was_tampered_with_is_found_by_its_check(name, tamper, events):
    changed = copy.deepcopy(events)
    tamper(changed)
    assert changed != events
    assert name in wrong(changed)


def test_a_published_recipe_with_other_values_than_its_search_space_is_found(events):
    changed = copy.deepcopy(events)
    space = {"hyperparameters": {"x": {"default": 0.5, "source": "made up"}}}
    find(changed, event="session")["facts"]["search_spaces"] = {"method00": space}
    assert wrong(changed) == {}
    space["hyperparameters"]["x"]["published"] = 0.4
    assert wrong(changed) == {"trials": ["method00-0000: the published x is 0.4, not 0.5"]}


@pytest.mark.parametrize("kind", ["run", "suggested", "assigned", "started", "reported", "chosen", "closed"])
def test_a_line_that_was_dropped_is_found(kind, events, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "a-run")
    changed = copy.deepcopy(events)
    changed.remove([event for event in changed if event["event"] == kind][-1])
    if kind not in ("run", "suggested") and wrong(changed):  # found by the ledger alone
        return
    simulated_run.ledger(folder, changed)
    assert answer_of(["verify", str(folder)])[0] in (1, 2)


def test_a_custom_scheduler_is_not_run_and_that_is_said(events):
    changed = copy.deepcopy(events)
    find(changed, event="run")["settings"]["scheduler"] = "os:abort"
    decisions = next(check for check in audit(changed) if check.name == "decisions")
    assert not decisions.wrong
    assert "the scheduler os:abort is a user's own" in decisions.untold[0]


def test_a_scheduler_that_prunes_none_is_replayed_too(events):
    changed = copy.deepcopy(events)
    find(changed, event="run")["settings"]["scheduler"] = "full"
    assert "milestones" in wrong(changed)["decisions"][0]


# ---- what follows from the ledger ----


def rewritten(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_parquet_of_another_ledger_is_found_with_its_cells(run, tmp_path):
    folder = simulated_run.write(tmp_path / "a-run", simulated_run.events(seed=3))
    shutil.copy(run / "trials.parquet", folder)
    status, out, _ = answer_of(["verify", str(folder)])
    assert status == 1
    assert "trials.parquet, method00-" in out
    assert "wrong: Parquet" in out


@pytest.mark.parametrize("column", ["test_knn_200", "state"])
def test_a_changed_cell_of_parquet_is_named(column, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "a-run")
    found = results.load(folder)
    place = found.trials.index[found.trials.stage == "confirm"][0]
    value = {"seed": 5, "state": "failed"}.get(column, 0.875)
    found.trials.loc[place, column] = value
    both = [found.trials.astype(object).where(found.trials.notna(), None), found.epochs]
    results.save(both[0].to_dict("records"), both[1].astype(object).where(both[1].notna(), None).to_dict("records"),
                 found.run, folder)  # fmt: skip
    status, out, _ = answer_of(["verify", str(folder)])
    assert status == 1
    assert f"{found.trials.uid[place]}, {column}: {value}, and " in out


def test_a_changed_cell_of_a_table_is_named(run, tmp_path):
    accuracy = repr(rows(results.load(run))[0].accuracy.mean)
    text = f"{100 * float(accuracy):.2f}"
    lines = (run / "table.md").read_text().splitlines()
    line = next(each for each in lines if each.startswith("| ") and text in each)
    changes = (("table.csv", accuracy, "0.99"), ("table.md", line, line.replace(text, "99.00")))
    for name, old, new in changes:
        folder = shutil.copytree(run, tmp_path / name / "a-run")
        rewritten(folder / name, old, new)
        status, out, _ = answer_of(["verify", str(folder)])
        assert status == 1, out
        assert f"wrong: {name}, " in out
        assert {"table.csv": "0.99", "table.md": "99.00"}[name] in out


def test_a_figure_beside_the_table_is_found_and_other_words_are_told(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "a-run")
    lines = (folder / "table.md").read_text().splitlines()
    line = next(each for each in lines if each.startswith("- ") and "0123abc" in each)
    rewritten(folder / "table.md", line, f"{line} And more.")
    status, out, _ = answer_of(["verify", str(folder)])
    assert status == 0, out
    assert "not checked: the words of table.md" in out


def test_an_environment_that_is_not_the_ledgers_is_found(run, tmp_path):
    content = bundle.unpacked(bundle.write(run, tmp_path / "a.zip"))
    told = json.loads(content["environment.json"])
    told["sessions"][0]["versions"]["torch"] = "1.0"
    path = tmp_path / "b.zip"
    path.write_bytes(bundle.packed(content | {"environment.json": json.dumps(told).encode()}))
    status, out, _ = answer_of(["verify", str(path)])
    assert status == 1
    assert "environment.json, sessions" in out


def numbers(value, path=()):
    """The places of all numbers in a JSON value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from numbers(each, (*path, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from numbers(each, (*path, place))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_number_of_a_report_or_charge_is_found_or_changes_nothing_that_is_published(data, run, tmp_path):
    events = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    event = data.draw(st.sampled_from([e for e in events if e["event"] in ("reported", "started", "held", "chosen")]))
    places = [path for path in numbers(event) if path[0] != "time"]
    path = data.draw(st.sampled_from(places))
    owner = event
    for key in path[:-1]:
        owner = owner[key]
    factor = data.draw(st.sampled_from([0.0, 0.5, 0.99, 1.01, 2.0, 10.0]))
    before = owner[path[-1]]
    owner[path[-1]] = type(before)(before * factor) if before else type(before)(factor + 1)
    try:
        found = wrong(events)
    except UserError:  # refused as a whole
        return
    if found:
        return
    folder = shutil.copytree(run, tmp_path / "a-run", dirs_exist_ok=True)
    simulated_run.ledger(folder, events)
    status, out, _ = answer_of(["verify", str(folder)])
    if status == 0:
        remade = simulated_run.write(tmp_path / "remade" / "a-run", events)
        for name in bundle.TABLES:
            assert (remade / name).read_bytes() == (run / name).read_bytes(), (path, out)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_ledgers_of_any_shape_are_refused_or_judged_without_a_traceback(data, events, tmp_path_factory):
    changed = copy.deepcopy(events)
    event = data.draw(st.sampled_from(changed[1:]))
    key = data.draw(st.sampled_from(sorted(event)))
    event[key] = data.draw(st.sampled_from([None, "x", -1, [], {}, 1e308, {"a": None}]))
    folder = tmp_path_factory.getbasetemp() / "shape"
    if not folder.exists():
        simulated_run.write(folder, events)
    simulated_run.ledger(folder, changed)
    status, _, err = answer_of(["verify", str(folder)])
    assert status in (0, 1, 2)
    if status == 2:
        check_refusal(status, err)


# ---- older runs, wrong input ----


def test_a_run_of_the_first_format_is_verified_as_far_as_can_be_and_the_rest_is_said():
    status, out, _ = answer_of(["verify", str(older_runs.FIRST)])
    assert status == 0, out
    assert "not checked: pruning, for the run is of format 1" in out
    assert "ok     Parquet:" in out


def test_what_is_no_run_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file", tmp_path / "nowhere", ROOT / "reports" / "tabular"):
        check_refusal(*answer_of(["verify", str(place)])[::2])
