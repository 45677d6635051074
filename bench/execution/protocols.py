"""How an encoder that a training has kept is judged: the protocols by name, and what runs one of them."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from algorithms.evaluation.knn import Evaluation
from algorithms.training.report import EpochReport
from algorithms.training.trainer import Trainer
from bench.errors import UserError

Protocol = Callable[[nn.Module, Evaluation], dict[str, float]]
"""The figures of an encoder, by the names of `algorithms.evaluation.metrics`, on the test images."""


def knn(encoder: nn.Module, evaluation: Evaluation) -> dict[str, float]:
    """Nearest neighbours on frozen features, as at the end of every training."""
    return evaluation(encoder)


PROTOCOLS: dict[str, Protocol] = {"knn": knn}


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


class Judgement:
    """Of the encoder in a `trainer` that is not trained: a single epoch, whose report has the protocol's figures."""

    def __init__(self, trainer: Trainer, evaluation: Evaluation, name: str) -> None:
        self.trainer, self.evaluation, self.protocol = trainer, evaluation, protocol(name)
        self.facts = trainer.facts

    def __iter__(self) -> Iterator[EpochReport]:
        began = self.trainer.clock()
        metrics = self.protocol(self.trainer.method.judged_encoder, self.evaluation)
        took = self.trainer.clock() - began
        yield EpochReport(1, 0.0, metrics, evaluation_seconds=took, peak_memory_bytes=self.trainer.peak_memory())

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it is done at once."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
