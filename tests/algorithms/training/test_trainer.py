"""The trainer, for every method: exact resume, determinism, what it refuses."""

import copy
import dataclasses
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from algorithms import METHODS, WITH_TEACHER, method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.images import colour
from algorithms.images.store import ResidentImages
from algorithms.parts import precision
from algorithms.training.trainer import Trainer
from bench.search.space import load
from tests.algorithms.teachers import teacher_of

EPOCHS = 3


def trainer(name: str, *, seed: int = 0, images: int = 96, epochs: int = EPOCHS, **arguments) -> Trainer:
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, 4, (images,), generator=generator)
    pixels = torch.randint(0, 64, (images, 3, 16, 16), dtype=torch.uint8, generator=generator)
    pixels += 60 * labels.to(torch.uint8)[:, None, None, None]
    return Trainer(
        method_class(name),
        pixels,
        load(name, 32).defaults | {"batch_size": 8} | arguments.pop("hyperparameters", {}),
        epochs=epochs,
        encoder=arguments.pop("encoder", "resnet8"),
        seed=seed,
        device="cpu",
        evaluation=Evaluation(ResidentImages.of(pixels), labels, ResidentImages.of(pixels[:32]), labels[:32], 4),
        labels=labels if name == "supervised" else None,
        teacher=teacher_of(name, 16),
        **arguments,
    )


def measured(report) -> dict:
    """A report without its clock times."""
    timed = ("seconds", "evaluation_seconds", "images_per_second")
    return {name: value for name, value in dataclasses.asdict(report).items() if name not in timed}


def assert_equal_states(first, second, where: str = "state"):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_equal_states(first[name], second[name], f"{where}.{name}")
    elif isinstance(first, list):
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_equal_states(a, b, f"{where}[{number}]")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


EVERY_KIND_OF_STATE = {"moco": False, "pirl": True, "dino": False, "sela": True}
"""A queue, a bank, an average with a centre, assignments; whether in bfloat16."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bfloat16"),
    [
        pytest.param(name, bfloat16, marks=[] if EVERY_KIND_OF_STATE.get(name) is bfloat16 else pytest.mark.nightly)
        for name in [*METHODS, *WITH_TEACHER, "supervised"]
        for bfloat16 in (False, True)
    ],
)
def test_resuming_after_any_epoch_gives_the_same_bits(name: str, bfloat16: bool, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: bfloat16)
    whole = trainer(name, evaluate_at=[EPOCHS])
    reports, states = [], []
    for report in whole:
        reports.append(measured(report))
        torch.save(whole.state_dict(), tmp_path / f"{report.epoch}.pt")
        states.append(torch.load(tmp_path / f"{report.epoch}.pt", weights_only=True))
    for stop in range(1, EPOCHS):
        # A trainer that has been used for something else before must not matter either.
        torch.manual_seed(99)
        resumed = trainer(name, evaluate_at=[EPOCHS])
        resumed.load_state_dict(states[stop - 1])
        assert [measured(report) for report in resumed] == reports[stop:]
        assert_equal_states(resumed.state_dict(), states[-1])


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER])
def test_a_method_changes_its_encoder_and_reports_a_finite_loss(name: str):
    made = trainer(name, epochs=1)
    learnt = [parameter for parameter in made.method.encoder.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in learnt]
    (report,) = made
    assert math.isfinite(report.loss)
    moved = [not torch.equal(a, b) for a, b in zip(before, learnt, strict=True)]
    assert all(moved), f"{moved.count(False)} of {len(moved)} tensors of the encoder never moved"


@pytest.mark.parametrize("name", [name for name in [*METHODS, *WITH_TEACHER] if len(load(name, 32).recipes) == 2])
def test_a_published_recipe_that_is_not_ours_trains_to_a_finite_loss(name: str):
    made = trainer(name, epochs=1, hyperparameters=load(name, 32).published | {"batch_size": 8})
    (report,) = made
    assert made.optimizer.kind == load(name, 32).published["optimizer"]
    assert math.isfinite(report.loss)


def test_a_method_is_told_the_share_of_all_steps_after_its_weights_have_moved():
    made = trainer("simclr", epochs=2)
    weight = next(made.method.encoder.parameters())
    told, used = [], []

    def loss(views, index, original=made.method.loss):
        used.append(weight.detach().clone())
        return original(views, index)

    made.method.loss = loss
    made.method.after_step = lambda progress: told.append((progress.item(), weight.detach().clone()))
    list(made)
    steps = 2 * made.steps
    assert [progress for progress, _ in told] == pytest.approx([(step + 1) / steps for step in range(steps)])
    for (_, after), before in zip(told, used, strict=True):
        assert not torch.equal(after, before)
    for (_, after), following in zip(told[:-1], used[1:], strict=True):
        assert torch.equal(after, following)


def test_a_constant_learning_rate_does_not_decay():
    made = trainer("simsiam", hyperparameters={"weight_decay": 0.0, "momentum": 1.0})
    made.step_number.fill_(len(made.rates) - 2)
    for group in made.optimizer.groups:
        for momentum in group.momentum:
            momentum.fill_(1.0)
    parameters = dict(made.method.named_parameters())
    before = {name: value.detach().clone() for name, value in parameters.items()}
    made.update([torch.zeros_like(parameter) for parameter in made.optimizer.parameters()])
    for name, value in parameters.items():
        constant = name.startswith("predictor.")
        rate = (made.constant_rates if constant else made.rates)[-2]
        torch.testing.assert_close(before[name] - value, rate.expand_as(value), rtol=1e-2, atol=1e-6)
    assert made.constant_rates[-2] > 100 * made.rates[-2]


class Operators(TorchDispatchMode):
    """Keeps the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.name())
        indices = [index for part in args if isinstance(part, list | tuple) for index in part]
        if any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices):
            self.names.add("mask")  # as an index: how many it chooses, only the device knows
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, "supervised"])
def test_no_step_waits_for_the_device(name: str, monkeypatch):
    """Augmentation has a test of its own."""
    monkeypatch.setattr(colour, "eager_on_cpu", lambda tensor: False)
    made = trainer(name)
    made.method.before_epoch(0, made.batches)
    index = torch.arange(made.batch_size)
    views = made.augmented(made.images.gather(index))
    with Operators() as operators:
        made.update(made.gradients(made.forward(views, index)))
        made.finish()
    known = "_local_scalar_dense nonzero masked_select equal is_nonzero _unique2 repeat_interleave.Tensor"
    assert not operators.names & {"mask", *(f"aten::{name}" for name in known.split())}


