"""The compiled step: what it gives is what the plain step gives, and nothing is compiled twice."""

import gc
import os
import subprocess
import sys
import warnings
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from algorithms import METHODS, WITH_TEACHER, method_class
from algorithms.encoders import residual
from algorithms.images.augmentation import SETTINGS
from algorithms.training import compiled
from algorithms.training.trainer import Trainer
from bench.search.space import load
from tests.algorithms.teachers import teacher_of
from tests.daily import daily

FEW = {"pirl": {"negatives": 16}, "distill": {"anchors": 16}}
"""Where more than there are images would be as many as there are."""
SEARCHED = ("learning_rate", "weight_decay", "temperature", "teacher_temperature", "ema_momentum", "momentum")


class Tiny(nn.Sequential):
    """The least encoder that has what others have: compilation takes as long as there are layers."""

    def __init__(self, image_size: int, channels: int = 3):
        norm = nn.BatchNorm2d(8)
        super().__init__(
            nn.Conv2d(channels, 8, 3, 2, bias=False), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.width = 8


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A backend that calls the graph's operators one by one, a cache of one's own, and a clean slate."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(residual, "resnet8", Tiny)
    regnet = partial(residual.regnet, depths=[1], widths=[16], group_width=16)
    monkeypatch.setattr(residual, "regnet_y_tiny", regnet)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch.set_num_threads(threads)
    torch._dynamo.reset()
    counters.clear()


def trainer(name: str, flag: bool, *, seed: int = 0, images: int = 64, epochs: int = 4, **hyperparameters) -> Trainer:
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (images, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Trainer(
        method_class(name),
        pixels,
        load(name, 32).defaults | {"batch_size": 8} | FEW.get(name, {}) | hyperparameters,
        epochs=epochs,
        encoder="resnet8",
        seed=seed,
        device="cpu",
        labels=torch.arange(images) % 4 if name == "supervised" else None,
        teacher=teacher_of(name, 8),
        compiled=flag,
    )


def train(made: Trainer, steps: int) -> list[float]:
    torch.manual_seed(3)
    made.method.before_epoch(0, made.batches)
    return [made.step(index).item() for index in torch.arange(64).split(8)[:steps]]


def state(made: Trainer) -> list[torch.Tensor]:
    """Weights, buffers, averages, queues, the optimiser's: all that training changes."""
    optimizer = made.optimizer.state_dict()
    return [*made.method.state_dict().values(), *optimizer["momentum"], *optimizer["square"], optimizer["steps"]]


def assert_same_training(name: str, steps: int, tolerance: float) -> None:
    plain, graphed = trainer(name, False), trainer(name, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        losses = train(plain, steps), train(graphed, steps)
    assert graphed.notice is None
    torch.testing.assert_close(*losses, rtol=tolerance, atol=tolerance)
    for expected, found in zip(state(plain), state(graphed), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(graphed.step_number, torch.tensor(steps))


DAILY = ("simclr", "mocov2", "swav", "dino", "distill")
"""Of the methods: one without state, a queue and a random order, prototypes and crops, a schedule of its own, a bank of
a teacher's features."""


@pytest.mark.slow
@pytest.mark.parametrize("name", daily([*METHODS, *WITH_TEACHER, "supervised"], DAILY))
def test_compiled_steps_train_as_plain_ones_and_one_graph_serves_other_values_images_and_epochs(name: str):
    assert_same_training(name, 3, 1e-4)
    assert counters["stats"]["unique_graphs"] == 1
    # A recompilation would be an error here.
    searched = {key: 0.9 * value for key, value in load(name, 32).defaults.items() if key in SEARCHED}
    for changed in (searched, {"images": 72, "epochs": 6}):
        other = trainer(name, True, seed=1, **changed)
        train(other, 1)
        assert other.notice is None
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", daily(["byol", "swav", "amdim", "pirl"], ["amdim", "pirl"]))
def test_one_graph_serves_all_settings_of_augmentation_off_included(name: str):
    """A recompilation would be an error here."""
    off = dict.fromkeys(SETTINGS, 0.0) | {"least_crop": 1.0, "jitter_colour": True}
    on = dict.fromkeys(SETTINGS, 0.5) | {"jitter_colour": True}
    for settings in (on, off, on | {"least_crop": 0.2, "jitter_strength": 1.0, "quarter_turn_probability": 0.0}):
        made = trainer(name, True, augment="texture", **settings)
        train(made, 2)
        assert made.notice is None
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["byol", "pirl"])
def test_a_compiled_step_augments_as_the_plain_one(name: str):
    settings = dict.fromkeys(SETTINGS, 0.5) | {"jitter_colour": True, "augment": "texture"}
    plain, graphed = (trainer(name, flag, **settings) for flag in (False, True))
    torch.testing.assert_close(train(plain, 2), train(graphed, 2), rtol=1e-3, atol=1e-3)


@pytest.mark.nightly
def test_inductor_trains_as_plain_steps_do(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    # It has a queue, an average and a random order of its own. More steps would magnify rounding.
    assert_same_training("mocov2", 1, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "adamw", "gradient_clip": 1.0},
        *(pytest.param({"optimizer": kind}, marks=pytest.mark.nightly) for kind in ("lars", "larc", "adam", "adamw")),
        pytest.param({"gradient_clip": 1.0}, marks=pytest.mark.nightly),
    ],
)
def test_every_optimizer_compiles(changed: dict):
    plain, graphed = (trainer("simsiam", flag, **changed) for flag in (False, True))
    assert train(plain, 3) == pytest.approx(train(graphed, 3), rel=1e-4)
    assert graphed.notice is None


@pytest.mark.slow
def test_a_compiled_step_keeps_no_trainer_alive():
    made = trainer("byol", True)
    train(made, 2)
    left = weakref.ref(made), weakref.ref(made.method.encoder), weakref.ref(made.images.packed)
    del made
    gc.collect()
    assert [reference() for reference in left] == [None, None, None]


@pytest.fixture
def broken(monkeypatch):
    """A backend whose graph fails after its work is done: the worst moment."""

    def backend(graph, inputs):
        def run(*arguments):
            graph(*arguments)
            raise RuntimeError("no compiler\nsecond line")

        return run

    monkeypatch.setattr(compiled, "BACKEND", backend)


@pytest.mark.slow
def test_what_cannot_be_compiled_trains_as_it_is_after_one_line_that_says_why(broken):
    plain, graphed = trainer("mocov2", False), trainer("mocov2", True)
    losses = train(plain, 3)
    with pytest.warns(UserWarning, match="not compiled") as caught:
        assert train(graphed, 3) == losses
    assert len(caught) == 1
    assert graphed.notice == "the training step is not compiled: RuntimeError: no compiler"
    for expected, found in zip(state(plain), state(graphed), strict=True):
        assert torch.equal(expected, found)


def test_a_machine_without_a_compiler_trains_after_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    graphed = trainer("simsiam", True)
    missing = torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "no-such-compiler"),)})
    with missing, pytest.warns(UserWarning, match=r"not compiled: .*ompiler"):
        losses = train(graphed, 2)
    assert losses == train(trainer("simsiam", False), 2)


