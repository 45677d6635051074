import json
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.ledger import Fold, Ledger, plain, read, read_events
from bench.simulate import MemoryLedger, plan_for, simulate, synthetic


def recorded_events():
    """The events of a whole small run."""
    calibration, curve = synthetic(3)
    ledger = MemoryLedger(keep=True)
    simulate(plan_for(calibration, slots=2, trials=30, epochs=9), curve, ledger)
    return ledger.events


def state(fold):
    return {name: value for name, value in vars(fold).items() if name not in ("time", "sessions")}


def write(path, events):
    path.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events))


def test_what_is_appended_is_read_back(tmp_path):
    ledger = Ledger(tmp_path)
    for event in recorded_events():
        ledger.append(event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")})
    ledger.close()
    assert state(read(tmp_path / "ledger.jsonl")) == state(ledger.fold)


def test_a_line_torn_at_any_byte_is_dropped_and_the_next_one_is_whole(tmp_path):
    events = recorded_events()[:40]
    path = tmp_path / "ledger.jsonl"
    write(path, events)
    content = path.read_bytes()
    last = content.rfind(b"\n", 0, len(content) - 1) + 1
    for cut in range(last, len(content)):
        path.write_bytes(content[:cut])
        ledger = Ledger(tmp_path)
        assert len(read_events(path)[0]) == len(events) - 1
        ledger.append("closed", reason="done")
        ledger.close()
        again, size = read_events(path)
        assert again[:-1] == events[:-1]
        assert again[-1]["reason"] == "done"
        assert size == path.stat().st_size


def test_a_damaged_line_in_the_middle_is_not_passed_over(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, recorded_events()[:10])
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4][:20]
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(UserError, match="line 5 is damaged"):
        Ledger(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("first", ['{"event":"run","format":0}', '{"event":"run","format":99}', '{"other":1}', "[1]"])
def test_a_run_of_another_format_is_refused_and_left_alone(tmp_path, first):
    path = tmp_path / "ledger.jsonl"
    path.write_text(first + '\n{"event":"session"}\n{"torn')
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"format .*--fresh") as error:
        Ledger(tmp_path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_fresh_begins_anew_and_keeps_every_former_ledger(tmp_path):
    path, events = tmp_path / "ledger.jsonl", recorded_events()
    for number in (1, 2):
        write(path, events[: 10 * number])
        before = path.read_bytes()
        ledger = Ledger(tmp_path, fresh=True)
        assert not ledger.fold.trials
        ledger.close()
        assert (tmp_path / f"ledger.previous-{number}.jsonl").read_bytes() == before
    assert len(read_events(tmp_path / "ledger.previous-1.jsonl")[0]) == 10


def test_a_second_driver_is_refused_and_told_who_holds_the_folder(tmp_path):
    ledger = Ledger(tmp_path)
    code = (
        "import sys; from bench.ledger import Ledger; from bench.errors import UserError\n"
        "try: Ledger(sys.argv[1])\nexcept UserError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "in use by another run" in told
    assert str(os.getpid()) in told
    ledger.close()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_the_first_report_of_an_epoch_stands_whatever_comes_after():
    events = recorded_events()
    fold = Fold()
    for event in events:
        fold.apply(event)
    for event in [e for e in events if e["event"] == "reported"]:
        fold.apply(event | {"report": event["report"] | {"knn_200": 0.999, "loss": -1.0}, "decision": "failed"})
    again = Fold()
    for event in events:
        again.apply(event)
    assert state(fold) == state(again)


def test_a_failure_is_read_with_its_kind_and_one_of_an_older_ledger_without():
    trial = {"method": "m", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}}
    trial |= {"published": True, "of": None, "epochs": 9, "evaluate_at": [9]}
    report = {"epoch": 1, "loss": None, "knn_200": None}
    end = {"held": 1.0, "startup": 0.0, "reason": "it failed"}
    fold = Fold()
    for uid, kind in (("new", {"kind": "memory"}), ("old", {})):
        for name in (uid, f"{uid}-reported"):
            fold.apply({"event": "suggested", "time": 0, "uid": name, **trial})
            fold.apply({"event": "assigned", "time": 0, "uid": name, "attempt": 1})
        fold.apply({"event": "failed", "time": 0, "uid": uid, **end, **kind})
        told = {"attempt": 1, "report": report, "decision": "failed"}
        fold.apply({"event": "reported", "time": 0, "uid": f"{uid}-reported", **told, **end, **kind})
    kinds = {uid: (trial.state, trial.reason, trial.kind) for uid, trial in fold.trials.items()}
    assert kinds["new"] == kinds["new-reported"] == ("failed", "it failed", "memory")
    assert kinds["old"] == kinds["old-reported"] == ("failed", "it failed", None)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_a_charge_never_goes_backwards(charges):
    fold = Fold()
    trial = {"uid": "a", "method": "m", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}}
    trial |= {"parameters": {}, "published": True, "of": None, "epochs": 9, "evaluate_at": [9]}
    fold.apply({"event": "suggested", "time": 0, **trial})
    for held in charges:
        fold.apply({"event": "held", "time": 0, "held": {"a": held}})
    assert fold.spent["m"] == pytest.approx(max(charges))
    assert fold.trials["a"].held == max(charges)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_plain_value_becomes_strict_json(value):
    json.loads(json.dumps(plain({"value": value}), allow_nan=False))


def test_not_a_number_is_null():
    assert plain({"loss": math.nan, "knn": (math.inf, 1.0)}) == {"loss": None, "knn": [None, 1.0]}
    with pytest.raises(TypeError):
        plain({"value": object()})
