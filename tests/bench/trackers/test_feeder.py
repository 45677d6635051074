"""What a tracker is told of a ledger: the same, however it comes to be read."""

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.search.fold import fold_events
from bench.trackers import feeder
from bench.trackers.feeder import Feeder
from tests.bench.trackers.runs import Kept, events, lines, write


def at_once(folder):
    tracker = Kept()
    Feeder(write(folder), "mine", tracker).feed()
    return tracker.told


def test_every_epoch_and_every_end_is_told_once_and_as_the_ledger_has_it(tmp_path):
    told = at_once(tmp_path / "run")
    fold = fold_events(list(events()), "")
    assert told[0] == ("begin", "run", events()[0]["time"])
    assert [each[1:3] for each in told if each[0] == "report"] == fold.arrivals
    states = {uid: trial.state for uid, trial in fold.trials.items() if trial.final}
    assert {each[1]: each[2] for each in told if each[0] == "ended"} == states
    assert {"complete", "pruned", "failed"} <= set(states.values())
    assert len([each for each in told if each[0] == "ended"]) == len(states)


def test_figures_are_finite_and_called_by_the_images_on_which_they_were_measured(tmp_path):
    fold = fold_events(list(events()), "")
    names = {}
    for _, uid, _, figures, _ in (each for each in at_once(tmp_path / "run") if each[0] == "report"):
        assert all(math.isfinite(value) for value in figures.values())
        names.setdefault(fold.trials[uid].stage, set()).update(figures)
    assert "train_knn_200" in names["search"]
    assert "test_knn_200" in names["confirm"] | names["published"]
    assert "test_knn_200" not in names["search"]


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(lines())), max_size=6))
def test_a_ledger_that_grows_by_any_piece_gives_the_same_calls(cuts):
    with tempfile.TemporaryDirectory() as name:
        whole = at_once(Path(name) / "other" / "run")
        folder, tracker, text = Path(name) / "run", Kept(), lines()
        folder.mkdir()
        of_run = Feeder(folder, "mine", tracker)
        for cut in [*sorted(cuts), len(text)]:
            (folder / "ledger.jsonl").write_bytes(text[:cut])
            of_run.feed()
            of_run.note()
        assert tracker.told == whole


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(lines())), max_size=4))
def test_a_continued_run_is_told_on_and_nothing_again(cuts):
    with tempfile.TemporaryDirectory() as name:
        whole = at_once(Path(name) / "other" / "run")
        folder, told = Path(name) / "run", []
        folder.mkdir()
        for cut in [*sorted(cuts), len(lines())]:
            (folder / "ledger.jsonl").write_bytes(lines()[:cut])
            tracker = Kept()
            of_run = Feeder(folder, "mine", tracker)
            of_run.feed()
            of_run.note()
            told += tracker.told
        assert [each for each in told if each[0] != "begin"] == whole[1:]


def test_a_run_that_began_anew_in_the_same_folder_is_told_whole(tmp_path):
    folder = write(tmp_path / "run")
    of_run = Feeder(folder, "mine", Kept())
    of_run.feed()
    of_run.note()
    anew = [event | {"time": event["time"] + 5000} for event in events()]
    (folder / "ledger.jsonl").write_bytes(lines(anew))
    tracker = Kept()
    Feeder(folder, "mine", tracker).feed()
    assert len(tracker.told) == len(at_once(tmp_path / "other" / "run"))


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"began": 1000.0, "lines": "x"}', "\udcff"])
def test_a_damaged_note_of_what_was_told_tells_all_again(note, tmp_path):
    folder = write(tmp_path / "run")
    path = feeder.place(folder, "mine", "json")
    path.parent.mkdir()
    path.write_bytes(note.encode(errors="surrogateescape"))
    tracker = Kept()
    Feeder(folder, "mine", tracker).feed()
    assert tracker.told == at_once(tmp_path / "other" / "run")


@pytest.mark.parametrize("line", [b"[]\n", b"\0\0\0\n", b'{"event": "rep'])
def test_what_a_power_cut_left_of_a_line_is_not_told(line, tmp_path):
    folder = write(tmp_path / "run")
    with open(folder / "ledger.jsonl", "ab") as file:
        file.write(line)
    tracker = Kept()
    Feeder(folder, "mine", tracker).feed()
    assert tracker.told == at_once(tmp_path / "other" / "run")


@pytest.mark.parametrize("first", [{"event": "session"}, {"event": "run", "format": 99, "time": 1.0}])
def test_a_ledger_of_another_version_is_refused(first, tmp_path):
    (tmp_path / "ledger.jsonl").write_bytes(lines([first]))
    with pytest.raises(UserError, match="no ledger that this version reads"):
        Feeder(tmp_path, "mine", Kept()).feed()


def test_one_process_at_a_time_tells_a_tracker(tmp_path):
    with feeder.alone(tmp_path, "mine"):
        with feeder.alone(tmp_path, "other"):
            pass
        with pytest.raises(UserError, match="already"), feeder.alone(tmp_path, "mine"):
            pass
    with feeder.alone(tmp_path, "mine"):
        pass
