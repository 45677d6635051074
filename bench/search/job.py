"""What a slot is given to do, and how it can fail."""

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

CHOOSING = ("search", "race")
"""The stages by whose trainings a run chooses: judged by leave-one-out among the training images, never on test
images."""


@dataclass(frozen=True)
class Job:
    """One piece of work for one slot, as a trainer's factory gets it: a training or, where it has a `protocol`, an
    evaluation of an encoder that a training has kept."""

    uid: str
    method: str
    stage: str
    """`search`, `race`, `baseline`, one that confirms: `confirm`, `published`, `ours`, or `evaluate`. All train on all
    training images; those of `CHOOSING` are judged among these, all others on the test images."""
    seed: int
    hyperparameters: Mapping[str, Any]
    """Those that are asked for; empty for a baseline, which has those of its search space."""
    epochs: int
    evaluate_at: tuple[int, ...] = field(default=())
    """The epochs at which it is judged, rising."""
    halved: bool = False
    """Whether it has half the images in a step, as memory does not hold all."""
    protocol: str | None = None
    """Of an evaluation: what judges the encoder."""
    of: str | None = None
    """Of an evaluation: the uid of the training whose encoder it judges."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "evaluate_at": tuple(values["evaluate_at"])})


@dataclass(frozen=True)
class Assignment:
    """A job for a free slot, in one of its attempts."""

    job: Job
    attempt: int
    """1, 2, ..."""
    known: int
    """The last epoch that the ledger has; 0 before the first."""
    time_limit: float
    """Seconds after which an epoch counts as hung."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "job": Job.from_json(values["job"])})


class Idle(enum.Enum):
    """Why a free slot is given nothing."""

    WAIT = "nothing now"
    DONE = "nothing runs and nothing is left to start"


@dataclass(frozen=True)
class Failure:
    """Why a trial ended that would end so again."""

    kind: str
    """Whose it is, as `bench.search.events` tells."""
    text: str
    """One line for a reader."""
