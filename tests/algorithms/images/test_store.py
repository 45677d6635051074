"""Where images are kept: what a store gives, and that trainings and evaluations take any."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms import method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.images.statistics import measure
from algorithms.images.store import AHEAD, ImageStore, MappedImages, ResidentImages, ahead, pack, unpack
from algorithms.training.trainer import Trainer
from bench.search.space import load


class Gathered:
    """A store of a user's own, which keeps no tensor on the device."""

    image_size, device = 8, torch.device("cpu")

    def __init__(self, images: torch.Tensor):
        self.statistics = measure([images])
        self.kept = [image.numpy().tobytes() for image in pack(images)]
        self.gathered = 0

    def __len__(self) -> int:
        return len(self.kept)

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        self.gathered += 1
        rows = [torch.frombuffer(bytearray(self.kept[place]), dtype=torch.uint8) for place in index.tolist()]
        return torch.stack(rows).view(len(index), 8, 3, 8)

    def batches(self, order: torch.Tensor) -> Iterator[torch.Tensor]:
        return map(self.gather, order)


def images(count: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_resident_images_are_gathered_in_the_order_asked():
    pictures, index = images(), torch.tensor([5, 0, 5])
    store = ResidentImages.of(pictures)
    assert (len(store), store.image_size, store.statistics.channels, store.device) == (40, 8, 3, torch.device("cpu"))
    assert torch.equal(unpack(store.gather(index)), pictures[index])


def test_packing_what_was_unpacked_copies_nothing():
    store = ResidentImages.of(images())
    assert pack(unpack(store.packed)).data_ptr() == store.packed.data_ptr()


def reports_of(
    store: torch.Tensor | ImageStore, judge: ImageStore, compiled: bool = False, method: str = "pirl"
) -> list[tuple]:
    labels = torch.arange(40) % 4
    trainer = Trainer(
        method_class(method),
        store,
        load(method, 32).defaults | {"batch_size": 8},
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
    assert store.gathered > 0


@pytest.mark.slow
def test_a_store_that_no_graph_could_hold_feeds_compiled_steps(monkeypatch):
    monkeypatch.setattr("algorithms.training.compiled.BACKEND", "aot_eager")
    torch._dynamo.reset()
    plain, graphed = (reports_of(Gathered(images()), ResidentImages.of(images()), flag) for flag in (False, True))
    torch._dynamo.reset()
    assert [loss for loss, _ in graphed] == pytest.approx([loss for loss, _ in plain], rel=1e-3)


def mapped(folder: Path) -> MappedImages:
    """The same images among others in a file, in another order."""
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(2))[:40]
    file = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(60, 8, 3, 8))
    file[rows.numpy()] = pack(images()).numpy()
    file.flush()
    opened = np.lib.format.open_memmap(folder / "images.npy", mode="c")
    return MappedImages(torch.from_numpy(opened), rows, measure([images()]), torch.device("cpu"))


class Ahead(MappedImages):
    """Prepares batches in a thread, as it does where a GPU trains."""

    def batches(self, order: torch.Tensor) -> Iterator[torch.Tensor]:
        return ahead(self.gather, order)


@pytest.mark.parametrize("kind", [MappedImages, Ahead])
@pytest.mark.parametrize("method", ["pirl", "simclr", "moco", "swav"])
def test_a_training_is_the_same_from_a_mapped_file(tmp_path: Path, method: str, kind: type[MappedImages]):
    there = mapped(tmp_path)
    store = kind(there.packed, there.rows, there.statistics, there.device)
    assert (len(store), store.image_size) == (40, 8)
    assert reports_of(store, store, method=method) == reports_of(images(), ResidentImages.of(images()), method=method)


@pytest.mark.slow
def test_a_compiled_training_is_the_same_from_a_mapped_file(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("algorithms.training.compiled.BACKEND", "eager")
    torch._dynamo.reset()
    there = mapped(tmp_path)
    store = Ahead(there.packed, there.rows, there.statistics, there.device)
    resident = ResidentImages.of(images())
    assert reports_of(store, store, compiled=True) == reports_of(resident, resident, compiled=True)
    torch._dynamo.reset()


@pytest.mark.parametrize("steps", range(5))
def test_batches_that_are_prepared_ahead_come_in_their_order(tmp_path: Path, steps: int):
    store, order = mapped(tmp_path), torch.arange(steps * 8).view(steps, 8)
    begun: list[int] = []

    def make(index: torch.Tensor) -> torch.Tensor:
        begun.append(int(index[0]))
        return store.gather(index)

    for place, batch in enumerate(ahead(make, order)):
        assert torch.equal(unpack(batch), images()[order[place]])
        assert len(begun) <= place + 1 + AHEAD
    assert begun == order[:, 0].tolist()


def test_what_fails_while_it_is_prepared_fails_where_it_is_asked_for():
    def broken(index: torch.Tensor) -> torch.Tensor:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(ahead(broken, torch.zeros(3, 2)))
