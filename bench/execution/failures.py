"""What an error of a training means: whose it is, a line for a reader, and whether its process can go on."""

import re
import sys
import traceback
from pathlib import Path

from bench.search.job import Failure


def failure_of(error: BaseException) -> Failure:
    """The error as the ledger gets it."""
    return Failure(kind_of_error(error), describe_error(error))


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
    torch = sys.modules.get("torch")
    of_the_device = (torch.OutOfMemoryError, getattr(torch, "AcceleratorError", ())) if torch else ()
    if isinstance(error, (MemoryError, of_the_device)):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"CUDA|CUDNN|CUBLAS|out of memory", str(error), re.I))
