"""What a self-supervised method is: the part it adds to an encoder, and nothing of the loop that trains it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.encoders import ENCODERS, EncoderFactory, build_encoder
from algorithms.encoders.encoder import Encoder
from algorithms.images.augmentation import Augmentation
from algorithms.images.statistics import IMAGENET, Statistics
from algorithms.images.view import View

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Call it for one pass over the training set, un-augmented and in order: (index [B], images [B, C, S, S])."""


@dataclass(frozen=True)
class Setting:
    """What a method may know of the training that it is part of."""

    images: int
    """Number of training images; `index` runs below it."""
    image_size: int
    """Side of the stored images, px."""
    batch_size: int
    """Images (not views) in a step."""
    epochs: int
    labels: Tensor | None = None
    """int64 [images]. Given to the supervised ceiling alone; a self-supervised method always gets None."""
    teacher: Tensor | None = None
    """float16 [images, D] on the training's device: what a frozen network says of each image
    (`algorithms.evaluation.features.known_features`). Given to the methods of `algorithms.WITH_TEACHER` alone."""
    statistics: Statistics = IMAGENET
    """By which the images are normalised."""

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole training."""
        return self.epochs * (self.images // self.batch_size)


class Method(nn.Module):
    """Base of all methods.

    A subclass names its paper and equation, builds its heads, says which `views` of an image it wants and
    computes `loss` from them. The paragraphs of its docstring make its page (`bench/guide`): first the idea, then the
    equation and what else is the paper's, then "Departures: ", what is otherwise than there and why, and "Choose it "
    for which images, labels and compute. Its constructor takes `(setting, encoder)` and then its hyper-parameters as
    keywords, whose defaults stand in `search_spaces/NAME.yaml`. Everything that training needs later (queues,
    memory banks, centres, assignments, EMA weights) is a parameter or a buffer, so that one `state_dict` resumes
    it exactly. A hyper-parameter that a search touches is a 0-dimensional buffer (`scalar`), so that a compiled
    step serves every value of it.
    """

    views: tuple[View, ...]
    """The augmented views that `loss` receives, in this order."""
    shared_flip = False
    """Whether all views of an image share one flip and one turn (AMDIM)."""
    contrasts_with = "nothing"
    """What a view is told apart from, its negatives: "the batch", "a queue" of earlier images, "a bank" of all, or
    "nothing"."""
    constant_learning_rate: tuple[str, ...] = ()
    """Attributes (modules) whose learning rate warms up but never decays (SimSiam's predictor)."""

    def __init__(self, setting: Setting, encoder: Encoder) -> None:
        super().__init__()
        self.setting = setting
        self.encoder = encoder

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> Encoder:
        """The encoder for a run that asks for this one. Methods whose premise needs another one override this."""
        network = build_encoder(encoder, image_size, channels)
        if encoder in ENCODERS:
            cls.initialise(network)
        return network

    @classmethod
    def brings_encoder(cls) -> bool:
        """Whether the method has an encoder of its own, whatever the run's is."""
        return cls.build_encoder.__func__ is not Method.build_encoder.__func__  # type: ignore[attr-defined]

    @classmethod
    def initialise(cls, encoder: Encoder) -> None:
        """Let an encoder of ours, just made, begin as the paper's authors have it, where that is otherwise."""

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        """The values that the constructor gets for the method's own `hyperparameters`, all by name, where the encoder
        has `width` features and `batch_size` of `images` are in a step. What does not fit (the width of a head, the
        length of a queue) is cut here and nowhere else. More images change nothing in values that are effective."""
        return hyperparameters

    @classmethod
    def unaffected_by(cls, image_size: int) -> frozenset[str]:
        """The settings of `Augmentation` that change none of the method's views of images of this size."""
        return frozenset()

    def take(self, augmentation: Augmentation) -> None:
        """Have views by these settings in place of the paper's own."""
        self.views = tuple(augmentation.view(view, first=place == 0) for place, view in enumerate(self.views))

    def scalar(self, name: str, value: float) -> None:
        """Keep a number as a buffer [] of float32."""
        self.register_buffer(name, torch.tensor(float(value)))

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        """The loss [] of a batch: `views[v]` [B, C, h_v, w_v] normalised images, `index` int64 [B] their places
        in the training set."""
        raise TypeError(f"{type(self).__name__} has no loss: a method defines it.")

    def before_epoch(self, epoch: int, batches: Batches) -> None:
        """Called before epoch `epoch` (from 0), with a way to see the whole training set."""

    def after_step(self, progress: Tensor) -> None:
        """Called after each optimiser step, without gradient; `progress` [] in (0, 1] is the share of all steps
        that are done."""

    @property
    def judged_encoder(self) -> nn.Module:
        """The network that is judged, and kept when training has ended: from images [B, C, S, S] to features [B, D]."""
        return self.encoder
