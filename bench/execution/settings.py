"""What identifies a training beside its job: made where a command begins, JSON where a process or the ledger does."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.execution.pretrained import Pretrained

HERE = {"here": True}
"""Marks what holds on one machine alone, and does not identify a run."""


@dataclass(frozen=True)
class TrainingSettings:
    """The images, the network and the way in which all trainings of a run are made."""

    dataset: str
    dataset_fingerprint: str
    image_size: int
    """px"""
    encoder: str
    device: str = field(metadata=HERE)
    """As PyTorch calls it: `cpu`, `cuda`."""
    data: str = field(metadata=HERE)
    """A folder of `bench.data.saved.save`."""
    channels: int = field(default=3, metadata=HERE)
    """Of the images, which the fingerprint identifies."""
    fit: str = field(default="crop", metadata=HERE)
    """What became of images that are not square (`bench.execution.configuration.FITS`)."""
    compile: bool | None = None
    """Whether steps are compiled; None before that is decided."""
    batch_size: int | None = None
    """The most images in a step; None leaves each recipe its own."""
    augment: str | None = None
    """The preset of `bench.search.augmentation` whose settings are searched. By its defaults encoders are judged
    without labels, and the supervised ceiling mirrors images or does not."""
    deterministic: bool = False
    encoder_door: str | None = field(default=None, metadata=HERE)
    """The door (`bench.doors`) of an encoder that a user brings."""
    transformer: bool = field(default=False, metadata=HERE)
    """Whether the encoder is a vision transformer, whose recipes are others."""
    methods: Mapping[str, str] = field(default_factory=dict, metadata=HERE)
    """The doors of the methods that a user brings, by the names that they have in the run."""
    frozen: Mapping[str, Pretrained] = field(default_factory=dict, metadata=HERE)
    """Pretrained networks that are baselines, by their names there, which tell their weights. They identify nothing, so
    that one can be added to a run that there is."""
    init: Pretrained | None = None
    """The weights with which encoders of warm-started methods begin."""
    teacher: Pretrained | None = None
    """The network that the student of a distillation follows."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Of everything that a user brings: what it is called here, and the hash of its source."""

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be continued. What has its default is left out, so that a run that was
        begun before there was such a setting continues."""
        own = (each.name for each in dataclasses.fields(self) if not each.metadata.get("here"))
        told = {name: getattr(self, name) for name in own}
        told |= {name: of.identity for name, of in (("init", self.init), ("teacher", self.teacher)) if of}
        decided = {"compile": "on" if self.compile else "off"} if self.compile is not None else {}
        absent: tuple[object, ...] = (None, False, {})
        return {name: value for name, value in told.items() if value not in absent} | decided

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        frozen = {name: Pretrained.from_json(of) for name, of in values.get("frozen", {}).items()}
        given = {name: Pretrained.from_json(of) for name in ("init", "teacher") if (of := values.get(name))}
        return cls(**{**values, "frozen": frozen, **given})
