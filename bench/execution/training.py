"""How a trial of a real run is trained: on which images, judged by which, with which recipe."""

import dataclasses
import functools
import gc
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from algorithms import method_class
from algorithms.evaluation.features import at_a_time, encode, known_features
from algorithms.evaluation.held_out import HeldOut
from algorithms.evaluation.knn import Evaluation, LeaveOneOut
from algorithms.images.augmentation import Augmentation
from algorithms.images.statistics import Statistics
from algorithms.images.store import ImageStore, MappedImages, ResidentImages, pack
from algorithms.training.process import keep_freed_memory
from algorithms.training.recipe import Recipe, batch_size_for, differing, effective_hyperparameters
from algorithms.training.trainer import Trainer
from bench.data import saved
from bench.data.dataset import Dataset, Split
from bench.data.splits import stratified
from bench.errors import UserError
from bench.execution import brought, checkpoint, networks
from bench.execution.factory import Calibration
from bench.execution.pretrained import Pretrained
from bench.execution.protocols import Judgement, Subject, protocol, wants_labels
from bench.execution.settings import TrainingSettings
from bench.search import augmentation
from bench.search.job import CHOOSING, Job
from bench.search.methods import FROZEN
from bench.search.plan import FROM_SCRATCH, WITH_LABELS, judges
from bench.search.space import load

CALIBRATION_SECONDS = 0.4
"""A calibration trains for about so long, after a first step that is not counted."""
MOST_PAIRS = 2 * 10**9
"""Of images that ask and images that may be near, of which a calibration takes the time at most: of all that a CIFAR
data set has; on one core 20 s."""
QUERIES = 10_000
"""Images that ask in a leave-one-out, at most."""
Judges = LeaveOneOut | Evaluation | HeldOut
"""What judges a job."""
RESIDENT = 0.25
"""The part of a GPU's memory that images may take: the rest is for the training beside them."""


@functools.lru_cache(maxsize=1)
def opened(folder: str) -> Dataset:
    """The saved images; kept in a warm worker."""
    return saved.open_saved(folder)


def store_of(split: Split, statistics: Statistics, device: str) -> ImageStore:
    """Where a worker keeps these images: on a CPU in the saved file that all workers share; on a GPU in its memory, as
    far as they take no more than `RESIDENT` of it, else in the file."""
    start = int(split.rows[0]) if len(split) else 0
    together = torch.equal(split.rows, torch.arange(start, start + len(split)))
    if device == "cpu" and together:
        return ResidentImages(split.packed[start : start + len(split)], statistics)
    if device != "cpu" and len(split) * split.packed[:1].nbytes <= RESIDENT * torch.cuda.mem_get_info(device)[1]:
        packed = torch.empty(len(split), *split.packed.shape[1:], dtype=torch.uint8, device=device)
        filled = 0
        for part in split.parts():  # without a copy of all beside it
            packed[filled : filled + len(part)] = pack(part).to(device)
            filled += len(part)
        return ResidentImages(packed, statistics)
    return MappedImages(split.packed, split.rows, statistics, torch.device(device))


@functools.lru_cache(maxsize=1)
def training_images(folder: str, device: str) -> tuple[ImageStore, Tensor]:
    """What every stage trains on, and their labels, on the device."""
    dataset = opened(folder)
    return store_of(dataset.train, dataset.statistics, device), dataset.train.labels.to(device)


@functools.lru_cache(maxsize=1)
def leave_one_out(folder: str, device: str, augment: str | None = None) -> LeaveOneOut:
    """What judges by the training images alone; without labels by views as the preset `augment` makes them by default:
    others might be told apart by what the images' kind does not have, such as letters by their mirrored ones."""
    images, labels = training_images(folder, device)
    found = labels[labels >= 0].cpu().numpy()
    queries = torch.from_numpy(stratified(found, min(QUERIES, len(found)), leave=0)).to(device)
    dataset = opened(folder)
    groups = None if dataset.train.groups is None else dataset.train.groups.to(device)
    return LeaveOneOut(images, labels, len(dataset.classes), queries, groups, _views(augment, images))


def normalised_by(judge: Judges, statistics: Statistics) -> Judges:
    """The same, of images that are normalised by these statistics."""
    if isinstance(judge, Evaluation):
        bank, queries = (images.normalised_by(statistics) for images in (judge.bank, judge.queries))
        return dataclasses.replace(judge, bank=bank, queries=queries)
    return dataclasses.replace(judge, images=judge.images.normalised_by(statistics))


def _views(augment: str | None, images: ImageStore) -> Augmentation | None:
    return augmentation.defaults(augment, images.image_size) if augment else None