@pytest.mark.slow
def test_a_torn_library_in_the_cache_is_removed_and_compiled_anew(monkeypatch, tmp_path):
    """A worker that was killed while it compiled leaves one."""
    torn = tmp_path / "ab" / "cd.main.so"
    torn.parent.mkdir()
    torn.touch()

    def backend(graph, inputs):
        if torn.exists():
            raise ImportError(f"{torn}: file too short")
        return graph

    monkeypatch.setattr(compiled, "BACKEND", backend)
    plain, graphed = trainer("mocov2", False), trainer("mocov2", True)
    assert train(graphed, 3) == train(plain, 3)
    assert graphed.notice is None
    assert not torn.exists()


def test_a_library_that_is_not_in_the_cache_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    elsewhere = tmp_path / "system.so"
    elsewhere.touch()
    assert not compiled._removed_torn(ImportError(f"{elsewhere}: file too short"))
    assert elsewhere.exists()


@pytest.mark.slow
def test_a_process_that_compiles_keeps_the_code_in_the_durable_folder(tmp_path):
    """What the compiler's modules choose when they are imported must not win."""
    program = """
import os, sys, torch
from algorithms import method_class
from algorithms.training.trainer import Trainer
from bench.search.space import load
from tests.algorithms.teachers import teacher_of
trainer = Trainer(method_class("simsiam"), torch.zeros(8, 3, 8, 8, dtype=torch.uint8), load("simsiam", 32).defaults,
                  epochs=1, encoder="resnet8", device="cpu", compiled=True)
import torch._inductor.config
torch._inductor.config.cpp.cxx = ("no-such-compiler",)
trainer.step(torch.arange(8))
assert trainer.notice
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(cache_dir())
"""
    environment = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == str(tmp_path / "ssl-bench" / "inductor")


@pytest.mark.slow
def test_running_out_of_memory_is_no_reason_to_go_on(monkeypatch):
    def backend(graph, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compiled, "BACKEND", backend)
    with pytest.raises(Exception, match="out of memory"):
        train(trainer("simsiam", True), 1)


def test_compiled_code_is_kept_below_the_users_cache_folder_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    compiled.durable_cache()
    assert compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled.durable_cache()
    assert compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "ssl-bench" / "inductor")
    (tmp_path / "file").touch()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compiled.durable_cache()
    assert "TORCHINDUCTOR_CACHE_DIR" not in compiled.os.environ
