import hashlib
import random

import numpy as np
import pytest
import torch

from algorithms import method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ResidentImages
from algorithms.training.trainer import Trainer
from bench.data import images, shapes
from bench.search.space import load


def test_the_set_is_what_its_docstring_says():
    (pixels, labels), (queries, query_labels) = shapes.generate()
    assert pixels.shape == (1000, 3, 16, 16)
    assert queries.shape == (400, 3, 16, 16)
    assert pixels.dtype == queries.dtype == torch.uint8
    assert labels.bincount().tolist() == [125] * len(shapes.CLASSES)
    assert query_labels.bincount().tolist() == [50] * len(shapes.CLASSES)
    assert len(shapes.CLASSES) == 8


def test_the_images_are_the_same_on_every_machine():
    assert images.load("shapes").fingerprint == "4ef33450cd1d7be5cb22062739185468aab9c85c0aa418b430d6624e33cee7da"


def test_no_state_of_the_process_changes_the_images():
    first = shapes.generate()
    for generator in (random, np.random):
        generator.seed(3)
    torch.manual_seed(3)
    second = shapes.generate()
    assert all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


def test_training_and_test_images_are_all_different():
    (pixels, _), (queries, _) = shapes.generate()
    digests = {hashlib.sha256(image.numpy()).digest() for image in torch.cat([pixels, queries])}
    assert len(digests) == 1400


@pytest.mark.slow
def test_self_supervision_beats_raw_pixels_and_a_random_encoder_by_ten_points():
    (pixels, labels), (queries, query_labels) = shapes.generate()
    evaluation = Evaluation(
        ResidentImages.of(pixels), labels, ResidentImages.of(queries), query_labels, len(shapes.CLASSES)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def accuracy(name: str, train: bool) -> float:
        trainer = Trainer(
            method_class(name), pixels, load(name, 32).defaults, epochs=4, encoder="resnet8", device="cpu"
        )
        if train:
            assert all(report.loss > 0 for report in trainer)
        return evaluation(trainer.method.judged_encoder)["knn_200"]

    try:
        learned = accuracy("simclr", train=True)
        assert learned > accuracy("pixels", train=False) + 0.1
        assert learned > accuracy("random", train=False) + 0.1
    finally:
        torch.set_num_threads(threads)
