"""Where the time of a training step goes: `ssl-bench profile METHOD`."""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from algorithms.training.trainer import Trainer
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training
from bench.search.job import Job

SECONDS = 4.0
"""About so long are the phases timed, and the unbroken step as well."""


class BytesMoved(TorchDispatchMode):
    """Adds up what each operator reads and writes, views left out: what a device must move that fuses nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types for it
        self.total = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.total += sum(tensor.nbytes for tensor in _tensors([args, list((kwargs or {}).values()), result]))
        return result


def _tensors(values: object) -> Iterable[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def profile(method: str, hyperparameters: Mapping[str, Any], settings: TrainingSettings) -> str:
    """Train `method` for some seconds and tell the milliseconds of each phase of its step, as a table in text.

    The phases are timed by themselves, the device's work done after each; the unbroken step, compiled where it is to
    be, is timed beside them, and is what training takes.
    """
    training = Training(settings)
    training.prepare()
    trainer = training.build(Job("profile", method, "search", 0, hyperparameters, 1000))
    assert trainer.evaluation is not None  # `build` gives it one
    trainer.method.before_epoch(0, trainer.batches)
    order = torch.randperm(len(trainer.images), device=trainer.device)
    batches = order[: trainer.steps * trainer.batch_size].split(trainer.batch_size)
    place = 0

    def following() -> Tensor:
        nonlocal place
        place += 1
        batch: Tensor = batches[place % len(batches)]
        return batch

    print(f"warming up {method}", file=sys.stderr, flush=True)
    for _ in range(3):
        trainer.step(following())
    print(f"timing for {3 * SECONDS:.0f} s", file=sys.stderr, flush=True)
    phases: dict[str, list[float]] = {}
    for _ in _for_seconds(SECONDS):
        for name, took in _timed_step(trainer, following()).items():
            phases.setdefault(name, []).append(took)
    unbroken = _seconds(trainer, lambda: trainer.step(following()))
    with FlopCounterMode(display=False) as flops, BytesMoved() as moved:
        _timed_step(trainer, following())
    began = trainer.clock()
    trainer.method.before_epoch(1, trainer.batches)
    once = trainer.clock() - began
    began = trainer.clock()
    trainer.evaluation(trainer.method.judged_encoder)
    evaluating = trainer.clock() - began

    facts = trainer.facts
    whole = "compiled" if trainer.compiled and not trainer.notice else "unbroken"
    total = sum(statistics.median(seconds) for seconds in phases.values())
    lines = [
        f"{method} on {facts['device']}: {facts['encoder']}, {facts['encoder_parameters']:,} parameters, "
        f"{trainer.images.image_size} px, {trainer.batch_size} images a step, {torch.get_num_threads()} thread(s)",
        "",
        f"{'phase':<14}{'ms a step':>11}{'share':>8}",
    ]
    for name, seconds in phases.items():
        median = statistics.median(seconds)
        lines.append(f"{name:<14}{median * 1e3:>11.2f}{median / total:>8.0%}")
    lines += [
        f"{'together':<14}{total * 1e3:>11.2f}{1:>8.0%}",
        f"{whole:<14}{unbroken * 1e3:>11.2f}   {trainer.batch_size / unbroken:,.0f} images/s",
        "",
        f"an epoch       {trainer.steps} steps, {trainer.steps * unbroken + once:.3g} s"
        + (f", of which {once:.3g} s before the first step" if once > 1e-3 else ""),
        f"an evaluation  {evaluating:.3g} s",
        _against_the_device(trainer, flops.get_total_flops() / unbroken, moved.total / unbroken),
    ]
    return "\n".join(lines)


def _timed_step(trainer: Trainer, index: Tensor) -> dict[str, float]:
    """Seconds of each phase of a step on the images at `index`."""
    marks = [("", trainer.clock())]

    def done(name: str) -> None:
        marks.append((name, trainer.clock()))

    views = trainer.augmented(trainer.images.gather(index))
    done("augmentation")
    loss = trainer.forward(views, index)
    done("forward")
    gradients = trainer.gradients(loss)
    done("backward")
    trainer.update(gradients)
    done("optimiser")
    trainer.finish()
    done("EMA and rest")
    return {name: end - begin for (_, begin), (name, end) in pairwise(marks)}


def _for_seconds(seconds: float) -> Iterable[None]:
    """Once at least, and until the time is over."""
    began = time.monotonic()
    yield
    while time.monotonic() - began < seconds:
        yield


def _seconds(trainer: Trainer, work: Callable[[], object]) -> float:
    """Of one call of `work`, over calls that nothing waits for in between."""
    calls, began = 0, trainer.clock()
    for _ in _for_seconds(SECONDS):
        work()
        calls += 1
    return (trainer.clock() - began) / calls


def _against_the_device(trainer: Trainer, flops: float, moved: float) -> str:
    """The step's operations and bytes a second beside what the device does at its best, measured here."""
    on_gpu = trainer.device.type == "cuda"
    side = 8192 if on_gpu else 1024
    kind = torch.bfloat16 if trainer.bfloat16 else torch.float32
    a = torch.randn(side, side, device=trainer.device, dtype=kind)
    source = torch.empty(2**31 if on_gpu else 2**27, dtype=torch.uint8, device=trainer.device)
    target = torch.empty_like(source)
    a @ a
    target.copy_(source)
    peak = 2 * side**3 / _seconds(trainer, lambda: a @ a)
    copying = 2 * source.nbytes / _seconds(trainer, lambda: target.copy_(source))
    name = str(kind).removeprefix("torch.")
    return (
        f"arithmetic     {flops / 1e12:.3g} TFLOP/s, {flops / peak:.0%} of a {name} matrix product's "
        f"{peak / 1e12:.3g}\n"
        f"memory         {moved / 1e9:.3g} GB/s if no two operators share a pass, {moved / copying:.0%} of a copy's "
        f"{copying / 1e9:.3g}"
    )
