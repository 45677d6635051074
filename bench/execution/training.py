"""How a trial of a real run is trained: on which images, judged by which, with which recipe."""

import functools
import gc
import os
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from algorithms import method_class
from algorithms.evaluation.features import BATCH, encode
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ImageStore, ResidentImages, pack
from algorithms.method import Method
from algorithms.training.process import keep_freed_memory
from algorithms.training.recipe import Recipe, batch_size_for, differing, effective_hyperparameters
from algorithms.training.trainer import Trainer
from bench import doors
from bench.data import images
from bench.errors import UserError
from bench.execution.factory import Calibration
from bench.execution.protocols import Judgement
from bench.execution.settings import TrainingSettings
from bench.search.job import Job
from bench.search.space import load

CALIBRATION_SECONDS = 0.4
"""A calibration trains for about so long, after a first step that is not counted."""


@functools.lru_cache(maxsize=1)
def stage_data(folder: str, searching: bool, device: str) -> tuple[ImageStore, Tensor, Evaluation]:
    """The training images, their labels and the evaluation of a stage, on the device; kept in a warm worker
    until it turns to the other stage, on a CPU as parts of the saved file that all workers share.

    A search trains on the training split and is judged on the validation split. All else trains on both and is judged
    on the test images. The bank is what the stage trains on, less the images without a label.
    """
    dataset = images.open_saved(folder)
    pixels, labels = pack(dataset.train.pixels), dataset.train.labels
    if searching:
        sizes = [len(labels) - dataset.validation, dataset.validation]
        (pixels, queries), (labels, query_labels) = pixels.split(sizes), labels.split(sizes)
    else:
        queries, query_labels = pack(dataset.test.pixels), dataset.test.labels
    pixels, labels, queries, query_labels = (part.to(device) for part in (pixels, labels, queries, query_labels))
    labelled = labels >= 0
    trained = ResidentImages(pixels)
    bank = trained if bool(labelled.all()) else ResidentImages(pixels[labelled])
    evaluation = Evaluation(bank, labels[labelled], ResidentImages(queries), query_labels, len(dataset.classes))
    return trained, labels, evaluation


def set_determinism(deterministic: bool) -> None:
    """Make this process deterministic, or let it find the fastest way."""
    if deterministic:
        # cuBLAS asks for this before it gives the same sums every time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    else:
        torch.backends.cudnn.benchmark = True


