import json
import math
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.files import write_atomically
from bench.search.events import FORMAT, plain, read_events
from bench.search.fold import Fold, read
from bench.search.ledger import Ledger
from bench.search.simulate import MemoryLedger, plan_for, simulate, synthetic


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


@pytest.mark.parametrize("damage", [lambda line: line[:20], lambda line: b"[1]", lambda line: bytes(len(line))])
def test_a_damaged_line_in_the_middle_is_not_passed_over(tmp_path, damage):
    path = tmp_path / "ledger.jsonl"
    write(path, recorded_events()[:10])
    lines = path.read_bytes().split(b"\n")
    lines[4] = damage(lines[4])
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(UserError, match="line 5 is damaged"):
        Ledger(tmp_path)
    assert path.read_bytes() == before


PAGE = 256
"""Bytes of a page in these tests, so that a line has some."""
SMALL_RUN = recorded_events()[:12]
LONG_LINE = {"event": "session", "time": 1.0, "number": 1, "facts": {"search_spaces": ["a space"] * 150}}


def power_cut(line: bytes, generator: random.Random) -> bytes:
    """What may be left of a last line: any of its pages are missing, empty, or what was on the disk before."""
    kept = line[: generator.randint(0, len(line))] if generator.random() < 0.5 else line
    pages = [kept[start : start + PAGE] for start in range(0, len(kept), PAGE)]
    for place in range(len(pages)):
        length = len(pages[place])
        pages[place] = generator.choice([pages[place], bytes(length), generator.randbytes(length)])
    return b"".join(pages)


@given(st.integers(0, 2**32), st.booleans(), st.integers(1, len(SMALL_RUN) - 1))
def test_whatever_a_power_cut_makes_of_the_last_line_the_events_before_it_are_read(tmp_path_factory, seed, long, count):
    run_dir = tmp_path_factory.getbasetemp() / "power-cut"
    last = LONG_LINE if long else SMALL_RUN[count]
    path, line = run_dir / "ledger.jsonl", (json.dumps(last) + "\n").encode()
    run_dir.mkdir(exist_ok=True)
    left = power_cut(line, random.Random(seed))
    write(path, SMALL_RUN[:count])
    with open(path, "ab") as file:
        file.write(left)
    expected = SMALL_RUN[:count] + ([last] if left == line else [])
    assert read_events(path)[0] == expected
    ledger = Ledger(run_dir)
    ledger.append("closed", reason="done")
    ledger.close()
    assert read_events(path)[0][:-1] == expected
    assert read(path).closed == "done"


def test_a_ledger_cut_at_any_byte_is_read_as_the_events_before_the_cut(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, SMALL_RUN)
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert read_events(path) == (SMALL_RUN[:whole], content.rfind(b"\n", 0, cut) + 1)


def test_a_line_that_lacks_what_its_kind_has_is_told_in_one_line(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, [*SMALL_RUN[:3], {"event": "started", "time": 1.0, "uid": "nobody"}, SMALL_RUN[3]])
    for reading in (read, lambda _: Ledger(tmp_path)):
        with pytest.raises(UserError, match=r"line 4 is no event of a run \(KeyError: 'nobody'\).*--fresh") as error:
            reading(path)
        assert "\n" not in str(error.value)


@pytest.fixture
def disk(monkeypatch):
    """What is done to files, in its order: ("sync", path, its size or None of a folder), ("rename", from, to)."""
    done: list[tuple] = []
    sync, rename = os.fsync, os.replace

    def recorded_sync(descriptor):
        about = os.fstat(descriptor)
        size = None if stat.S_ISDIR(about.st_mode) else about.st_size
        done.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")), size))
        sync(descriptor)

    def recorded_rename(former, path):
        done.append(("rename", Path(former), Path(path)))
        rename(former, path)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "replace", recorded_rename)
    return done


def test_the_ledger_and_the_folders_that_name_it_are_durable_before_anything_is_written(tmp_path, disk):
    run_dir = tmp_path / "new" / "run"
    ledger = Ledger(run_dir)
    assert [entry[1] for entry in disk] == [tmp_path, tmp_path / "new", run_dir]
    assert ledger.path.exists()
    ledger.close()
    disk.clear()
    write(ledger.path, SMALL_RUN)
    Ledger(run_dir, fresh=True).close()
    assert [(kind, path) for kind, path, _ in disk] == [("rename", ledger.path), ("sync", run_dir)]


