"""What a worker does with one trial: an epoch a call, durable before it is told. No Ray here.

A worker process lives through many trials: imports, data and compiled code stay, everything else is put back
(`clean_process`). Files of an attempt, in `checkpoints/<uid>/` of the run's folder, which nobody else writes:

`attempt-<a>.pt`       checkpoint: {"epoch", "reports": all epochs so far, "state": the trainer's}. A new attempt
                       reads the newest of earlier attempts, so a worker that should be dead spoils nothing.
`attempt-<a>.alive`    a worker process starts for it: on a cluster it is charged from then on
`attempt-<a>.note`     why the worker had to end itself: out of memory or a device error (the kind of the failure, as
                       in `bench.search.events`, and a line that describes it), or a hanging epoch's stack
`attempt-<a>.elapsed`  seconds that the attempt had run when its driver died
"""

import contextlib
import faulthandler
import fcntl
import gc
import os
import random
import re
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

import torch

from bench.errors import UserError
from bench.execution import checkpoint
from bench.execution.factory import Factory, make
from bench.search.job import Assignment, Failure

_current: "Attempt | None" = None
_pristine: dict[str, Any] = {}


def _process_settings() -> dict[str, tuple[Any, Any]]:
    """Process-wide settings that a trial might change: name -> (its value, how to set it)."""
    backends = torch.backends
    return {
        "dtype": (torch.get_default_dtype(), torch.set_default_dtype),
        "threads": (torch.get_num_threads(), torch.set_num_threads),
        "grad": (torch.is_grad_enabled(), torch.set_grad_enabled),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.use_deterministic_algorithms),
        "precision": (torch.get_float32_matmul_precision(), torch.set_float32_matmul_precision),
        "benchmark": (backends.cudnn.benchmark, lambda value: setattr(backends.cudnn, "benchmark", value)),
    }


def clean_process(seed: int) -> None:
    """Make this process like one that has run no trial yet: memory, process-wide settings, random generators."""
    for name, (value, put) in _process_settings().items():
        if _pristine.setdefault(name, value) != value:
            put(_pristine[name])
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


