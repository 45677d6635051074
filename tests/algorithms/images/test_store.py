"""Where images are kept: what a store gives, and that trainings and evaluations take any."""

import pytest
import torch

from algorithms import method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ImageStore, ResidentImages, pack, unpack
from algorithms.training.trainer import Trainer
from bench.search.space import load


class Gathered:
    """A store of a user's own, which keeps no tensor on the device."""

    image_size, channels, device = 8, 3, torch.device("cpu")

    def __init__(self, images: torch.Tensor):
        self.kept = [image.numpy().tobytes() for image in pack(images)]
        self.batches = 0

    def __len__(self) -> int:
        return len(self.kept)

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        rows = [torch.frombuffer(bytearray(self.kept[place]), dtype=torch.uint8) for place in index.tolist()]
        return torch.stack(rows).view(len(index), 8, 3, 8)


def images(count: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_resident_images_are_gathered_in_the_order_asked():
    pictures, index = images(), torch.tensor([5, 0, 5])
    store = ResidentImages.of(pictures)
    assert (len(store), store.image_size, store.channels, store.device) == (40, 8, 3, torch.device("cpu"))
    assert torch.equal(unpack(store.gather(index)), pictures[index])


def test_packing_what_was_unpacked_copies_nothing():
    store = ResidentImages.of(images())
    assert pack(unpack(store.packed)).data_ptr() == store.packed.data_ptr()


def reports_of(store: torch.Tensor | ImageStore, judge: ImageStore, compiled: bool = False) -> list[tuple]:
    labels = torch.arange(40) % 4
    trainer = Trainer(
        method_class("pirl"),
        store,
        load("pirl", 32).defaults | {"batch_size": 8},
        epochs=2,
        encoder="resnet8",
        device="cpu",
        evaluation=Evaluation(judge, labels, judge, labels, 4),
        compiled=compiled,
    )
    found = [(report.loss, dict(report.metrics)) for report in trainer]
    assert trainer.notice is None
    return found


def test_a_training_and_its_evaluation_are_the_same_whatever_keeps_the_images():
    store = Gathered(images())
    assert reports_of(store, store) == reports_of(images(), ResidentImages.of(images()))
    assert store.batches > 0


@pytest.mark.slow
def test_a_store_that_no_graph_could_hold_feeds_compiled_steps(monkeypatch):
    monkeypatch.setattr("algorithms.training.compiled.BACKEND", "aot_eager")
    torch._dynamo.reset()
    plain, graphed = (reports_of(Gathered(images()), ResidentImages.of(images()), flag) for flag in (False, True))
    torch._dynamo.reset()
    assert [loss for loss, _ in graphed] == pytest.approx([loss for loss, _ in plain], rel=1e-3)


def test_images_that_are_not_in_colour_are_refused():
    with pytest.raises(ValueError, match="1 channels"):
        reports_of(images()[:, :1], ResidentImages.of(images()))
