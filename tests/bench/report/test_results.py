import json
import math
import os
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.evaluation.metrics import METRICS
from bench.errors import UserError
from bench.report import report, results, table
from bench.search.events import FORMAT
from bench.search.fold import read
from bench.search.ledger import Ledger
from bench.search.simulate import MemoryLedger
from tests.bench import older_runs, synthetic_run
from tests.daily import daily

SHOWN = (table.markdown, table.csv, table.terminal, report.render)


def tell(folder):
    """A real ledger with a trial of every state, a retry, a NaN and a confirmed winner."""
    ledger = Ledger(folder)
    settings = {"dataset": "shapes", "dataset_fingerprint": "ab12", "encoder": "small", "image_size": 32}
    ledger.append("run", format=1, settings=settings, plan={"epochs": 2, "calibration_seconds": 1.5})
    budget, facts = {"device": "cpu", "seconds": 600.0}, {"device": "x86_64 CPU", "versions": {"torch": "2.14.1"}}
    ledger.append("session", number=0, budget=budget, slots=2, rate=1.0, share=300.0, facts=facts)

    def trial(uid, stage, reports, seed=0, published=False, of=None, **ending):
        common = {"parameters": {}, "hyperparameters": {"learning_rate": 0.1}, "epochs": 2, "evaluate_at": [1, 2]}
        about = {"uid": uid, "method": "byol", "stage": stage, "seed": seed, "number": 0}
        ledger.append("suggested", **about, **common, published=published, of=of)
        ledger.append("assigned", uid=uid, attempt=1)
        ledger.append("started", uid=uid, held=0.5, startup=0.5)
        for epoch, (accuracy, decision) in enumerate(reports, 1):
            report = {
                "epoch": epoch,
                "loss": math.nan if accuracy is None else 1.0 / epoch,
                "knn_200": accuracy,
                "knn_20": accuracy,
                "purity_20": accuracy,
                **({} if accuracy is None or stage == "search" else {"knn_200/0": accuracy, "knn_200/2": 1.0}),
                "feature_std": 0.9,
                "seconds": 1.0,
                "evaluation_seconds": 0.25,
                "images_per_second": 100.0 * epoch,
                "peak_memory_bytes": 1000 * epoch,
            }
            values = {"attempt": 1, "report": report, "held": 0.5 + 1.5 * epoch, "decision": decision}
            told = {"encoder_parameters": 1234, "own_encoder": False, "device": "CPU"}
            told |= {"hyperparameters": ending["differing"]} if "differing" in ending else {}
            told = told if epoch == 1 else None
            ledger.append("reported", uid=uid, **values, reason=ending.get("reason"), facts=told)

    trial("first", "search", [(0.5, "continue"), (0.6, "complete")], published=True)
    trial("second", "search", [(0.55, "continue"), (0.7, "complete")])
    trial("third", "search", [(0.2, "pruned")])
    trial("fourth", "search", [(None, "failed")], reason="loss became NaN", differing={"projector_hidden": 512})
    trial("former", "confirm", [(None, "continue"), (0.9, "complete")], seed=1, of="first")
    ledger.append("chosen", method="byol", winner="second", share=300.0)
    trial("sure", "confirm", [(None, "continue"), (0.65, "complete")], seed=1, of="second")
    trial("open", "confirm", [(None, "continue")], seed=2, of="second")
    ledger.append("cut", uid="open", held=2.5, startup=0.5, reason="the budget ended")
    ledger.close()
    return read(folder / "ledger.jsonl")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a-run")
    fold = tell(folder)
    results.write(fold, folder)
    return fold, folder, results.load(folder)


def test_every_trial_of_the_ledger_is_a_row_in_the_order_of_suggestion(told):
    fold, _, found = told
    assert list(found.trials.uid) == list(fold.trials)
    assert dict(zip(found.trials.uid, found.trials.state, strict=True)) == {
        "first": "complete",
        "second": "complete",
        "third": "pruned",
        "fourth": "failed",
        "former": "complete",
        "sure": "complete",
        "open": "cut",
    }
    assert len(found.epochs) == sum(len(trial.reports) for trial in fold.trials.values()) == 11


def test_accuracies_stand_in_the_column_of_the_split_that_they_were_measured_on(told):
    trials = told[2].trials.set_index("uid")
    assert trials.train_knn_200["second"] == 0.7
    assert trials[trials.stage == "search"].test_knn_200.isna().all()
    assert trials.test_knn_200["sure"] == 0.65
    assert trials[trials.stage != "search"].train_knn_200.isna().all()
    assert math.isnan(trials.test_knn_200["open"])
    epochs = told[2].epochs
    assert set(epochs[epochs.stage == "search"].split) == {"train"}
    assert set(epochs[epochs.stage != "search"].split) == {"test"}