class Trainers:
    """The run's factory in this process: `name` is "module:Class", `settings` as JSON holds them."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._name, self._settings, self._factory = name, settings, None

    def prepare(self) -> None:
        """What a worker does before its first trial: imports, and what the factory prepares.

        An error here is left to the first trial, which meets it again and tells it.
        """
        with contextlib.suppress(Exception):
            self.factory.prepare()
        gc.collect()
        gc.freeze()  # what is there now stays: the collections between trials need not look at it again

    @property
    def factory(self) -> Factory:
        if self._factory is None:
            self._factory = make(self._name, self._settings)
        return self._factory


def show_life(assignment: Assignment, run_dir: Path) -> None:
    """Leave the sign that a process starts for this assignment, where it can be left."""
    folder = run_dir / "checkpoints" / assignment.job.uid
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"attempt-{assignment.attempt}.alive").touch()


class Attempt:
    """One attempt at a trial: what `Search.next` assigned."""

    def __init__(self, assignment: Assignment, trainers: Trainers, run_dir: Path) -> None:
        global _current
        self.job, self.known = assignment.job, assignment.known
        self.time_limit = assignment.time_limit
        self.folder = Path(run_dir) / "checkpoints" / self.job.uid
        self.number = assignment.attempt
        self._trainers = trainers
        self._reports: list[dict[str, Any]] = []
        self._trainer: Any = None
        self._began = time.monotonic()
        self._checkpoint = checkpoint.Checkpoint(self.folder / f"attempt-{self.number}.pt")
        _current = self

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def step(self) -> dict[str, Any]:
        """Train an epoch and return {"reports": those that the ledger lacks, ...}.

        With the first comes "facts" (the trainer's attribute, where it has one); "warning" with what the user should
        know although the trial goes on (its attribute `notice`, or that nothing can be written to its folder); if the
        trainer raised, "failed" with the `Failure`. Does not return if the epoch hangs, the memory is out or the device
        is in error: then a note is left, where one can be written, and the process ends.
        """
        answer: dict[str, Any] = {"reports": []}
        with self._open_note() as file:
            faulthandler.dump_traceback_later(self.time_limit, exit=True, file=file)
            try:
                if self._trainer is None:
                    answer["facts"] = self._begin()
                    answer["reports"] = [report for report in self._reports if report["epoch"] > self.known]
                    if answer["reports"]:
                        return answer
                report = next(self._epochs).to_json()
            except StopIteration:
                answer["failed"] = vars(Failure("error", f"the trainer ended before epoch {self.job.epochs}"))
                return answer
            except Exception as error:
                failure = Failure(kind_of_error(error), describe_error(error))
                if spoils_the_process(error):
                    with contextlib.suppress(OSError):
                        file.write(f"{failure.kind}\n{failure.text}")
                        file.flush()
                    os._exit(1)
                answer["failed"] = vars(failure)
                return answer
            finally:
                faulthandler.cancel_dump_traceback_later()
        self._reports.append(report)
        if report["epoch"] > self.known:
            answer["reports"] = [report]
        if notice := getattr(self._trainer, "notice", None):
            answer["warning"] = notice
        try:
            self._checkpoint.write_if_due(self._content)
        except OSError as error:
            self._unwritable = self._unwritable or error
        if self._unwritable is not None:
            reason = self._unwritable.strerror or self._unwritable
            answer["warning"] = f"no checkpoint can be written to {self.folder.parent}: {reason}"
        return answer

    def _open_note(self) -> TextIO:
        """The attempt's note; nowhere, where none can be written."""
        self._unwritable: OSError | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return open(self.folder / f"attempt-{self.number}.note", "w")
        except OSError as error:
            self._unwritable = error
            return open(os.devnull, "w")

    def _begin(self) -> dict[str, Any]:
        clean_process(self.job.seed)
        trainer = self._trainers.factory.build(self.job)
        if saved := self._newest():
            self._reports = saved["reports"]
            trainer.load_state_dict(saved["state"])
        self._trainer, self._epochs = trainer, iter(trainer)
        return dict(getattr(trainer, "facts", {}))

    def _newest(self) -> dict[str, Any] | None:
        """The checkpoint of the newest earlier attempt that left a whole one."""
        for attempt in range(self.number - 1, 0, -1):
            path = self.folder / f"attempt-{attempt}.pt"
            if path.exists():
                with contextlib.suppress(UserError):
                    return checkpoint.read(path)
        return None

    def _content(self) -> dict[str, Any]:
        epoch = self._reports[-1]["epoch"]
        return {"epoch": epoch, "reports": self._reports, "state": self._trainer.state_dict()}


def describe_error(error: BaseException) -> str:
    """One line: the kind, the message, and where."""
    lines = str(error).strip().splitlines()
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind = "out of memory" if kind_of_error(error) == "memory" else type(error).__name__
    text = f"{kind}: {lines[0][:300]}" if lines else kind
    return f"{text} ({Path(frame.filename).name}:{frame.lineno})"


def kind_of_error(error: BaseException) -> str:
    """The kind of the failure, as in `bench.search.events`: `memory`, `device` or `error`."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "memory"
    return "device" if spoils_the_process(error) else "error"


def spoils_the_process(error: BaseException) -> bool:
    """Whether the process can no longer be trusted with another trial: out of memory, or a device error."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError | getattr(torch, "AcceleratorError", ())):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"CUDA|CUDNN|CUBLAS|out of memory", str(error), re.I))


def die_with_driver(run_dir: Path) -> None:
    """End this process at once when the driver dies, however it dies; its slot is another's then.

    The driver holds a lock on the run's folder while it lives. A thread waits for that lock; when it gets it, it
    notes how long the present attempt had run. Only for workers on the driver's machine: elsewhere the lock may be
    free though the driver lives, as many shared file systems keep locks on each node. Those Ray ends, a little later.
    """

    def wait() -> None:
        try:
            file = os.open(Path(run_dir) / "lock", os.O_RDWR)
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:
            return
        try:
            if _current is not None and _current.folder.exists():
                path = _current.folder / f"attempt-{_current.number}.elapsed"
                path.write_text(f"{_current.elapsed:.3f}")
        finally:
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