@functools.lru_cache(maxsize=1)
def on_test_images(folder: str, device: str, augment: str | None = None) -> Evaluation | HeldOut:
    """What judges on the test images that have labels, with the labelled training images as the bank; on all test
    images, without labels, where there are none of either."""
    images, _ = training_images(folder, device)
    dataset = opened(folder)
    if (found := by_labels(dataset, device, images)) is not None:
        return found
    return HeldOut(store_of(dataset.test, dataset.statistics, device), _views(augment, images))


def by_labels(dataset: Dataset, device: str, images: ImageStore | None = None) -> Evaluation | None:
    """What judges by the images that have labels; None where training or test images have none. `images` are all that
    train, where they are on the device already."""
    labelled, asking = (split.labels >= 0 for split in (dataset.train, dataset.test))
    if not (bool(labelled.any()) and bool(asking.any())):
        return None
    train, test = (
        split if bool(which.all()) else split.taken(which.nonzero()[:, 0])
        for split, which in ((dataset.train, labelled), (dataset.test, asking))
    )
    bank = images if images is not None and train is dataset.train else store_of(train, dataset.statistics, device)
    queries = store_of(test, dataset.statistics, device)
    return Evaluation(bank, train.labels.to(device), queries, test.labels.to(device), len(dataset.classes))


def without_labels(images: ImageStore) -> Evaluation:
    """Images that were held out, where none has a label: what looks at them alone."""
    nothing = torch.full((len(images),), -1, device=images.device)
    return Evaluation(images, nothing, images, nothing, 0)


def evaluation_of(job: Job, settings: TrainingSettings) -> Judges:
    """What judges the job: the training images where a run chooses by it, each by the others, else the test images.

    Raises ValueError for a training with labels by which a run is to choose: the others' labels are in its weights, so
    only images that were held out could judge it. No search has such a training: the supervised ceiling has one
    recipe, and is only ever met by test images.
    """
    judge: Judges
    if job.stage not in CHOOSING:
        judge = on_test_images(settings.data, settings.device, settings.augment)
    elif job.method in WITH_LABELS:
        raise ValueError(f"'{job.method}' trains with labels, so a run cannot choose by its training images.")
    else:
        judge = leave_one_out(settings.data, settings.device, settings.augment)
    return normalised_by(judge, brought.statistics(settings, job.method, opened(settings.data).statistics))