class Training:
    """The factory of a real run (`bench.execution.factory.Factory`)."""

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Self:
        return cls(TrainingSettings.from_json(settings))

    def prepare(self) -> None:
        """What a worker does once, before its first trial."""
        if self.settings.device == "cpu":
            # A trial holds one core: two trials of one thread do more on two cores than one trial of two.
            torch.set_num_threads(1)
            keep_freed_memory()
        set_determinism(self.settings.deterministic)
        stage_data(self.settings.data, True, self.settings.device)

    def effective(self, job: Job) -> dict[str, Any]:
        """The hyper-parameters with which the job is trained (`effective_hyperparameters`), at whatever stage: by the
        number of images that a search trains on, so that the winner is confirmed as it won. Raises UserError."""
        dataset = images.open_saved(self.settings.data)
        size = dataset.train.pixels.shape[-1]
        method, given = self.method(job.method), recipe(job, size)
        if most := self.settings.batch_size:
            given = {**given, "batch_size": min(most, given.get("batch_size", Recipe.batch_size))}
        count = len(dataset.train.labels) - dataset.validation
        if job.halved:  # of the batch that did not fit: a small data set has a smaller one than is asked for
            whole = batch_size_for(count, given.get("batch_size", Recipe.batch_size))
            given = {**given, "batch_size": max(2, whole // 2)}
        try:
            with torch.device("meta"):  # its width is all that is asked for
                width = method.build_encoder(self.encoder, size).width
            return effective_hyperparameters(method, given, width=width, images=count)
        except ValueError as error:
            raise UserError(str(error)) from None

    def build(self, job: Job) -> Trainer:
        settings = self.settings
        trained, labels, evaluation = stage_data(settings.data, job.stage == "search", settings.device)
        trainer = Trainer(
            self.method(job.method),
            trained,
            self.effective(job),
            epochs=job.epochs,
            encoder=self.encoder,
            seed=job.seed,
            evaluation=evaluation,
            evaluate_at=job.evaluate_at,
            labels=labels if job.method == "supervised" else None,
            compiled=bool(settings.compile),
        )
        asked = recipe(job, trainer.method.setting.image_size)
        trainer.facts["hyperparameters"] = differing(asked, trainer.hyperparameters)
        return trainer

    def evaluate(self, job: Job, encoder: Mapping[str, Tensor]) -> Judgement:
        """The network is built as the training did, then has the weights of this state dict."""
        trainer = self.build(job)
        trainer.method.judged_encoder.load_state_dict(encoder)
        return Judgement(trainer, job.protocol or "")

    def encoder_state(self, trainer: Trainer) -> Mapping[str, Tensor] | None:
        """Nothing of raw pixels, which have no weights."""
        return trainer.method.judged_encoder.state_dict() or None

    def method(self, name: str) -> type[Method]:
        """The class of a method or baseline, ours or a user's own. Raises UserError."""
        if (door := self.settings.methods.get(name)) is None:
            return method_class(name)
        found: type[Method] = doors.load("method", door, "name a class of algorithms.method.Method")
        return found

    @functools.cached_property
    def encoder(self) -> Any:
        """The name of one of our encoders, or what a user's door leads to: (image size, px) -> network. Raises
        UserError."""
        name = self.settings.encoder
        otherwise = "name a function that makes a network for images of so many px"
        return doors.load("encoder", name, otherwise) if doors.is_door(name) else name

    def calibrate(self, job: Job) -> Calibration:
        """What the job takes here, measured on a few steps and on a part of the images, not on a whole epoch."""
        on_gpu = self.settings.device != "cpu"
        if on_gpu:  # what an earlier calibration left
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        trainer = self.build(job)
        seconds = 0.0
        if trainer.optimizer.groups:
            order = torch.randperm(len(trainer.images), device=trainer.device)
            began = trainer.clock()
            trainer.method.before_epoch(0, trainer.batches)
            once = trainer.clock() - began
            if trainer.epochs > 1:  # steps as most are: some methods begin with less, as SwAV does without its queue
                trainer.method.before_epoch(trainer.epochs - 1, trainer.batches)
            trainer.step(order[: trainer.batch_size])
            began, steps = trainer.clock(), 0
            while trainer.clock() - began < CALIBRATION_SECONDS:
                trainer.step_number.zero_()  # a short training has fewer steps than this takes
                trainer.step(order[: trainer.batch_size])
                steps += 1
            seconds = once + (trainer.clock() - began) / steps * trainer.steps
        evaluation = trainer.evaluation
        assert evaluation is not None  # `build` gives it one
        count = len(evaluation.bank) + len(evaluation.queries)
        part = torch.arange(min(BATCH, len(evaluation.queries)), device=trainer.device)
        encode(trainer.method.judged_encoder, evaluation.queries, part)  # the first one is not counted either
        began = trainer.clock()
        encode(trainer.method.judged_encoder, evaluation.queries, part)
        return Calibration(
            epoch=seconds,
            evaluation=(trainer.clock() - began) * count / len(part),
            memory=torch.cuda.max_memory_reserved() if on_gpu else 0,
            device_memory=torch.cuda.get_device_properties(trainer.device).total_memory if on_gpu else 0,
        )


def recipe(job: Job, image_size: int) -> Mapping[str, Any]:
    """The hyper-parameters that are asked of the job; a baseline's are those of its search space."""
    return job.hyperparameters or load(job.method, image_size).defaults
