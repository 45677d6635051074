"""What a trainer tells of an epoch. Needs no PyTorch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did."""

    epoch: int
    """From 1."""
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """By the names of `algorithms.evaluation.metrics`; those that were not measured are not there."""
    seconds: float = 0.0
    """Training alone."""
    evaluation_seconds: float = 0.0
    images_per_second: float = 0.0
    """Source images, however many views each has."""
    peak_memory_bytes: int | None = None
    """Of the device, since the trainer was made, less what lay there before: images that are there already, of this
    training or of another, do not count. None on a CPU."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name, each metric as one of them."""
        fields = {name: getattr(self, name) for name in FIELDS}
        metrics: dict[str, Any] = fields.pop("metrics")
        return fields | metrics

    @classmethod
    def from_json(cls, values: Mapping[str, Any], **own: Any) -> Self:
        """The report that `to_json` gave; `own` are the fields of a subclass. A loss that is null was no number."""
        fields: dict[str, Any] = {}
        metrics: dict[str, float] = {}
        for name, value in values.items():
            if name in FIELDS:
                fields[name] = value
            elif value is not None:
                metrics[name] = value
        fields["loss"], fields["metrics"] = _number(values.get("loss")), metrics
        return cls(**fields, **own)


FIELDS = dict.fromkeys(each.name for each in dataclasses.fields(EpochReport))
"""Of a report as JSON, beside the metrics."""


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