def test_every_line_is_on_the_disk_whole_before_append_returns(tmp_path, disk):
    ledger = Ledger(tmp_path)
    for event in SMALL_RUN:
        disk.clear()
        ledger.append(event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")})
        assert disk[-1] == ("sync", ledger.path, ledger.path.stat().st_size)
    ledger.close()


def test_a_file_is_on_the_disk_whole_before_it_has_its_name_and_its_name_before_it_is_told(tmp_path, disk):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"content")
    (_, made_in, _), (_, temporary, size), (_, former, place), (_, folder, _) = disk
    assert made_in == tmp_path
    assert (temporary, size) == (former, len(b"content"))
    assert (place, folder) == (path, path.parent)


def test_a_file_system_that_syncs_no_folders_will_do(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_only)
    write_atomically(tmp_path / "a" / "file", b"content")
    assert (tmp_path / "a" / "file").read_bytes() == b"content"


@pytest.mark.parametrize("truncates", [True, False])
@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_line_that_could_not_be_written_is_in_no_ones_way(tmp_path, monkeypatch, failing, truncates):
    """Neither of the next line of the same driver, nor of the next driver, also where it cannot be removed at once."""
    ledger = Ledger(tmp_path)
    ledger.append("run", format=FORMAT, settings={}, plan={})
    write_whole = os.write

    def fail(*_):
        raise OSError(5, "Input/output error")

    def write_half(descriptor, line):
        return write_whole(descriptor, line[: len(line) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, write_half if failing == "write" else fail)
        if not truncates:
            patch.setattr(os, "ftruncate", fail)
        with pytest.raises(UserError, match="cannot be written"):
            ledger.append("closed", reason="lost")
    if truncates:
        assert [event["event"] for event in read_events(ledger.path)[0]] == ["run"]
    ledger.append("closed", reason="error")
    ledger.append("closed", reason="done")
    assert [event.get("reason") for event in read_events(ledger.path)[0]] == [None, "error", "done"]
    ledger.close()


def test_a_disk_that_was_full_for_an_instant_costs_nothing(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    write_whole, calls = os.write, []

    def write_half_at_first(descriptor, line):
        calls.append(line)
        return write_whole(descriptor, line[: len(line) // 2] if len(calls) < 3 else line)

    monkeypatch.setattr(os, "write", write_half_at_first)
    ledger.append("run", format=FORMAT, settings={}, plan={})
    assert len(calls) == 3
    assert [event["event"] for event in read_events(ledger.path)[0]] == ["run"]
    ledger.close()


EARLIER = dict.fromkeys([1, 2, 3], "were judged on images held out") | {
    4: "had seeds of their own",
    5: "saw images normalised otherwise",
}


@pytest.mark.parametrize("version", EARLIER)
def test_a_run_of_an_earlier_version_is_read_but_not_continued(tmp_path, version):
    path, events = tmp_path / "ledger.jsonl", SMALL_RUN
    assert events[0]["format"] == FORMAT == 6
    write(path, [events[0] | {"format": version}, *events[1:]])
    before = path.read_bytes()
    assert read(path).trials.keys() == {event["uid"] for event in events if event["event"] == "suggested"}
    told = f"whose trials {EARLIER[version]}; continue it with that version, or use --fresh"
    with pytest.raises(UserError, match=told) as error:
        Ledger(tmp_path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    ledger = Ledger(tmp_path, fresh=True)
    ledger.close()
    assert (tmp_path / "ledger.previous-1.jsonl").read_bytes() == before


@pytest.mark.parametrize("first", ['{"event":"run","format":0}', '{"event":"run","format":99}', '{"other":1}'])
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
        "import sys; from bench.search.ledger import Ledger; from bench.errors import UserError\n"
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


def test_a_trial_says_of_which_recipe_it_is_and_one_of_an_older_ledger_too():
    trial = {"method": "m", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}, "of": None}
    trial |= {"epochs": 1, "evaluate_at": [1], "stage": "search"}
    fold = Fold()
    for uid, recipe in {
        "old": {"published": True},
        "new": {"published": True},
        "ours": {"published": False, "ours": True},
        "searched": {"published": False},
    }.items():
        fold.apply({"event": "suggested", "time": 0, "uid": uid, **trial, **recipe})
    recipes = {uid: trial.recipe for uid, trial in fold.trials.items()}
    assert recipes == {"old": "published", "new": "published", "ours": "ours", "searched": None}


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


ANY_TEXT = st.text() | st.binary().map(os.fsdecode)
"""Of paths too, whose bytes need not be UTF-8."""


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | ANY_TEXT | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
        max_leaves=10,
    )
)
def test_any_plain_value_becomes_strict_json(value):
    text = json.dumps(plain({"value": value}), allow_nan=False, ensure_ascii=False)
    assert json.loads(text.encode()) == plain({"value": value})


def test_not_a_number_is_null():
    assert plain({"loss": math.nan, "knn": (math.inf, 1.0)}) == {"loss": None, "knn": [None, 1.0]}
    with pytest.raises(TypeError):
        plain({"value": object()})