@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, "supervised"])
def test_a_step_in_bfloat16_keeps_loss_weights_and_state_in_full_precision(name: str, monkeypatch):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: True)
    made = trainer(name)
    made.method.before_epoch(0, made.batches)
    index = torch.arange(made.batch_size)
    before = {key: value.clone() for key, value in made.method.state_dict().items()}
    loss = made.forward(made.augmented(made.images.gather(index)), index)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    made.step(index)
    made.step(index + made.batch_size)
    after = made.method.state_dict()
    assert {key: value.dtype for key, value in after.items()} == {key: value.dtype for key, value in before.items()}
    # Prototypes are fixed at first.
    trained = {key for key, value in made.method.named_parameters() if value.requires_grad and "prototypes" not in key}
    moved = {key for key in trained if not torch.equal(after[key], before[key])}
    assert moved >= trained - {"student.2.weight"}


def test_the_seed_decides_and_nothing_else():
    first, same, other = ([r.loss for r in trainer("simclr", seed=seed)] for seed in (0, 0, 1))
    assert first == same != other


def test_a_method_never_sees_labels_unless_it_is_the_ceiling():
    assert trainer("simclr").method.setting.labels is None


def test_only_the_epochs_asked_for_are_evaluated():
    assert ["knn_200" in r.metrics for r in trainer("simclr", evaluate_at=[1, 3])] == [True, False, True]


def test_supervised_training_learns_the_labels():
    made = trainer("supervised", epochs=15)
    losses = [report.loss for report in made]
    assert losses[-1] < losses[0] - 0.2


def test_baselines_without_training_leave_the_encoder_as_it_was_initialised():
    made = trainer("random", epochs=1)
    before = {name: value.clone() for name, value in made.method.state_dict().items()}
    (report,) = made
    assert "knn_200" in report.metrics
    assert_equal_states(made.method.state_dict(), before)


def test_hyperparameters_that_are_unknown_or_missing_are_named():
    with pytest.raises(ValueError, match="does not know temprature"):
        trainer("simclr", hyperparameters={"temprature": 1.0})
    with pytest.raises(ValueError, match=r"lacks .*temperature"):
        Trainer(method_class("simclr"), torch.zeros(64, 3, 8, 8, dtype=torch.uint8), {}, epochs=1)
    with pytest.raises(ValueError, match="no optimizer 'adm'"):
        trainer("simclr", hyperparameters={"optimizer": "adm"})