@functools.lru_cache(maxsize=1)
def followed(folder: str, device: str, of: Pretrained) -> Tensor:
    """What a teacher says of the training images, on the device. It sees them once in a run: the first process that
    asks, as a rule the calibration, keeps it beside the images."""
    place = Path(folder) / f"teacher-{of.key}.pt"
    if not place.exists():
        images, _ = training_images(folder, device)
        known = known_features(networks.frozen(of, images.statistics), images)
        checkpoint.write(place, {"features": known.cpu()})
    features: Tensor = checkpoint.read(place)["features"]
    return features.to(device)


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
        leave_one_out(self.settings.data, self.settings.device, self.settings.augment)

    def effective(self, job: Job) -> dict[str, Any]:
        """The hyper-parameters with which the job is trained (`effective_hyperparameters`), the same at whatever
        stage: a winner is confirmed as it won. Raises UserError."""
        dataset = opened(self.settings.data)
        size = dataset.train.size
        method, given = brought.method(self.settings, job.method), recipe(job, size, self.settings)
        if most := self.settings.batch_size:
            given = {**given, "batch_size": min(most, given.get("batch_size", Recipe.batch_size))}
        count = len(dataset.train.labels)
        if job.halved:  # of the batch that did not fit: a small data set has a smaller one than is asked for
            whole = batch_size_for(count, given.get("batch_size", Recipe.batch_size))
            given = {**given, "batch_size": max(2, whole // 2)}
        try:
            width = brought.width(self.settings, job.method, size)
            return effective_hyperparameters(method, given, width=width, images=count)
        except ValueError as error:
            raise UserError(str(error)) from None

    def build(self, job: Job) -> Trainer:
        settings = self.settings
        images, labels = training_images(settings.data, settings.device)
        given = images.statistics
        wanted = brought.statistics(settings, job.method, given)
        of = brought.teacher(settings, job.method)
        trainer = Trainer(
            brought.method(settings, job.method),
            images.normalised_by(wanted),
            self.effective(job),
            epochs=job.epochs,
            encoder=brought.encoder(settings, job.method, given),
            seed=job.seed,
            evaluation=evaluation_of(job, settings),
            evaluate_at=job.evaluate_at,
            labels=labels if job.method in WITH_LABELS else None,
            teacher=None if of is None else followed(settings.data, settings.device, of),
            compiled=bool(settings.compile),
        )
        asked = recipe(job, trainer.method.setting.image_size, settings)
        trainer.facts["hyperparameters"] = differing(asked, trainer.hyperparameters)
        trainer.facts |= brought.told(settings, job.method)
        return trainer

    def evaluate(self, job: Job, encoder: Mapping[str, Tensor]) -> Judgement:
        """The network is built as the training did, then has the weights of this state dict; where the protocol trains
        it from scratch, it stays as it is initialised."""
        name = job.protocol or ""
        trainer, subject = self._subject(job, name)
        if not (subject.with_labels and name in FROM_SCRATCH):
            subject.encoder.load_state_dict(encoder)
        return Judgement(trainer, subject, name, job.of or "")

    def judging_seconds(self, job: Job, protocols: Iterable[str]) -> dict[str, float]:
        """About what each of the protocols takes that judge what the job leaves, with the encoding."""
        asked = [name for name in protocols if judges(name, job.method)]
        if not asked:
            return {}
        trainer, subject = self._subject(dataclasses.replace(job, stage="confirm"), asked[0])
        encoding = _encoded(trainer)[1] * sum(subject.evaluation.sizes)
        return {name: encoding + protocol(name).seconds(subject) for name in asked}

    def _subject(self, job: Job, name: str) -> tuple[Trainer, Subject]:
        trainer, evaluation = self.build(job), evaluation_of(job, self.settings)
        if not isinstance(evaluation, Evaluation):
            if not isinstance(evaluation, HeldOut) or protocol(name).needs_labels:
                raise UserError(wants_labels(name))
            evaluation = without_labels(evaluation.images)
        views = _views(self.settings.augment, trainer.images)
        return trainer, Subject(
            trainer.method.judged_encoder,
            evaluation,
            job.seed,
            flip=float(views.horizontal_flip_probability) if views else 0.5,
            with_labels=job.method in WITH_LABELS,
        )

    def encoder_state(self, trainer: Trainer) -> Mapping[str, Tensor] | None:
        """Nothing of raw pixels, which have no weights."""
        return trainer.method.judged_encoder.state_dict() or None

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
        return Calibration(
            epoch=seconds,
            evaluation=_seconds_of_an_evaluation(trainer, evaluation_of(job, self.settings)),
            memory=torch.cuda.max_memory_reserved() if on_gpu else 0,
            device_memory=torch.cuda.get_device_properties(trainer.device).total_memory if on_gpu else 0,
        )


def _seconds_of_an_evaluation(trainer: Trainer, evaluation: Judges) -> float:
    """A part of the images is encoded, and stands for all; where very many ask, some of them do."""
    features, encoding = _encoded(trainer)
    asking = len(evaluation.queries) if isinstance(evaluation, LeaveOneOut | Evaluation) else 0

    def pairs(count: int) -> int:
        """That are compared where so many ask: the test images are neighbours of each other too."""
        return count * (evaluation.sizes[0] + count * isinstance(evaluation, Evaluation))

    def judging(count: int) -> float:
        """Seconds of the figures where so many ask."""
        some, sizes = evaluation, list(evaluation.sizes)
        if isinstance(some, LeaveOneOut):
            some = dataclasses.replace(some, queries=some.queries[:count])
        elif isinstance(some, Evaluation):
            some, sizes[1] = dataclasses.replace(some, query_labels=some.query_labels[:count]), count
        alike = [features.repeat(math.ceil(size / len(features)), 1)[:size] for size in sizes]
        began = trainer.clock()
        some.figures(trainer.method.judged_encoder, *alike)
        return trainer.clock() - began

    count = asking
    while pairs(count) > MOST_PAIRS and count > 2:
        count = max(2, count // 2)
    seconds = judging(count)
    if count < asking:  # what does not depend on who asks is not multiplied
        least = judging(1)
        seconds = least + max(0.0, seconds - least) * (pairs(asking) - pairs(1)) / (pairs(count) - pairs(1))
    return encoding * sum(evaluation.sizes) + seconds


def _encoded(trainer: Trainer) -> tuple[Tensor, float]:
    """Features of a part of the images, and the seconds of each."""
    encoder, images = trainer.method.judged_encoder, trainer.images
    part = torch.arange(min(at_a_time(encoder, images.image_size), len(images)), device=trainer.device)
    encode(encoder, images, part)  # the first one is not counted
    began = trainer.clock()
    features = encode(encoder, images, part)
    return features, (trainer.clock() - began) / len(part)


def recipe(job: Job, image_size: int, settings: TrainingSettings) -> Mapping[str, Any]:
    """The hyper-parameters that are asked of the job; a baseline's are those of its search space, with the preset of
    augmentation at its defaults where it has views."""
    if job.hyperparameters:
        return job.hyperparameters
    own = load("random" if job.method.startswith(FROZEN) else job.method, image_size, transformer=settings.transformer)
    if settings.augment and job.method in WITH_LABELS:
        own = augmentation.with_preset(own, settings.augment, method_class(job.method), image_size)
    return own.defaults
