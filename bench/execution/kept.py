"""Encoders that the trainings of a run have made: `encoders/UID.pt`, the state dict of the encoder that was judged."""

from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.execution import checkpoint


def path(run_dir: str | Path, uid: str) -> Path:
    """Where a training's encoder is kept. It is there, whole, if its facts have `encoder_file`."""
    return Path(run_dir) / "encoders" / f"{uid}.pt"


def read(run_dir: str | Path, uid: str) -> dict[str, Any]:
    """The state dict, its tensors on the CPU. Raises UserError where it is not there, or damaged."""
    place = path(run_dir, uid)
    try:
        return checkpoint.read(place)
    except FileNotFoundError:
        raise UserError(f"{uid} has left no encoder; it would be {place}") from None
