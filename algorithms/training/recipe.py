"""A training's hyper-parameters: the recipe by which any method is optimised, and all of them as they take effect, cut
to fit the encoder and the images."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from algorithms.images.augmentation import SETTINGS, Augmentation
from algorithms.method import Method
from algorithms.training.optimizers import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class Recipe:
    """How a method is optimised: the hyper-parameters that are the trainer's, not the method's."""

    learning_rate: float
    """For 256 images in a batch: SGD and LARS scale it by batch_size / 256 (Goyal 2017); Adam and AdamW
    take it as it is, unless `scale_rate` says otherwise."""
    weight_decay: float
    batch_size: int = 256
    optimizer: str = "sgd"
    momentum: float = 0.9
    second_momentum: float = 0.999
    trust_coefficient: float = 0.001
    warmup: float = 0.0
    """Share of the training in which the learning rate rises."""
    schedule: str = "cosine"
    scale_rate: bool = False
    """Whether Adam and AdamW scale the learning rate too, as recipes for vision transformers do."""
    final_weight_decay: float | None = None
    """To which the weight decay rises on half a cosine (DINO, arXiv 2104.14294, section 3.2); None lets it be."""
    decay_norms: bool = False
    """Whether weight decay holds for biases and norms too, as in PyTorch's optimisers unless told otherwise."""
    gradient_clip: float = 0.0
    """Greatest norm of the gradient of a tensor of parameters; 0 does not clip."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise ValueError(f"There is no {name} '{value}'; there are {', '.join(known)}.")


RECIPE = tuple(field.name for field in fields(Recipe))
AUGMENTATION = ("augment", *SETTINGS)
"""The hyper-parameters that say how views are made, where a search adds them: `augment` is "paper", or another word
where the settings hold."""


def _parameters(method: type[Method]) -> list[inspect.Parameter]:
    """The hyper-parameters of the recipe and of the method's constructor."""
    own = list(inspect.signature(method).parameters.values())[2:]
    return [*inspect.signature(Recipe).parameters.values(), *own]


def hyperparameter_names(method: type[Method]) -> tuple[set[str], set[str]]:
    """The hyper-parameters that a training of `method` takes: (those it must be given, all)."""
    known = _parameters(method)
    return {item.name for item in known if item.default is item.empty}, {item.name for item in known}


def effective_hyperparameters(
    method: type[Method], given: Mapping[str, Any], *, width: int, images: int
) -> dict[str, Any]:
    """All hyper-parameters of a training of `method`, by name, as it takes place where those `given` are asked for,
    the encoder has `width` features and there are so many `images`: the batch is one of `batch_size_for`, and heads,
    queues and the like fit (`Method.effective`). Beside the paper's own views, no settings of augmentation are there.

    Given again, with as many images or more, they do not change. Raises ValueError for an unknown or missing
    hyper-parameter, and for fewer than two images, in all or in a batch.
    """
    required, known = hyperparameter_names(method)
    if wrong := (required - set(given)) or (set(given) - known - set(AUGMENTATION)):
        what = "lacks" if required - set(given) else "does not know"
        raise ValueError(f"{method.__name__} {what} {', '.join(sorted(wrong))}; it takes {', '.join(sorted(known))}.")
    if images < 2:
        raise ValueError(f"{images} training images are too few; two are the least.")
    values = {item.name: item.default for item in _parameters(method)} | dict(given)
    if values["batch_size"] < 2:
        raise ValueError(f"A batch_size of {values['batch_size']} is too small; two images are the least.")
    values["batch_size"] = batch_size_for(images, values["batch_size"])
    if Augmentation.of(given) is None:
        values = {name: value for name, value in values.items() if name not in SETTINGS}
    own = {name: value for name, value in values.items() if name not in (*RECIPE, *AUGMENTATION)}
    return values | method.effective(own, width=width, images=images, batch_size=values["batch_size"])


def differing(given: Mapping[str, Any], effective: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the `effective` hyper-parameters that were `given` with another value."""
    return {name: value for name, value in effective.items() if name in given and value != given[name]}


def batch_size_for(images: int, wanted: int) -> int:
    """`wanted`, or the largest power of 2 that leaves 64 steps in an epoch of `images`, though not below 32: on a
    small data set a published batch size would leave a handful of steps."""
    if images >= 64 * wanted:
        return wanted
    return min(wanted, max(min(32, images), 1 << (max(images // 64, 1).bit_length() - 1)))
