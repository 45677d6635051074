"""What a method is when it is built, and what a step of it costs: counted, not timed: the same on any machine."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from algorithms import WITH_TEACHER, method_class
from algorithms.encoders.transformer import VisionTransformer
from algorithms.method import Method, Setting
from algorithms.training.recipe import RECIPE, effective_hyperparameters
from bench.search.space import load

ENCODER, IMAGE_SIZE, IMAGES, CHANNELS, EPOCHS = "resnet18", 32, 50_000, 3, 200
"""What all are counted with: the setting of CIFAR-10. A method that brings its own encoder has that."""
BATCH = 4
"""Images in the step that is counted. More would add to the cost of an image what grows with the batch (similarities to
all others), which is below a thousandth of the encoder's."""
TEACHER_WIDTH = 512
"""Features of the network that a method with a teacher follows: those of a ResNet-18."""
MEGABYTE = 2**20
YARDSTICK = "simclr"
"""To whose cost those of others are set in relation."""


@dataclass(frozen=True)
class Built:
    """One method, with its recipe for small images."""

    encoder: str
    own_encoder: bool
    """Whether the method brings it, whatever the run's is."""
    views: int
    """Of an image in a step."""
    flops: float
    """Of one training step, forward and backward, for each image: matrix products, convolutions and attention."""
    passes: float
    """Views, or patches of them, of each image that pass the encoder or a copy of it in a step."""
    parameters: int
    """Trained, besides the encoder's."""
    kept: dict[str, int]
    """Bytes of what is kept beside the encoder and not trained by gradients, by the method's attribute."""
    teacher: bool
    """Whether a frozen copy of the encoder is among that."""


@cache
def built(name: str, encoder: str | None = None) -> Built:
    """The method `name` with its recipe, on the encoder that the method `encoder` would have, by default its own."""
    of = method_class(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = method_class(encoder or name).build_encoder(ENCODER, IMAGE_SIZE, CHANNELS)
        transformer = isinstance(network, VisionTransformer)
        asked = load(name, IMAGE_SIZE, transformer=transformer).defaults
        values = effective_hyperparameters(of, asked | {"batch_size": BATCH}, width=network.width, images=IMAGES)
        teacher = torch.zeros(IMAGES, TEACHER_WIDTH, dtype=torch.float16) if name in WITH_TEACHER else None
        setting = Setting(IMAGES, IMAGE_SIZE, BATCH, EPOCHS, teacher=teacher)
        method = of(setting, network, **_own(values))
        views = [torch.randn(BATCH, CHANNELS, view.size, view.size) for view in method.views]
        flops, passed = _step(method, views, torch.arange(BATCH))
    inside = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    kept: Counter[str] = Counter()
    for key, tensor in (*method.named_parameters(), *method.named_buffers()):
        if id(tensor) not in inside and not tensor.requires_grad:
            kept[key.partition(".")[0]] += tensor.numel() * tensor.element_size()
    trained = [tensor for tensor in method.parameters() if tensor.requires_grad and id(tensor) not in inside]
    return Built(
        encoder=network.name,
        own_encoder=of.brings_encoder(),
        views=len(views),
        flops=flops / BATCH,
        passes=passed / BATCH,
        parameters=sum(tensor.numel() for tensor in trained),
        kept=dict(kept),
        teacher=bool(list(_copies(method))),
    )


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """Of all hyper-parameters those that the method's constructor takes."""
    return {name: value for name, value in values.items() if name not in RECIPE}


def _step(method: Method, views: list[Tensor], index: Tensor) -> tuple[int, int]:
    """The operations of one step, and how many images the encoder and its copies have seen in it."""
    passed = 0

    def count(module: nn.Module, given: tuple[Any, ...]) -> None:
        nonlocal passed
        passed += len(given[0])

    for network in (method.encoder, *_copies(method)):
        _entrance(network).register_forward_pre_hook(count)
    with FlopCounterMode(display=False) as counter:
        method.loss(views, index).backward()
    return counter.get_total_flops(), passed


def _entrance(network: nn.Module) -> nn.Module:
    """The layer of an encoder that sees the images first: methods do not always call the whole of it."""
    return next(each for each in network.modules() if not list(each.children()) and list(each.parameters()))


def _copies(method: Method) -> Iterator[nn.Module]:
    """The frozen copies of the encoder in a method: averages of it, as a teacher."""
    shapes = [parameter.shape for parameter in method.encoder.parameters()]
    for module in method.modules():
        if type(module) is type(method.encoder) and module is not method.encoder:
            parameters = list(module.parameters())
            if [each.shape for each in parameters] == shapes and not any(each.requires_grad for each in parameters):
                yield module


def relative(name: str) -> float:
    """The cost of a step for each image, in those of SimCLR on a ResNet-18."""
    return built(name).flops / built(YARDSTICK).flops


def relative_on_its_own(name: str) -> float:
    """The same of a method that brings its encoder, in those of SimCLR on that one."""
    return built(name).flops / built(YARDSTICK, name).flops


def megabytes(name: str) -> float:
    """All that is kept beside the encoder and not trained by gradients."""
    return sum(built(name).kept.values()) / MEGABYTE
