"""What a worker tells of an epoch, and is told then. Needs no PyTorch."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from algorithms.training.report import EpochReport
from bench.search.job import Failure

GO_ON, STOP = "go on", "stop"
"""What a driver says to an answer where it speaks to a worker through a pipe."""


@dataclass(frozen=True)
class Answer:
    """Of one step of an attempt."""

    reports: Sequence[EpochReport] = ()
    """The epochs that the ledger lacks, in their order."""
    facts: Mapping[str, Any] | None = None
    """With the first and the last report: what is known of the training (the trainer's `facts`)."""
    warning: str | None = None
    """What the user should know although the trial goes on."""
    failure: Failure | None = None
    """Why the trial ends."""

    def to_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        failure = self.failure and dataclasses.asdict(self.failure)
        return values | {"reports": [report.to_json() for report in self.reports], "failure": failure}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        reports, failure = values["reports"], values["failure"]
        own = {"reports": [EpochReport.from_json(report) for report in reports]}
        return cls(**{**values, **own, "failure": failure and Failure(**failure)})
