"""What an evaluation sees: features of an encoder alone, and that they are those by which a training was judged."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from algorithms import BASELINES, METHODS, WITH_TEACHER, method_class
from algorithms.evaluation.features import encode
from algorithms.evaluation.knn import Evaluation
from algorithms.images.augment import unaugmented
from algorithms.images.store import ResidentImages
from algorithms.parts import precision
from algorithms.training.trainer import Trainer
from bench.search.space import load
from tests.algorithms.teachers import teacher_of

LABELS = torch.arange(48) % 4


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (48, 3, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, *BASELINES])
def test_an_encoder_that_was_kept_is_judged_as_its_training_was(name: str, monkeypatch, tmp_path):
    """To the last bit, from its state dict alone, in whatever the device computes in."""
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: True)
    store = ResidentImages.of(images())
    evaluation = Evaluation(store, LABELS, ResidentImages(store.packed[:20], store.statistics), LABELS[:20], 4)
    trainer = Trainer(
        method_class(name),
        store,
        load(name, 32).defaults | {"batch_size": 8},
        epochs=1,
        encoder="resnet8",
        evaluation=evaluation,
        labels=LABELS if name == "supervised" else None,
        teacher=teacher_of(name, 16),
    )
    (report,) = trainer
    torch.save(trainer.method.judged_encoder.state_dict(), tmp_path / "encoder.pt")
    encoder = method_class(name).build_encoder("resnet8", 16)
    encoder.load_state_dict(torch.load(tmp_path / "encoder.pt", weights_only=True))
    assert evaluation(encoder) == report.metrics


def test_the_hidden_layer_that_simclrv2_is_judged_by_is_kept_with_its_encoder():
    store = ResidentImages.of(images())
    evaluation = Evaluation(store, LABELS, store, LABELS, 4)
    given = load("simclrv2", 32).defaults | {"batch_size": 8, "features": "hidden"}
    trainer = Trainer(method_class("simclrv2"), store, given, epochs=1, encoder="resnet8", evaluation=evaluation)
    (report,) = trainer
    judged = trainer.method.judged_encoder
    assert evaluation(judged) == report.metrics
    assert judged(torch.zeros(2, 3, 16, 16)).shape == (2, 64)
    assert sum(value.numel() for value in judged.parameters()) > sum(
        value.numel() for value in trainer.method.encoder.parameters()
    )


def test_features_are_of_the_images_asked_for_normalised_and_in_eval_mode():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[1].eval()
    store, index = ResidentImages.of(images()), torch.tensor([7, 0, 7])
    found = encode(network, store, index)
    assert network.training
    assert not network[1].training
    expected = F.normalize(network.eval()(unaugmented(store.gather(index), store.statistics.on("cpu"))), dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(encode(network, store)[index], expected)
