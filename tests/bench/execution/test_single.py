"""One method trained alone: what it leaves, how it continues, with which hyper-parameters."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from algorithms import encoders
from bench.data import images, saved
from bench.errors import UserError
from bench.execution import single
from bench.execution.settings import TrainingSettings
from bench.execution.training import on_test_images
from bench.search.events import FORMAT
from bench.search.ledger import Ledger
from bench.search.space import load


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    saved.save(images.load("shapes", image_size=8, limit=200), folder)
    return str(folder)


FILES = ["card.json", "encoder.pt2", "model.safetensors", "training.json"]
HERE = {"dataset": "shapes", "dataset_fingerprint": "12", "image_size": 8, "encoder": "resnet8"}


def settings(data):
    return TrainingSettings(**HERE, device="cpu", data=data)


def train(data, run_dir, method="dino", epochs=3, **options):
    return single.train(load(method, 32), settings(data), epochs=epochs, run_dir=run_dir, **options)


def test_the_encoder_that_was_judged_is_kept_with_what_it_reached(data, tmp_path, capsys):
    path = train(data, tmp_path)
    assert path == tmp_path / "trained" / "dino"
    content = json.loads((path / "training.json").read_text())
    assert content["asked"]["hyperparameters"] == load("dino", 32).defaults
    assert 0 < content["report"]["knn_200"] <= 1
    assert "epoch 3 of 3" in capsys.readouterr().out
    encoder = encoders.build_encoder("resnet8", 8)
    encoder.load_state_dict(load_file(path / "model.safetensors"))
    assert on_test_images(data, "cpu")(encoder)["knn_200"] == content["report"]["knn_200"]
    assert sorted(entry.name for entry in path.iterdir()) == FILES


def test_a_training_that_was_stopped_continues_to_the_same_bits_and_is_not_repeated(data, tmp_path, monkeypatch):
    whole = load_file(train(data, tmp_path / "whole") / "model.safetensors")

    def stop_after_two(report, epochs, line=single._line):
        if report.epoch == 3:
            raise KeyboardInterrupt
        return line(report, epochs)

    monkeypatch.setattr(single, "_line", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "parts")
    monkeypatch.undo()
    assert not (tmp_path / "parts" / "trained" / "dino" / "card.json").exists()
    path = train(data, tmp_path / "parts")
    parts = load_file(path / "model.safetensors")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    written = (path / "card.json").stat().st_mtime_ns
    assert train(data, tmp_path / "parts") == path
    assert (path / "card.json").stat().st_mtime_ns == written


def test_a_finished_training_of_an_earlier_version_is_not_repeated(data, tmp_path, capsys):
    folder = train(data, tmp_path, "simclr", epochs=1)
    torch.save(load_file(folder / "model.safetensors"), folder / "encoder.pt")
    for name in ("model.safetensors", "encoder.pt2", "card.json"):
        (folder / name).unlink()
    capsys.readouterr()
    assert train(data, tmp_path, "simclr", epochs=1) == folder
    assert "epoch 1 of 1" in capsys.readouterr().out
    assert sorted(entry.name for entry in folder.iterdir()) == ["encoder.pt", "training.json"]


@pytest.mark.parametrize("name", ["checkpoint.pt", "training.json"])
def test_a_damaged_file_ends_it_with_one_line_unless_begun_anew(data, tmp_path, name):
    folder = train(data, tmp_path, "simclr", epochs=1)
    (folder / name).write_bytes(b'{"asked": {}')
    with pytest.raises(UserError, match=rf"{name} is damaged; remove it, or begin anew with --fresh"):
        train(data, tmp_path, "simclr", epochs=1)
    train(data, tmp_path, "simclr", epochs=1, fresh=True)
    assert sorted(entry.name for entry in folder.iterdir()) == FILES


def test_a_folder_with_another_training_is_left_alone_unless_told(data, tmp_path):
    train(data, tmp_path, "simclr", epochs=1)
    with pytest.raises(UserError, match="other settings; use --fresh"):
        train(data, tmp_path, "simclr", epochs=2)
    assert "of 2" not in (tmp_path / "trained" / "simclr" / "training.json").read_text()
    train(data, tmp_path, "simclr", epochs=2, fresh=True)
    assert json.loads((tmp_path / "trained" / "simclr" / "training.json").read_text())["asked"]["epochs"] == 2


def searched(run_dir, there, version=FORMAT, others=None, **values):
    """A run in the folder that simclr has won with these hyper-parameters."""
    ledger = Ledger(run_dir)
    ledger.append("run", format=version, settings=there, plan={})
    won = load("simclr", 32).defaults | {"temperature": 0.125} | (others or {})
    trial = {"uid": "simclr-0003", "method": "simclr", "stage": "search", "seed": 3, "number": 3, "parameters": {}}
    trial |= {"published": False, "of": None, "epochs": 1, "evaluate_at": [1], "hyperparameters": won}
    ledger.append("suggested", **trial, **values)
    ledger.append("chosen", method="simclr", winner="simclr-0003", share=1.0)
    ledger.close()
    return won


def test_what_won_with_half_the_batch_is_trained_with_half_of_it(data, tmp_path):
    sizes = []
    for values in ({}, {"halved": True}):
        run_dir = tmp_path / str(len(values))
        searched(run_dir, HERE, **values)
        path = train(data, run_dir, "simclr", epochs=1)
        sizes.append(json.loads((path / "training.json").read_text())["facts"]["batch_size"])
    assert sizes[1] == sizes[0] / 2


def test_what_won_in_a_version_with_other_hyper_parameters_is_refused_in_a_line(data, tmp_path):
    searched(tmp_path, HERE, 2, {"projector_hidden": 512})
    with pytest.raises(UserError, match=r"had other hyper-parameters \(projector_hidden\); give another --run-dir"):
        train(data, tmp_path, "simclr", epochs=1)
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("version", [1, FORMAT])
def test_what_won_a_search_is_trained_rather_than_the_published_recipe(data, tmp_path, capsys, version):
    won = searched(tmp_path, HERE, version)
    path = train(data, tmp_path, "simclr", epochs=1)
    told = capsys.readouterr().out
    assert "as it won in" in told
    assert "note:" not in told
    assert json.loads((path / "training.json").read_text())["asked"]["hyperparameters"] == won


@pytest.mark.parametrize(
    ("recipe", "published", "told"),
    [
        ({"source": "a repository"}, {}, "as published"),
        ({"source": "a repository", "adapted": "8 parts"}, {}, "as published, adapted: 8 parts"),
        ({"source": "a repository"}, {"published": 0.5}, "by our recipe, which is not the published one"),
        ({"source": "a repository", "adapted": "8 parts"}, {"published": 0.5}, "by our recipe"),
    ],
)
def test_where_nothing_won_our_recipe_is_trained_and_called_published_only_where_it_is(
    data, tmp_path, capsys, recipe, published, told
):
    space = load("simclr", 32)
    rate = space.entries["learning_rate"] | {"default": 0.125} | published
    space = dataclasses.replace(space, recipe=recipe, entries=space.entries | {"learning_rate": rate})
    path = single.train(space, settings(data), epochs=1, run_dir=tmp_path)
    first, fitted, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"simclr, 1 epochs, {told}")
    assert first.endswith(told) or published
    content = json.loads((path / "training.json").read_text())
    asked, trained = content["asked"]["hyperparameters"], content["facts"]["hyperparameters"]
    assert asked["learning_rate"] == 0.125
    assert f"batch_size {asked['batch_size']} → {trained['batch_size']}" in fitted


def test_a_loss_that_is_no_number_ends_it_with_one_line(data, tmp_path):
    space = load("simclr", 32)
    wild = dataclasses.replace(space, entries=space.entries | {"learning_rate": {"default": 1e30}})
    with pytest.raises(UserError, match=r"loss is (nan|inf) at epoch \d; lower the default of learning_rate"):
        single.train(wild, settings(data), epochs=3, run_dir=tmp_path)
    assert not list(tmp_path.rglob("card.json"))


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (HERE, None),
        (
            HERE | {"dataset": "imagenette", "image_size": 224, "encoder": "resnet50"},
            "on imagenette at 224 px with resnet50",
        ),
        (HERE | {"dataset_fingerprint": "34"}, "on other images called shapes"),
        (HERE | {"image_size": 16}, "at 16 px"),
        (HERE | {"encoder": "resnet18"}, "with resnet18"),
    ],
)
def test_a_winner_of_another_run_is_used_and_it_is_told_what_differs(data, tmp_path, capsys, there, told):
    won = searched(tmp_path, there)
    path = train(data, tmp_path, "simclr", epochs=1)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert notes == ([f"note: the run there was {told}"] if told else [])
    assert json.loads((path / "training.json").read_text())["asked"]["hyperparameters"] == won


def test_a_winner_is_trained_with_the_augmentation_with_which_it_won(data, tmp_path, capsys):
    augmented = {"augment": "texture", "least_crop": 0.5, "quarter_turn_probability": 1.0}
    won = searched(tmp_path, HERE | {"augment": "texture"}, FORMAT, augmented)
    path = train(data, tmp_path, "simclr", epochs=1)
    assert "note: the run there was with --augment texture\n" in capsys.readouterr().out
    assert json.loads((path / "training.json").read_text())["asked"]["hyperparameters"] == won
    searched(tmp_path / "paper", HERE, FORMAT, augmented | {"augment": "paper"})
    weights = [
        load_file(each / "model.safetensors") for each in (path, train(data, tmp_path / "paper", "simclr", epochs=1))
    ]
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_another_seed_is_another_training(data, tmp_path):
    folders = [train(data, tmp_path / str(seed), epochs=1, seed=seed) for seed in (0, 7)]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(UserError, match="other settings"):
        train(data, tmp_path / "7", epochs=1)


def test_an_encoder_that_collapsed_is_kept_with_a_warning(data, tmp_path, capsys, monkeypatch):
    train(data, tmp_path / "well", epochs=1)
    assert "collapsed" not in capsys.readouterr().err
    monkeypatch.setattr(single, "COLLAPSED", 2.0)
    assert train(data, tmp_path / "collapsed", epochs=1).exists()
    assert capsys.readouterr().err == "warning: dino has collapsed: all images have nearly the same features\n"
