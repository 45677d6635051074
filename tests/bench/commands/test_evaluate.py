"""`ssl-bench evaluate`: any encoder judged by the protocols of a run."""

import json
from pathlib import Path

import pytest
import torch

from algorithms.encoders import build_encoder
from algorithms.evaluation.metrics import KNN_200, LINEAR, PURITY_20
from bench.data import images
from bench.execution import networks, protocols, sources
from bench.execution.judging import evaluate
from bench.execution.training import by_labels
from tests.bench.commands.answering import answer_of, check_refusal

SHAPES = ("--dataset", "shapes", "--image-size", "16", "--limit", "200")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    """A resnet8 with random weights in a file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "encoder.pt"
    torch.save(build_encoder("resnet8", 16).state_dict(), file)
    return f"resnet8={file}"


def test_it_measures_what_a_run_measures_of_the_same_encoder_as_a_reference(source):
    found = evaluate(source, ("knn", "linear"), dataset="shapes", image_size=16, limit=200)
    dataset = images.load("shapes", image_size=16, limit=200)
    evaluation = by_labels(dataset, "cpu")
    of, state = sources.find(source, Path(), dataset.statistics, image_size=16, own_size=True)
    expected = evaluation(networks.frozen(of, dataset.statistics, state))
    assert {name: found.figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert 0.1 < found.figures[LINEAR.name] <= 1
    assert found.weights == of.hash
    assert found.seconds.keys() == {"knn", "linear"}


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_every_figure(source, tmp_path):
    output = tmp_path / "figures.json"
    status, printed, _ = answer_of(["evaluate", source, *SHAPES, "--output", str(output)])
    assert status == 0
    told = json.loads(output.read_text())
    assert {KNN_200.name, PURITY_20.name, LINEAR.name, "knn_200/0", "few_linear_5/9"} <= told["figures"].keys()
    assert f"{100 * told['figures']['linear']:.2f} %" in printed
    assert "5 a class" in printed


def test_bad_input_gets_one_line(source, tmp_path):
    for words, said in (
        (("resnet8",), "'resnet8' has no weights of its own"),
        ((source, "--evaluate", "oracle"), "there is no protocol 'oracle'; there are knn, linear, few, "),
        ((source, "--evaluate", "few,scratch"), "'scratch' judges no encoder"),
        ((source, *SHAPES, "--unlabelled"), "judges by labels, and these images have none"),
        ((source, *SHAPES, "--output", str(tmp_path / "no" / "where.json")), "cannot be written"),
        ((f"resnet18={source.removeprefix('resnet8=')}", *SHAPES), "tensors fit the file"),
    ):
        status, _, error = answer_of(["evaluate", *words])
        check_refusal(status, error)
        assert said in error


def test_images_are_encoded_once_for_all_protocols_that_look_at_features(source, monkeypatch):
    encoded = []

    def seen(encoder, images, *index, encode=protocols.raw_features):
        encoded.append(len(images))
        return encode(encoder, images, *index)

    monkeypatch.setattr(protocols, "raw_features", seen)
    evaluate(source, ("knn", "linear"), dataset="shapes", image_size=16, limit=200)
    assert len(encoded) == 2, "of training and of test images"
