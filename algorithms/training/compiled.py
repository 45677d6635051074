"""A whole training step as one compiled graph: augmentation, forward, loss, gradients, optimiser, averages, queues.

One graph serves all trainings of a process that agree in their shapes: what a search changes is a tensor, and weights
are the graph's inputs. How many images there are, and how many steps, is left open, so that calibration, search and
confirmation need no graph of their own. Compiled code is kept on disk and shared by all processes of a user.
"""

import contextlib
import functools
import importlib
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

BACKEND = "inductor"
MOST_GRAPHS = 256
"""Kept in a process: methods, times what changes shapes. Trainings beyond them are not compiled."""


class Step(Protocol):
    """A training step, and what must be known to compile it: the trainer has one."""

    device: torch.device

    def plain_step(self, images: Tensor, index: Tensor) -> Tensor:
        """One step on the packed `images` uint8 [B, S, C, S], whose places are `index` [B]; the loss [], detached."""

    def changed(self) -> Iterable[Tensor]:
        """All tensors that a step changes."""

    def lengths(self) -> Iterable[tuple[Tensor, int]]:
        """Tensors that a step reads, each with a number of images or of steps; where it is one of the tensor's sizes,
        that size may be another in another training."""


def durable_cache() -> None:
    """Let compiled code outlive temporary files: in TORCHINDUCTOR_CACHE_DIR, else below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "ssl-bench" / "inductor"
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    # PyTorch puts its default, a temporary folder, there as soon as a part of the compiler is imported.
    if chosen is None or chosen.startswith(os.path.join(tempfile.gettempdir(), "torchinductor_")):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


@functools.cache
def graph(backend: str) -> Callable[[Step, Tensor, Tensor], Tensor]:
    """`Step.plain_step`, compiled by `backend`; one function for all trainers of the process."""
    config = torch._dynamo.config
    config.trace_autograd_ops = True  # torch.autograd.grad becomes part of the graph
    config.force_parameter_static_shapes = False  # a buffer may be as long as the data set
    config.recompile_limit = max(config.recompile_limit, MOST_GRAPHS)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, MOST_GRAPHS)

    def run(step: Step, images: Tensor, index: Tensor) -> Tensor:
        return step.plain_step(images, index)

    # Random numbers are those of the step that is not compiled, so that both train the same.
    if backend == "inductor":
        return torch.compile(run, fullgraph=True, dynamic=False, options={"fallback_random": True})
    return torch.compile(run, fullgraph=True, dynamic=False, backend=backend)


class CompiledStep:
    """`Step.plain_step` through a graph; as it is, after one warning, where no graph can be made."""

    def __init__(self) -> None:
        self.notice: str | None = None
        """Why the steps are not compiled after all."""
        self._proven = False
        durable_cache()

    def __call__(self, step: Step, images: Tensor, index: Tensor) -> Tensor:
        if self.notice:
            return step.plain_step(images, index)
        # A first call that fails half-way must leave nothing behind. A graph that ran once is known to run.
        kept = None if self._proven else _Kept(step)
        try:
            if kept and BACKEND == "inductor" and step.device.type == "cpu":
                # Raises where there is none, at once and not after half a minute of work.
                importlib.import_module("torch._inductor.cpp_builder").get_cpp_compiler()
            if kept:
                _leave_open(step)
            loss = graph(BACKEND)(step, images, index)
        except Exception as error:
            if kept and _removed_torn(error):
                kept.put_back()
                return self(step, images, index)
            if out_of_memory(error) or (self._proven and not isinstance(error, torch._dynamo.exc.TorchDynamoException)):
                raise
            if kept:
                kept.put_back()
            self.notice = f"the training step is not compiled: {_reason(error)}"
            warnings.warn(self.notice, stacklevel=2)
            return step.plain_step(images, index)
        self._proven = True
        return loss


def _leave_open(step: Step) -> None:
    """Let the graph hold for any number of images and of steps."""
    for tensor, length in step.lengths():
        if length in tensor.shape:
            torch._dynamo.maybe_mark_dynamic(tensor, tensor.shape.index(length))


def _removed_torn(error: Exception) -> bool:
    """Whether the error was a library in the cache that cannot be loaded, since whoever compiled it was killed while it
    was written; it is removed, so that it is compiled anew."""
    found = re.search(r"(/\S+\.so): (file too short|invalid ELF header|.*truncated)", str(error))
    if not found or not found[1].startswith(os.environ.get("TORCHINDUCTOR_CACHE_DIR", "//")):
        return False
    try:
        os.remove(found[1])
    except OSError:
        return False
    return True


def out_of_memory(error: Exception) -> bool:
    """Also inside a compiler's error."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def _reason(error: Exception) -> str:
    """The kind and the first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


class _Kept:
    """All that a step changes, copied."""

    def __init__(self, step: Step) -> None:
        self._tensors = [(tensor, tensor.detach().clone()) for tensor in step.changed()]
        self._device = step.device
        self._random = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(step.device) if step.device.type == "cuda" else None

    @torch.no_grad()
    def put_back(self) -> None:
        for tensor, value in self._tensors:
            tensor.copy_(value)
        torch.set_rng_state(self._random)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
