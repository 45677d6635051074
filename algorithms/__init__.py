"""Self-supervised methods, encoders and the trainer, in PyTorch alone."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names are known without PyTorch
    from algorithms.method import Method

_SEED = {
    "byol": "BYOL",
    "relic": "ReLIC",
    "simclr": "SimCLR",
    "simclrv2": "SimCLRV2",
    "swav": "SwAV",
    "moco": "MoCo",
    "mocov2": "MoCoV2",
    "mocov3": "MoCoV3",
    "barlow": "BarlowTwins",
    "pirl": "PIRL",
    "amdim": "AMDIM",
    "cpc": "CPC",
    "seer": "SEER",
    "sela": "SeLa",
    "dino": "DINO",
    "simsiam": "SimSiam",
}
_MODERN = {
    "vicreg": "VICReg",
    "nnclr": "NNCLR",
    "dcl": "DCL",
    "fastsiam": "FastSiam",
    "lejepa": "LeJEPA",
    "deepclusterv2": "DeepClusterV2",
    "mae": "MAE",
    "ibot": "IBOT",
    "ressl": "ReSSL",
}
METHODS = _SEED | _MODERN
"""Every method by the name that the command line gives it; `NAME` stands in `algorithms/NAME.py`."""

GROUPS = {
    "all": tuple(METHODS),
    "seed": tuple(_SEED),
    "modern": tuple(_MODERN),
    "fast": (
        *("simclr", "simclrv2", "swav", "moco", "barlow", "pirl", "sela", "simsiam"),
        *("vicreg", "nnclr", "dcl", "deepclusterv2", "ressl"),
    ),
}
"""Names for several methods: `seed` are those that this project was first asked for, `modern` those since, `fast` those
with the run's encoder of which a training step takes about as much arithmetic as SimCLR's, or less."""

WITH_TEACHER = {"distill": "Distillation"}
"""Methods that are there where a teacher is given, as those of `METHODS`."""

BASELINES = {"pixels": "Pixels", "random": "RandomInitialisation", "supervised": "Supervised"}
"""What every table shows beside the methods; they stand in `algorithms/baselines.py`."""


def method_class(name: str) -> "type[Method]":
    """The class of the method or baseline `name`. Raises KeyError for an unknown one."""
    place, attribute = ("baselines", BASELINES[name]) if name in BASELINES else (name, (METHODS | WITH_TEACHER)[name])
    found: type[Method] = getattr(import_module(f"algorithms.{place}"), attribute)
    return found
