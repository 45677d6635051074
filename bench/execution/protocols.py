"""How an encoder is judged: the protocols by name, and what runs one of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.evaluation import few, finetune, inspection, linear
from algorithms.evaluation.features import raw_features
from algorithms.evaluation.inspection import Inspection
from algorithms.evaluation.knn import Evaluation
from algorithms.evaluation.metrics import TRUSTWORTHINESS
from algorithms.images.store import unpack
from algorithms.training.report import EpochReport
from algorithms.training.trainer import Trainer
from bench.errors import UserError
from bench.report import inspections


@dataclass(frozen=True)
class Subject:
    """An encoder that is judged, by labelled images; by others where the protocol needs no labels."""

    encoder: nn.Module
    evaluation: Evaluation
    seed: int = 0
    flip: float = 0.5
    """With which probability images are mirrored where a protocol trains."""
    with_labels: bool = False
    """Whether it is of the baseline with labels: then protocols that train with labels get it untrained."""

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        """Of the bank and of the queries, as the encoder gives them; encoded once for all protocols."""
        return raw_features(self.encoder, self.evaluation.bank), raw_features(self.encoder, self.evaluation.queries)

    @cached_property
    def inspection(self) -> Inspection | None:
        """None where its features are not finite."""
        return inspection.inspect(self.encoder, self.evaluation, self.features if self.evaluation.classes else None)

    def solved(self, solve: Callable[..., dict[str, float]]) -> dict[str, float]:
        """What is found of the features alone."""
        return solve(self.evaluation, *self.features)

    def solving(self, seconds: Callable[..., float]) -> float:
        """The seconds of that, beside the encoding."""
        evaluation, device = self.evaluation, self.evaluation.bank.device
        width = raw_features(self.encoder, evaluation.bank, torch.arange(1, device=device)).shape[1]
        return seconds(width, *evaluation.sizes, evaluation.classes, device)


class Protocol(NamedTuple):
    """A way to judge."""

    figures: Callable[[Subject], dict[str, float]]
    """By the names of `algorithms.evaluation.metrics`, on the test images."""
    seconds: Callable[[Subject], float]
    """About what that takes beside the encoding, from a short measurement."""
    files: Callable[[Subject, str], dict[str, bytes]] = lambda subject, of: {}
    """What it leaves for the report, by the paths in the run's folder; `of` is the uid of the training that made the
    encoder."""
    needs_labels: bool = True


def _knn(subject: Subject) -> dict[str, float]:
    return subject.evaluation.figures(subject.encoder, *(F.normalize(each, dim=1) for each in subject.features))


def _finetune(subject: Subject) -> dict[str, float]:
    asked = subject.encoder, subject.evaluation, subject.seed
    return finetune.figures(*asked, scratch=subject.with_labels, flip=subject.flip)


def _scratch(subject: Subject) -> dict[str, float]:
    return few.scratch(subject.encoder, subject.evaluation, subject.seed, flip=subject.flip)


def _inspect(subject: Subject) -> dict[str, float]:
    return {TRUSTWORTHINESS.name: 0.0} if subject.inspection is None else subject.inspection.figures


def _inspected(subject: Subject, of: str) -> dict[str, bytes]:
    if (found := subject.inspection) is None:
        return {}
    shown = found.shown
    queries = subject.evaluation.queries
    parts = (unpack(queries.gather(part)).cpu().numpy() for part in shown.images.split(64))
    seen = inspections.Images(shown.labels.tolist(), shown.asked.tolist(), *inspections.sheet(parts))
    told = inspections.Inspected(
        found.neighbours.tolist(),
        inspections.whole(found.map.cpu().numpy()),
        found.confusion.tolist(),
        found.trustworthiness,
    )
    return seen.files() | told.files(of)


PROTOCOLS = {
    "knn": Protocol(_knn, lambda subject: 0.0),
    "linear": Protocol(lambda subject: subject.solved(linear.figures), lambda subject: subject.solving(linear.seconds)),
    "few": Protocol(lambda subject: subject.solved(few.figures), lambda subject: subject.solving(few.seconds)),
    "scratch": Protocol(_scratch, lambda subject: few.scratch_seconds(subject.encoder, subject.evaluation)),
    "finetune": Protocol(
        _finetune,
        lambda subject: finetune.seconds(subject.encoder, subject.evaluation, scratch=subject.with_labels),
    ),
    "inspect": Protocol(
        _inspect, lambda subject: subject.solving(inspection.seconds), files=_inspected, needs_labels=False
    ),
}


def protocol(name: str) -> Protocol:
    """Raises UserError for an unknown one."""
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol '{name}'; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def wants_labels(name: str) -> str:
    """Why a protocol cannot judge where no image has a label, and what would be right."""
    return (
        f"the protocol '{name}' judges by labels, and these images have none; leave it out: what is measured without "
        "labels is in the table already"
    )


def needing_labels(names: Iterable[str]) -> list[str]:
    """Those of the protocols that cannot judge without labels."""
    return [name for name in names if protocol(name).needs_labels]


class Judgement:
    """Of an encoder, as a training of a single epoch, whose report has the protocol's figures. `trainer` is of the
    training that made it, whose uid is `of`."""

    def __init__(self, trainer: Trainer, subject: Subject, name: str, of: str = "") -> None:
        self.trainer, self.subject, self.protocol, self.of = trainer, subject, protocol(name), of
        self.facts = trainer.facts
        self.files: dict[str, bytes] = {}
        """What it has found for the report, by the paths in the run's folder."""

    def __iter__(self) -> Iterator[EpochReport]:
        began = self.trainer.clock()
        metrics = self.protocol.figures(self.subject)
        self.files = self.protocol.files(self.subject, self.of)
        took = self.trainer.clock() - began
        yield EpochReport(1, 0.0, metrics, evaluation_seconds=took, peak_memory_bytes=self.trainer.peak_memory())

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it begins anew."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
