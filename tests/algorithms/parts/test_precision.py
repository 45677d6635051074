"""Where networks compute in bfloat16. (That losses do not is in test_losses.py and beside each method.)"""

import pytest
import torch
from torch import nn

from algorithms import method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ResidentImages
from algorithms.parts import precision
from algorithms.training.trainer import Trainer
from bench.search.space import load

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_has_instructions_for_it(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision.computes_bfloat16(CPU) is expected
    assert precision.device_name(CPU) == f"CPU in {'bfloat16' if expected else 'float32'}"


def test_a_pytorch_that_does_not_tell_what_the_cpu_can_do_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not precision.computes_bfloat16(CPU)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_training_and_evaluation_compute_in_what_the_device_computes_in(bfloat16: bool, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bfloat16}, raising=False)
    images, labels = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8), torch.arange(64) % 2
    evaluation = Evaluation(ResidentImages.of(images), labels, ResidentImages.of(images), labels, 2)
    made = Trainer(
        method_class("simclr"), images, load("simclr", 32).defaults, epochs=1, encoder="resnet8", device="cpu",
        evaluation=evaluation,
    )  # fmt: skip
    kinds = set()
    for module in made.method.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, given, made: kinds.add((module.training, made.dtype)))
    made.train_epoch()
    kind = torch.bfloat16 if bfloat16 else torch.float32
    assert kinds == {(True, kind), (False, kind)}
    assert made.facts["device"] == precision.device_name(CPU)
