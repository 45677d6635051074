"""A network that is trained with labels: an encoder and a linear layer on its features."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.evaluation.features import raw_features
from algorithms.evaluation.linear import folds
from algorithms.images.augment import augment
from algorithms.images.store import ImageStore
from algorithms.images.view import View
from algorithms.parts import precision

BATCH, LEAST_BATCH, LEAST_PASS = 128, 32, 16
"""Images in a step, at most and, where there are as many, at least; steps in a pass over all images where there is
room between the two: few images teach more in many small steps."""
LEVELS = 4
"""Different learning rates of an encoder's layers, where they differ."""
WEIGHT_DECAY = 0.05
LEAST_MOMENTUM = 0.1
"""Of batch norm's running statistics."""


@dataclass(frozen=True)
class Schedule:
    """How a classifier is trained: AdamW, its rate risen over a tenth of the steps and fallen to 0 on half a cosine."""

    rate: float
    """The learning rate of the linear layer, and of the encoder's last ones."""
    first: float
    """That of the encoder's first layer, as a share; between them it rises geometrically."""
    passes: int = 20
    """Over the images, where they are many."""
    most_passes: int = 75
    """Over few images, as long as they are no more than `most_steps`."""
    least_steps: int = 300
    """However few the images."""
    most_steps: int = 1200

    def steps_of(self, count: int) -> int:
        """The steps of a training on so many images."""
        a_pass = count / batch_of(count)
        return round(max(self.least_steps, min(self.most_passes * a_pass, self.most_steps), self.passes * a_pass))


FINE_TUNING = (Schedule(1e-2, 0.3), Schedule(1e-3, 1.0))
"""Of an encoder that is trained already, among which one chooses; the first where one cannot. It suits one that has
learnt little, the second one that has learnt much."""
FROM_SCRATCH = (Schedule(1e-2, 1.0), Schedule(1e-3, 1.0))
"""Of an encoder that is not: convolutions want the first, transformers the second."""


def fixed(rate: float, first: float, steps: int) -> Schedule:
    """A schedule of so many steps."""
    return Schedule(rate, first, passes=0, most_passes=0, least_steps=steps, most_steps=steps)


def batch_of(count: int) -> int:
    """Images in a step, of so many: of a single one twice, as batch norm cannot take its variance."""
    return max(2, min(count, BATCH, max(LEAST_BATCH, count // LEAST_PASS)))


class Classifier(nn.Module):
    """A copy of an encoder, which is trained, and a new linear layer: from images [B, C, S, S] to logits [B, K]."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):  # of a frozen network
            self.encoder.requires_grad_(True)
        for module in self.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # as slow as some are, they would stay behind
                module.momentum = max(module.momentum or 0.0, LEAST_MOMENTUM)
        self.head = nn.Linear(width, classes)
        if hasattr(encoder, "image_size"):
            self.image_size = encoder.image_size

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(images).flatten(1))
        return logits

    def groups(self, schedule: Schedule) -> list[dict[str, object]]:
        """The parameters as AdamW takes them. Biases and norms do not decay."""
        layers = [
            [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
            for module in self.encoder.modules()
        ]
        layers = [layer for layer in layers if layer]
        found: dict[tuple[float, bool], list[Tensor]] = {}
        for place, layer in enumerate([*layers, list(self.head.parameters())]):
            level = place * LEVELS // max(1, len(layers)) / LEVELS
            for parameter in layer:
                found.setdefault((schedule.first ** (1 - level), parameter.ndim > 1), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": schedule.rate * share,
                "weight_decay": WEIGHT_DECAY if decayed else 0.0,
            }
            for (share, decayed), parameters in found.items()
        ]


@torch.enable_grad()
def train(
    encoder: nn.Module,
    images: ImageStore,
    places: Tensor,
    labels: Tensor,
    classes: int,
    schedule: Schedule,
    *,
    seed: int,
    flip: float = 0.5,
) -> Classifier:
    """A classifier that begins as the encoder is, trained on the images at `places` int64 [n] with their `labels`
    int64 [n], on crops of half the image or more, as the supervised baseline's, mirrored with probability `flip`."""
    device, count = images.device, len(places)
    batch, steps = batch_of(count), schedule.steps_of(count)
    view = View(images.image_size, scale=(0.5, 1.0), flip=flip, jitter=(0.0,) * 4, grayscale=0.0)
    bfloat16, normaliser = precision.computes_bfloat16(device), images.statistics.on(device)
    width = raw_features(encoder, images, places[:1]).shape[1]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Classifier(encoder, width, classes).to(device).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.groups(schedule))
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
        passes = [torch.randperm(count, device=device) for _ in range(-(-steps * batch // count))]
        order = torch.cat(passes)[: steps * batch].view(steps, batch)
        for place, packed in zip(order, images.batches(places[order]), strict=True):
            (seen,) = augment(packed, [view], normaliser)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits = model(seen)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels[place]).backward()
            optimizer.step()
            falling.step()
    return model


def _share(step: int, steps: int) -> float:
    """Of the learning rate, in a step from 0."""
    rising = max(1, steps // 10)
    progress = max(0.0, (step - rising) / max(1, steps - rising))
    return min(1.0, (step + 1) / rising) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def predict(model: Classifier, images: ImageStore, places: Tensor | None = None) -> Tensor:
    """The class of each of the images, or of those at `places`: int64 [N], -1 where the logits are not finite."""
    logits = raw_features(model, images, places)
    return logits.argmax(1).masked_fill(~torch.isfinite(logits).all(1), -1)


def choose(
    encoder: nn.Module,
    images: ImageStore,
    places: Tensor,
    labels: Tensor,
    classes: int,
    schedules: Sequence[Schedule],
    *,
    seed: int,
    flip: float = 0.5,
) -> Schedule:
    """The schedule by which `train` is right most often on a fifth of the images that it was not given; where no class
    has two images, the first."""
    out = folds(labels) == 0
    if not out.any():
        return schedules[0]
    right = []
    for schedule in schedules:
        model = train(encoder, images, places[~out], labels[~out], classes, schedule, seed=seed, flip=flip)
        right.append((predict(model, images, places[out]) == labels[out]).sum().item())
    return schedules[right.index(max(right))]


def seconds(encoder: nn.Module, images: ImageStore, count: int, classes: int) -> tuple[float, float]:
    """About what a step takes in a training on `count` images, and what predicting an image takes, on their device: of
    a few steps after the first, and of as many images."""
    places = torch.arange(batch_of(count), device=images.device) % min(count, len(images))
    labels = places % classes

    def trained(steps: int) -> Classifier:
        return train(encoder, images, places, labels, classes, fixed(1e-3, 1.0, steps), seed=0)

    model = trained(1)
    predict(model, images, places)
    began = time.perf_counter()
    predict(trained(3), images, places).sum().item()
    both = time.perf_counter() - began
    began = time.perf_counter()
    predict(model, images, places).sum().item()
    predicted = time.perf_counter() - began
    return max(both - predicted, 0.0) / 3, predicted / len(places)
