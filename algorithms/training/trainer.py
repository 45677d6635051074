"""The loop that trains any method, as an iterator of epoch reports."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from algorithms.encoders import EncoderFactory, encoder_name
from algorithms.encoders.encoder import Encoder
from algorithms.evaluation.features import known_features
from algorithms.evaluation.knn import Judge
from algorithms.images.augment import augment, unaugmented
from algorithms.images.augmentation import Augmentation
from algorithms.images.store import ImageStore, ResidentImages
from algorithms.method import Method, Setting
from algorithms.parts import precision
from algorithms.training.compiled import CompiledStep
from algorithms.training.optimizers import (
    Optimizer,
    clip_gradients,
    learning_rates,
    parameter_groups,
    weight_decays,
)
from algorithms.training.recipe import AUGMENTATION, RECIPE, Recipe, differing, effective_hyperparameters
from algorithms.training.report import EpochReport


class Trainer:
    """Trains `method` on `images`; each step of the iteration is an epoch.

    ```
    for report in Trainer(SimCLR, images, hyperparameters, epochs=200):
        print(report.epoch, report.loss, report.metrics)
    ```

    Whoever iterates may stop at any report, keep `state_dict()`, and go on from it in another process: the result is
    the same to the last bit (on a CPU, and on CUDA with `deterministic`), because the random numbers of an epoch
    depend on `seed` and the epoch alone.

    `images`: uint8 [N, C, S, S], which are put on the `device`, or an `ImageStore`, whose device is the training's.
    `encoder`: a name, a function that makes one's own for an image size, or one's own network, which is trained in
    place. `hyperparameters`: those of `Recipe` and of the method's constructor; with `augment` other than "paper" those
    of `Augmentation` too. `evaluation` judges the epochs in `evaluate_at` (default: the last). `labels` are for the
    supervised ceiling alone, a `teacher` for the methods that follow one: a network that takes the images as they are
    normalised here, or what `known_features` has of it. A head, a queue or a batch that is too large for the encoder or
    the data set is cut (`effective_hyperparameters`): the trainer's `hyperparameters` are those in effect, and its
    `facts` name those of them that differ from what was given. Raises ValueError for an unknown or missing
    hyper-parameter, and for fewer than two images, in all or in a batch.
    """

    def __init__(
        self,
        method: type[Method],
        images: Tensor | ImageStore,
        hyperparameters: Mapping[str, Any],
        *,
        epochs: int,
        encoder: str | EncoderFactory = "resnet18",
        seed: int = 0,
        device: torch.device | str | None = None,
        evaluation: Judge | None = None,
        evaluate_at: Collection[int] | None = None,
        labels: Tensor | None = None,
        teacher: Encoder | Tensor | None = None,
        compiled: bool = False,
    ) -> None:
        if isinstance(images, Tensor):
            device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        else:
            device = images.device
        self.device, on_gpu = device, device.type == "cuda"
        self._occupied = torch.cuda.memory_allocated(self.device) if on_gpu else 0
        self.bfloat16 = precision.computes_bfloat16(self.device)
        self.images: ImageStore = ResidentImages.of(images, device) if isinstance(images, Tensor) else images
        self.normaliser = self.images.statistics.on(device)
        self.seed, self.epochs, self.epoch = seed, epochs, 0
        self.evaluation, self.evaluate_at = evaluation, set(evaluate_at or [epochs])

        torch.manual_seed(seed)
        count, size = len(self.images), self.images.image_size
        network = method.build_encoder(encoder, size, self.images.statistics.channels)
        self.hyperparameters = effective_hyperparameters(method, hyperparameters, width=network.width, images=count)
        """All that the training has, as they are in effect."""
        recipe = Recipe(**{name: value for name, value in self.hyperparameters.items() if name in RECIPE})
        own = {n: value for n, value in self.hyperparameters.items() if n not in (*RECIPE, *AUGMENTATION)}
        self.batch_size = recipe.batch_size
        self.steps = count // self.batch_size
        followed = teacher if teacher is None or isinstance(teacher, Tensor) else known_features(teacher, self.images)
        setting = Setting(count, size, self.batch_size, epochs, labels, followed, self.images.statistics)
        self.method = method(setting, network, **own)
        # Numbers cost nothing where they are off, tensors need no graph of their own.
        if augmentation := Augmentation.of(self.hyperparameters, self.device if compiled else None):
            self.method.take(augmentation)
        self.method.to(self.device).to(memory_format=torch.channels_last).train()
        constant = self.method.constant_learning_rate
        groups = parameter_groups(self.method, constant, decay_norms=recipe.decay_norms)
        self.optimizer = Optimizer(
            groups if method.loss != Method.loss else [],
            recipe.optimizer,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            second_momentum=recipe.second_momentum,
            trust_coefficient=recipe.trust_coefficient,
        )
        scaled = recipe.scale_rate or recipe.optimizer not in ("adam", "adamw")
        scale = self.batch_size / 256 if scaled else 1
        self.rates, self.constant_rates = learning_rates(
            recipe.learning_rate * scale,
            epochs * self.steps,
            warmup=recipe.warmup,
            schedule=recipe.schedule,
            device=self.device,
        )
        self.decays = weight_decays(
            recipe.weight_decay, recipe.final_weight_decay, epochs * self.steps, device=self.device
        )
        self.gradient_clip = torch.tensor(recipe.gradient_clip, device=self.device) if recipe.gradient_clip else None
        self.step_number = torch.zeros((), dtype=torch.long, device=self.device)
        self.losses = torch.zeros(self.steps, device=self.device)
        self.compiled = CompiledStep() if compiled else None
        self.facts = {
            "encoder": network.name,
            "encoder_parameters": sum(parameter.numel() for parameter in network.parameters()),
            "own_encoder": network.name != encoder_name(encoder),
            "batch_size": self.batch_size,
            "hyperparameters": differing(hyperparameters, self.hyperparameters),
            "device": precision.device_name(self.device),
            **self.images.statistics._asdict(),
        }
        """What a reader of the result needs to know of the training that is the same in every epoch."""
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)

    def __iter__(self) -> Iterator[EpochReport]:
        while self.epoch < self.epochs:
            yield self.train_epoch()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the training set, in order, un-augmented: (index [B], images [B, C, S, S])."""
        parts = list(torch.arange(len(self.images), device=self.device).split(1024))
        if len(parts) > 1 and len(parts[-1]) == 1:  # of a single image, batch norm cannot take the variance
            parts[-2:] = [torch.cat(parts[-2:])]
        for index in parts:
            with self.autocast():
                yield index, unaugmented(self.images.gather(index), self.normaliser)

    def autocast(self) -> torch.autocast:
        """Matrix products and convolutions in bfloat16 where the device computes in it; weights stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def train_epoch(self) -> EpochReport:
        """Train the next epoch and report it."""
        began = self.clock()
        # A seed of its own for every epoch, so that an epoch needs no random state from the one before.
        torch.manual_seed(self.seed * 1_000_003 + self.epoch + 1)
        self.step_number.fill_(self.epoch * self.steps)
        self.method.before_epoch(self.epoch, self.batches)
        order = torch.randperm(len(self.images), device=self.device)
        if self.optimizer.groups:
            batches = order[: self.steps * self.batch_size].view(self.steps, self.batch_size)
            for step, images in enumerate(self.images.batches(batches)):
                self.losses[step] = self.step_on(images, batches[step])
        loss = self.losses.mean().item()
        trained = self.clock()
        self.epoch += 1
        metrics = {}
        if self.evaluation is not None and self.epoch in self.evaluate_at:
            metrics = self.evaluation(self.method.judged_encoder)
        seconds = trained - began
        return EpochReport(
            epoch=self.epoch,
            loss=loss,
            metrics=metrics,
            seconds=seconds,
            evaluation_seconds=self.clock() - trained,
            images_per_second=self.steps * self.batch_size / seconds,
            peak_memory_bytes=self.peak_memory(),
        )

    def step(self, index: Tensor) -> Tensor:
        """One optimiser step on the images at `index` [B]; the loss [], detached."""
        return self.step_on(self.images.gather(index), index)

    def step_on(self, images: Tensor, index: Tensor) -> Tensor:
        """`step` on images that are gathered, outside of the compiled step: a store may do what no graph can."""
        return self.compiled(self, images, index) if self.compiled else self.plain_step(images, index)

    def plain_step(self, images: Tensor, index: Tensor) -> Tensor:
        """`step_on`, never compiled."""
        loss = self.forward(self.augmented(images), index)
        self.update(self.gradients(loss))
        self.finish()
        return loss.detach()

    # The phases of a step, each by itself so that a profile can time them.

    def augmented(self, images: Tensor) -> list[Tensor]:
        """The views that the method wants of packed images uint8 [B, S, C, S]."""
        return augment(images, self.method.views, self.normaliser, shared_flip=self.method.shared_flip)

    def forward(self, views: list[Tensor], index: Tensor) -> Tensor:
        """The loss [], with its graph."""
        with self.autocast():
            return self.method.loss(views, index)

    def gradients(self, loss: Tensor) -> Sequence[Tensor]:
        """Of all parameters, clipped where the recipe says so."""
        gradients = torch.autograd.grad(loss, self.optimizer.parameters(), materialize_grads=True)
        return gradients if self.gradient_clip is None else clip_gradients(gradients, self.gradient_clip)

    def update(self, gradients: Sequence[Tensor]) -> None:
        """The optimiser's step, at the learning rates of this step."""
        # Looked up on the device: an index that is a tensor would be read by the host, which then waits for the step.
        place = self.step_number[None]
        rate, constant_rate, decay = (
            table.gather(0, place)[0] for table in (self.rates, self.constant_rates, self.decays)
        )
        self.optimizer.step(gradients, rate, constant_rate, decay)
        self.step_number += 1

    def finish(self) -> None:
        """What the method does after a step: averages of weights, schedules of its own."""
        with torch.no_grad():
            self.method.after_step(self.step_number / len(self.rates))

    # What a compiled step asks for.

    def changed(self) -> list[Tensor]:
        """All tensors that a step changes."""
        optimizer = self.optimizer.state_dict()
        return [
            *self.method.state_dict(keep_vars=True).values(),
            *(optimizer["steps"], *optimizer["momentum"], *optimizer["square"]),
            self.step_number,
        ]

    def lengths(self) -> list[tuple[Tensor, int]]:
        """Tensors that may be as long as there are images, or steps, each with that number."""
        steps = len(self.rates)
        return [
            *((buffer, len(self.images)) for buffer in self.method.buffers()),
            *((self.rates, steps), (self.constant_rates, steps), (self.decays, steps)),
        ]

    @property
    def notice(self) -> str | None:
        """Why the steps are not compiled although they should be, where that is so."""
        return self.compiled.notice if self.compiled else None

    def peak_memory(self) -> int | None:
        """`EpochReport.peak_memory_bytes`, up to now."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device) - self._occupied

    def clock(self) -> float:
        """Monotonic seconds, with the device's work done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers alone: `torch.load(weights_only=True)` reads it."""
        return {
            "epoch": self.epoch,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of a trainer made with the same arguments."""
        self.epoch = state["epoch"]
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
