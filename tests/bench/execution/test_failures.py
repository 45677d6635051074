"""What the errors of trainings are called, and which of them cost a process."""

import pytest
import torch

from bench.execution.failures import describe_error, kind_of_error, spoils_the_process


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (MemoryError("out of memory"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), "error"),
        (ValueError("three is too many"), "error"),
    ],
)
def test_only_memory_and_device_errors_cost_the_worker(error, kind):
    assert kind_of_error(error) == kind
    assert spoils_the_process(error) == (kind != "error")


def test_running_out_of_memory_is_called_that_whatever_the_error():
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")):
        with pytest.raises(type(error)) as caught:
            raise error
        assert describe_error(caught.value).startswith("out of memory")
