"""Self-supervised methods, encoders and the trainer, in PyTorch alone."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names are known without PyTorch
    from algorithms.method import Method

METHODS = {
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
"""Every method by the name that the command line gives it; `NAME` stands in `algorithms/NAME.py`."""

GROUPS = {"all": tuple(METHODS), "seed": tuple(METHODS)[:16]}
"""Methods by the name under which several are asked for at once."""

WITH_TEACHER = {"distill": "Distillation"}
"""Methods that are there where a teacher is given, as those of `METHODS`."""

BASELINES = {"pixels": "Pixels", "random": "RandomInitialisation", "supervised": "Supervised"}
"""What every table shows beside the methods; they stand in `algorithms/baselines.py`."""


def method_class(name: str) -> "type[Method]":
    """The class of the method or baseline `name`. Raises KeyError for an unknown one."""
    place, attribute = ("baselines", BASELINES[name]) if name in BASELINES else (name, (METHODS | WITH_TEACHER)[name])
    found: type[Method] = getattr(import_module(f"algorithms.{place}"), attribute)
    return found
