"""How a trial of a real run is trained: on which images, judged by which, with which recipe."""

import functools
import gc
import os

import torch
from torch import Tensor

from algorithms import method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.training.augment import pack
from algorithms.training.trainer import Recipe, Trainer, batch_size_for, differing, effective_hyperparameters
from bench.data import images
from bench.errors import UserError
from bench.search.space import load

CALIBRATION_SECONDS = 0.4
"""A calibration trains for about so long, after a first step that is not counted."""


@functools.lru_cache(maxsize=1)
def stage_data(folder: str, searching: bool, device: str) -> tuple[Tensor, Tensor, Evaluation]:
    """The packed training pixels, their labels and the evaluation of a stage, on the device; kept in a warm worker
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
    bank = pixels if bool(labelled.all()) else pixels[labelled]
    return pixels, labels, Evaluation(bank, labels[labelled], queries, query_labels, len(dataset.classes))


def prepare(settings: dict) -> None:
    """What a worker does once, before its first trial."""
    if settings["device"] == "cpu":
        # A trial holds one core: two trials of one thread do more on two cores than one trial of two.
        torch.set_num_threads(1)
    set_determinism(settings)
    stage_data(settings["data"], True, settings["device"])


def set_determinism(settings: dict) -> None:
    """Make this process `deterministic`, or let it find the fastest way."""
    if settings.get("deterministic"):
        # cuBLAS asks for this before it gives the same sums every time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    else:
        torch.backends.cudnn.benchmark = True


def recipe(trial: dict, image_size: int) -> dict:
    """The hyper-parameters that are asked of the trial; a baseline's are those of its search space."""
    return trial["hyperparameters"] or load(trial["method"], image_size).defaults


def effective(trial: dict, settings: dict) -> dict:
    """The hyper-parameters with which the trial is trained (`effective_hyperparameters`), at whatever stage: by the
    number of images that a search trains on, so that the winner is confirmed as it won. Raises UserError."""
    dataset = images.open_saved(settings["data"])
    size = dataset.train.pixels.shape[-1]
    method, given = method_class(trial["method"]), recipe(trial, size)
    if most := settings.get("batch_size"):
        given = given | {"batch_size": min(most, given.get("batch_size", Recipe.batch_size))}
    count = len(dataset.train.labels) - dataset.validation
    if trial.get("halved"):  # of the batch that did not fit: a small data set has a smaller one than is asked for
        whole = batch_size_for(count, given.get("batch_size", Recipe.batch_size))
        given = given | {"batch_size": max(2, whole // 2)}
    try:
        with torch.device("meta"):  # its width is all that is asked for
            width = method.build_encoder(settings["encoder"], size).width
        return effective_hyperparameters(method, given, width=width, images=count)
    except ValueError as error:
        raise UserError(str(error)) from None


def build(trial: dict, settings: dict) -> Trainer:
    """The trainer of a trial (`uid, method, stage, seed, hyperparameters, epochs, evaluate_at`, and `halved` where half
    the images are in a step) in a run whose settings name the `data` (a folder of `images.save`), the `encoder` and the
    `device`, and may limit the `batch_size` and have steps compiled (`compile`: "on")."""
    pixels, labels, evaluation = stage_data(settings["data"], trial["stage"] == "search", settings["device"])
    trainer = Trainer(
        method_class(trial["method"]),
        pixels,
        effective(trial, settings),
        epochs=trial["epochs"],
        encoder=settings["encoder"],
        seed=trial["seed"],
        device=settings["device"],
        evaluation=evaluation,
        evaluate_at=trial["evaluate_at"],
        labels=labels if trial["method"] == "supervised" else None,
        packed=True,
        compiled=settings.get("compile") == "on",
    )
    asked = recipe(trial, trainer.method.setting.image_size)
    trainer.facts["hyperparameters"] = differing(asked, trainer.hyperparameters)
    return trainer


def calibrate(trial: dict, settings: dict) -> dict[str, float]:
    """What the trial takes here: {"epoch", "evaluation": seconds of one, "memory": bytes of the GPU that PyTorch held
    at the most, "device_memory": all bytes of the GPU}; the bytes are 0 on a CPU.

    Measured on a few steps and on a part of the images, not on a whole epoch.
    """
    on_gpu = settings["device"] != "cpu"
    if on_gpu:  # what an earlier calibration left
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer = build(trial, settings)
    seconds = 0.0
    if trainer.optimizer.groups:
        order = torch.randperm(len(trainer.pixels), device=trainer.device)
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
    count = len(evaluation.bank) + len(evaluation.queries)
    part = evaluation.queries[: evaluation.batch_size]
    evaluation.features(trainer.method, part)  # the first one is not counted either
    began = trainer.clock()
    evaluation.features(trainer.method, part)
    return {
        "epoch": seconds,
        "evaluation": (trainer.clock() - began) * count / len(part),
        "memory": torch.cuda.max_memory_reserved() if on_gpu else 0,
        "device_memory": torch.cuda.get_device_properties(trainer.device).total_memory if on_gpu else 0,
    }