def test_the_recipe_says_whether_biases_and_norms_are_decayed():
    for decay_norms in (False, True):
        made = trainer("simclr", hyperparameters={"decay_norms": decay_norms})
        decayed = {id(value) for group in made.optimizer.groups if group.decayed for value in group.parameters}
        expected = {id(value) for value in made.method.parameters() if decay_norms or value.ndim > 1}
        assert decayed == expected


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="two are the least"):
        trainer("simclr", images=1)


def test_a_trainer_names_the_hyperparameters_that_are_in_effect_where_others_were_given():
    made = trainer("simsiam", hyperparameters={"batch_size": 512})
    changed = {"batch_size": 32, "projector_hidden": 512, "projector_width": 512, "predictor_hidden": 256}
    assert made.facts["hyperparameters"] == changed
    assert made.facts["batch_size"] == made.batch_size == 32
    assert made.hyperparameters.items() >= changed.items()
    assert made.method.predictor[0].out_features == 256
    assert trainer("simsiam", hyperparameters=made.hyperparameters).facts["hyperparameters"] == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_peak_memory_is_that_of_a_training_alone():
    pixels = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8, device="cuda")

    def peak() -> int:
        given = load("simclr", 32).defaults | {"batch_size": 8}
        (report,) = Trainer(method_class("simclr"), pixels, given, epochs=1, encoder="resnet8", device="cuda")
        return report.peak_memory_bytes

    peak()  # the first has libraries' own work space
    alone = peak()
    others = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    assert abs(peak() - alone) < 2**20 < len(others)


def test_the_trainer_shows_a_method_no_batch_of_a_single_image():
    made = trainer("pirl", images=1025, hyperparameters={"batch_size": 8}, epochs=1)
    assert [len(index) for index, _ in made.batches()] == [1025]
    assert torch.equal(torch.cat([index for index, _ in made.batches()]), torch.arange(1025))
    assert [len(index) for index, _ in trainer("pirl", images=1030, epochs=1).batches()] == [1024, 6]


@pytest.mark.parametrize("size", [1, 0, -4])
def test_a_batch_of_fewer_than_two_images_is_refused(size: int):
    with pytest.raises(ValueError, match=f"A batch_size of {size} is too small; two images are the least"):
        trainer("simclr", hyperparameters={"batch_size": size})


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, *WITH_TEACHER, "supervised"])
@pytest.mark.parametrize(("batch_size", "images"), [(2, 2), (2, 7), (3, 5), (5, 5), (5, 13)])
def test_the_smallest_batches_train_to_a_finite_loss(name: str, batch_size: int, images: int):
    for report in trainer(name, images=images, epochs=2, hyperparameters={"batch_size": batch_size}):
        assert math.isfinite(report.loss)


AUGMENTED = {
    "augment": "texture",
    "least_crop": 0.5,
    "jitter_strength": 0.5,
    "jitter_colour": False,
    "vertical_flip_probability": 0.5,
    "quarter_turn_probability": 1.0,
}


@pytest.mark.parametrize("name", ["simclr", "pirl"])
def test_with_the_papers_own_views_a_training_is_the_same_to_the_last_bit_whatever_the_settings(name: str):
    own, paper = (trainer(name, epochs=1, hyperparameters=h) for h in ({}, AUGMENTED | {"augment": "paper"}))
    assert paper.hyperparameters == own.hyperparameters | {"augment": "paper"}
    assert measured(next(iter(own))) == measured(next(iter(paper)))
    assert_equal_states(own.state_dict(), paper.state_dict())
    changed = trainer(name, epochs=1, hyperparameters=AUGMENTED)
    assert next(iter(changed)).loss != paper.losses.mean().item()


def test_resuming_an_augmented_training_gives_the_same_bits():
    whole = trainer("byol", hyperparameters=AUGMENTED)
    (first, *_), state = zip(*((report, copy.deepcopy(whole.state_dict())) for report in whole), strict=True)
    assert first.epoch == 1
    continued = trainer("byol", hyperparameters=AUGMENTED)
    continued.load_state_dict(state[0])
    assert [report.epoch for report in continued] == [2, 3]
    assert_equal_states(whole.state_dict(), continued.state_dict())