def test_figures_of_each_class_stand_in_a_list_by_its_place(told):
    trials = told[2].trials.set_index("uid")
    first, second, third = trials.test_knn_200_classes["sure"]
    assert (first, third) == (0.65, 1.0)
    assert math.isnan(second)
    assert trials[trials.stage == "search"].test_knn_200_classes.isna().all()


def test_a_confirming_trial_of_a_former_winner_is_superseded(told):
    trials = told[2].trials.set_index("uid")
    assert trials.stage["former"] == "superseded"
    assert trials.stage["sure"] == "confirm"


def test_charges_speed_memory_and_facts_are_the_ledgers(told):
    fold, folder, found = told
    row = found.trials.set_index("uid").loc["second"]
    assert (row.device_seconds, row.images_per_second, row.peak_memory_bytes) == (3.5, 150.0, 2000)
    assert (row.device, row.encoder, row.encoder_parameters, row.own_encoder) == ("CPU", "small", 1234, False)
    assert (row.dataset, row.image_size, row.epochs, row.epoch, row.attempts) == ("shapes", 32, 2, 2, 1)
    assert json.loads(row.hyperparameters) == {"learning_rate": 0.1}
    assert set(found.trials.run) == {folder.name}
    # calibration, start-up, and what the trials held: 3.5 for two epochs, 2 for one, 2.5 for the one that was cut
    assert found.run["charged"] == 1.5 + 0.5 + (4 * 3.5 + 2 * 2.0 + 2.5)
    assert found.run["winners"] == {"byol": "second"}
    assert found.run["budget"] == {"device": "cpu", "seconds": 600.0}
    assert found.run["facts"]["versions"] == {"torch": "2.14.1"}
    assert found.trials.device_seconds.sum() == pytest.approx(sum(fold.spent.values()))


def test_nan_is_null_and_not_an_accuracy(told):
    fourth = told[2].epochs.set_index("uid").loc["fourth"]
    assert math.isnan(fourth.loss)
    assert math.isnan(fourth.knn_200)
    assert pq.read_table(told[1] / "epochs.parquet").column("loss").null_count == 4


def test_reports_are_stamped_between_their_trials_start_and_end(told):
    found = told[2]
    both = found.epochs.merge(found.trials[["uid", "started", "ended"]], on="uid")
    assert (both.reported >= both.started).all()
    assert (both.reported <= both.ended).all()


def test_the_same_ledger_gives_the_same_bytes(told, tmp_path):
    _, folder, _ = told
    again = tmp_path / folder.name
    results.write(read(folder / "ledger.jsonl"), again)
    for name in ("trials.parquet", "epochs.parquet"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_any_prefix_of_the_ledger_can_be_written_and_read(told, tmp_path):
    """Results are rewritten while the run is on: after every event there is something whole to read."""
    lines = (told[1] / "ledger.jsonl").read_text().splitlines(keepends=True)
    for count in range(len(lines) + 1):
        path = tmp_path / "ledger.jsonl"
        path.write_text("".join(lines[:count]))
        results.write(read(path), tmp_path)
        found = results.load(tmp_path)
        assert len(found.epochs) == sum('"event":"reported"' in line for line in lines[:count])
        assert len(found.trials) == sum('"event":"suggested"' in line for line in lines[:count])


def test_columns_have_their_types_also_without_a_row(tmp_path):
    results.save([], [], {}, tmp_path)
    for name, schema in (("trials", results.TRIALS), ("epochs", results.EPOCHS)):
        assert pq.read_schema(tmp_path / f"{name}.parquet").remove_metadata() == schema
    assert len(results.load(tmp_path).trials) == 0


moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
BY_TYPE = {
    pa.string(): st.text(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.list_(pa.float64()): st.lists(st.none() | st.floats(allow_nan=False), max_size=3),
    pa.bool_(): st.booleans(),
    results.MOMENT: moments,
}
rows = st.lists(st.fixed_dictionaries({f.name: st.none() | BY_TYPE[f.type] for f in results.TRIALS}), max_size=4)


@pytest.mark.slow
@given(rows)
def test_any_row_comes_back_as_it_was_saved(tmp_path_factory, trials):
    folder = tmp_path_factory.mktemp("rows")
    results.save(trials, [], {"a": [1, None, "ü"]}, folder)
    assert pq.read_table(folder / "trials.parquet").to_pylist() == trials
    assert results.load(folder).run == {"a": [1, None, "ü"]}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"trials\.parquet is missing"):
        results.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_file_is_named_on_one_line(tmp_path, share):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    path = tmp_path / "epochs.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"epochs\.parquet is not a whole Parquet file") as error:
        results.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_column_and_one_of_another_type_are_named(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    path = tmp_path / "trials.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["seed"]), path)
    with pytest.raises(UserError, match="lacks the column 'seed'"):
        results.load(tmp_path)
    at = table.schema.get_field_index("seed")
    pq.write_table(table.set_column(at, "seed", pa.array(["x"] * len(table))), path)
    with pytest.raises(UserError, match="column of another type"):
        results.load(tmp_path)


def test_files_of_an_earlier_version_are_read_with_nulls_for_what_they_lack(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    path = tmp_path / "trials.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(sorted(results.ADDED)), path)
    found = results.load(tmp_path)
    assert found.trials[sorted(results.ADDED)].isna().all(axis=None)
    assert found.run["name"] == "made-up"
    pq.write_table(table, path)
    assert results.load(tmp_path).trials.effective.notna().any()


def test_a_run_whose_search_was_judged_on_images_held_out_is_shown_with_its_own_words():
    found = results.load(older_runs.FIRST)
    assert found.run["held_out"] is True
    assert found.trials.train_knn_200.equals(found.trials.validation_knn_200)
    assert found.trials.train_knn_200.max() > 0.4
    assert set(found.epochs[found.epochs.stage == "search"].split) == {"validation"}
    assert "validation, %" in table.markdown(found)
    assert "best validation kNN (k=200)" in table.markdown(found)
    assert "validation_knn_200" in table.csv(found).splitlines()[0].split(",")
    for text in SHOWN:
        assert "leave-one-out" not in text(found)


def test_a_run_of_this_version_says_that_its_training_images_judged_the_search(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    found = results.load(tmp_path)
    assert "held_out" not in found.run
    assert "leave-one-out, %" in table.markdown(found)
    assert "train_knn_200" in table.csv(found).splitlines()[0].split(",")
    for text in SHOWN:
        assert "validation" not in text(found).lower()


def test_what_was_raced_is_kept_as_of_the_training_images_as_a_search_trial_is(tmp_path):
    ledger = MemoryLedger()
    ledger.append("run", format=FORMAT, settings={}, plan={})
    trial = {"method": "byol", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}, "epochs": 1}
    figures = {"knn_200": 0.5, "rankme": 7.0}
    report = {"epoch": 1, "loss": 1.0, "seconds": 1.0, "evaluation_seconds": 0.1} | figures
    for uid in ("search", "race", "confirm"):
        ledger.append("suggested", uid=uid, stage=uid, evaluate_at=[1], published=False, of=None, **trial)
        ledger.append("reported", uid=uid, attempt=1, report=report, held=1.0, decision="complete")
    results.write(ledger.fold, tmp_path)
    found = results.load(tmp_path)
    trials, epochs = found.trials.set_index("uid"), found.epochs.set_index("uid")
    assert trials.train_knn_200.dropna().to_dict() == {"search": 0.5, "race": 0.5}
    assert trials.test_knn_200.dropna().to_dict() == {"confirm": 0.5}
    assert epochs.split.to_dict() == {"search": "train", "race": "train", "confirm": "test"}
    assert epochs.rankme.tolist() == [7.0] * 3


def test_metrics_that_this_version_does_not_know_are_kept_and_shown_nowhere(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    shown = [text(results.load(tmp_path)) for text in SHOWN]
    for name, column in (("trials", "test_of_tomorrow"), ("epochs", "of_tomorrow")):
        path = tmp_path / f"{name}.parquet"
        table = pq.read_table(path)
        pq.write_table(table.append_column(column, pa.array([0.123456] * len(table))), path)
    found = results.load(tmp_path)
    assert set(found.trials.test_of_tomorrow) == set(found.epochs.of_tomorrow) == {0.123456}
    assert [text(found) for text in SHOWN] == shown


@pytest.mark.parametrize(
    "metric", daily(METRICS.values(), {metric.protocol: metric for metric in METRICS.values()}.values())
)
def test_a_metric_that_an_older_file_lacks_is_read_as_null(metric, tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    columns = [results.column(images, metric) for images in metric.images]
    columns += [results.parts_column(metric)] if metric.parts else []
    of_epochs = [metric.name] if metric in results.OF_TRAININGS else []
    for name, lacking in (("trials", columns), ("epochs", of_epochs)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns(lacking), path)
    found = results.load(tmp_path)
    assert found.trials[columns].isna().all(axis=None)
    assert found.epochs[of_epochs].isna().all(axis=None)
    assert all(text(found) for text in SHOWN)


def test_damaged_facts_of_a_run_are_told(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    path = tmp_path / "trials.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"run": "{"}), path)
    with pytest.raises(UserError, match="damaged facts"):
        results.load(tmp_path)


def test_columns_that_a_later_version_adds_do_no_harm(tmp_path):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    path = tmp_path / "trials.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("more", pa.array([1] * len(table))), path)
    assert "more" not in results.load(tmp_path).trials


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, told):
    synthetic_run.write(tmp_path, ("byol",), trials=3)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    trials, _, run = synthetic_run.rows(("byol",), trials=5)
    trials[-1]["seed"] = "not a number"
    with pytest.raises((pa.ArrowException, TypeError)):
        results.save(trials, [], run, tmp_path)
    after = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert after[tmp_path / "trials.parquet"] == before[tmp_path / "trials.parquet"]
    assert set(after) == set(before)  # and nothing half-written lies beside it


def test_parquet_is_readable_without_this_program(told):
    """As any reader of Parquet sees it: plain types, UTC times, run facts as JSON in the metadata."""
    table = pq.read_table(told[1] / "trials.parquet")
    frame = table.to_pandas()
    assert str(frame.started.dtype) == "datetime64[us, UTC]"
    assert frame.device_seconds.dtype == "float64"
    assert json.loads(table.schema.metadata[b"run"])["name"] == told[1].name
    assert b"pandas" not in table.schema.metadata
    assert os.stat(told[1] / "trials.parquet").st_mode & 0o777 == 0o644


def test_every_session_is_told_in_its_order():
    ledger = MemoryLedger()
    ledger.append("run", format=1, settings={}, plan={})
    for number, commit in enumerate(("b", "a", None)):
        facts = {"commit": commit, "device": f"device {number}"} if commit else {}
        ledger.append("session", number=number, budget={}, slots=number + 1, rate=1.0, share=1.0, facts=facts)
    found = results.facts(ledger.fold, "a run")["sessions"]
    assert [each["commit"] for each in found] == ["b", "a", None]
    assert [each["device"] for each in found] == ["device 0", "device 1", None]
    assert [each["slots"] for each in found] == [1, 2, 3]


def test_why_a_method_was_given_up_and_what_kind_a_failure_was_are_told(told, tmp_path):
    fold = read(told[1] / "ledger.jsonl")
    assert results.facts(fold, "a run")["given_up"] == {}
    fold.trials["fourth"].kind = fold.trials["third"].kind = "diverged"
    fold.chosen["byol"]["reason"] = "its trials failed alike"
    results.write(fold, tmp_path)
    found = results.load(tmp_path)
    assert found.run["given_up"] == {"byol": "its trials failed alike"}
    assert found.trials.set_index("uid").failure.dropna().to_dict() == {"fourth": "diverged"}


def test_of_which_recipe_a_trial_is_has_its_columns(tmp_path):
    ledger = MemoryLedger()
    ledger.append("run", format=3, settings={}, plan={})
    common = {"method": "byol", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}, "of": None}
    for uid, stage, recipe in (
        ("first", "search", {"published": True}),
        ("second", "search", {"published": False, "ours": True}),
        ("third", "search", {"published": False}),
        ("fourth", "ours", {"published": False, "ours": True}),
    ):
        ledger.append("suggested", uid=uid, stage=stage, epochs=1, evaluate_at=[1], **common, **recipe)
    results.write(ledger.fold, tmp_path)
    trials = results.load(tmp_path).trials.set_index("uid")
    assert trials.published_recipe.to_dict() == {"first": True, "second": False, "third": False, "fourth": False}
    assert trials.our_recipe.to_dict() == {"first": False, "second": True, "third": False, "fourth": True}
    assert trials.stage["fourth"] == "ours"


def test_the_effective_hyperparameters_are_the_whole_configuration_as_trained(told):
    trials = told[2].trials.set_index("uid")
    assert json.loads(trials.effective["fourth"]) == {"learning_rate": 0.1, "projector_hidden": 512}
    assert json.loads(trials.hyperparameters["fourth"]) == {"learning_rate": 0.1}
    assert trials.effective.notna().sum() == 1, "the other trials' trainers did not tell"
