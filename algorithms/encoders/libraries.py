"""Networks of timm and torchvision, as `timm:NAME` and `torchvision:NAME`: as their library makes them, but for the
classifier, so that a state dict of one loads there."""

import contextlib
import difflib
import importlib.util
import logging
import socket
import urllib.parse
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from algorithms.encoders import weights
from algorithms.images.statistics import Statistics

CLASSIFIERS = ("fc", "classifier", "heads", "head")
"""What torchvision's networks call what comes behind the pooled features."""
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "sat493m": "SAT-493M",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "webli": "WebLI",
    "openai": "OpenAI's image-text pairs",
    "ig1b": "Instagram-1B",
    "yfcc100m": "YFCC-100M",
    "jft": "JFT-300M",
    "inat21": "iNaturalist 2021",
}
"""The parts of timm's tags that name data; they stand in the order in which a network was trained on them."""


UNSUITED = ("inception_v3", "googlenet")
"""Those of torchvision that give more than one output while they train."""
SECONDS = 5
"""In which the hub must answer."""


class Inputs(NamedTuple):
    """What a network with its library's weights was made for."""

    image_size: int
    """Side, px."""
    statistics: Statistics
    """By which it wants images normalised."""
    trained_on: str
    """In words."""


def default_references(device: str) -> tuple[str, ...]:
    """A good pair of pretrained networks for a machine of this device, "cuda" or "cpu"."""
    if device == "cpu":
        return "torchvision:mobilenet_v3_large", "torchvision:resnet18"
    large = "timm:vit_small_patch16_dinov3.lvd1689m" if _has_timm() else "torchvision:convnext_small"
    return "torchvision:resnet50", large


def check(name: str) -> None:
    """Raises ValueError, with the nearest names, if the library has no such network, and where it is not installed."""
    library, _, own = name.partition(":")
    known = _timm().list_models() if library == "timm" else torchvision.models.list_models(torchvision.models)
    known = [each for each in known if each not in UNSUITED]
    architecture, _, tag = own.partition(".")
    if library == "timm" and architecture in known:
        tags = [each.partition(".")[2] for each in _timm().list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise ValueError(f"timm has no weights '{tag}' of {architecture}; it has {', '.join(tags) or 'none'}.")
    elif own not in known:
        near = difflib.get_close_matches(own, known, n=3) or ["resnet18"]
        raise ValueError(f"{library} has no network '{own}'; did you mean {' or '.join(near)}?")


def make(name: str, image_size: int, channels: int) -> nn.Module:
    """The network without its classifier, randomly initialised from the global generator, for images of so many px and
    channels. Raises ValueError."""
    check(name)
    library, _, own = name.partition(":")
    return _of_timm(own, image_size, channels) if library == "timm" else _of_torchvision(own, image_size, channels)


def pretrained(name: str, image_size: int, channels: int, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """The network without its classifier, with the library's weights, which are downloaded once, or with those of a
    `state` dict. Raises ValueError where they do not fit or cannot be had."""
    check(name)
    library, _, own = name.partition(":")
    load = _timm_with if library == "timm" else _torchvision_with
    return load(own, image_size, channels, state)


def inputs(name: str) -> Inputs:
    """For which images the library's weights were made, and on what they were trained. Raises ValueError."""
    check(name)
    library, _, own = name.partition(":")
    if library == "timm":
        told = _timm().get_pretrained_cfg(own)
        size, statistics = told.input_size[-1], Statistics(tuple(told.mean), tuple(told.std))
        return Inputs(size, statistics, _trained_on(told.tag or ""))
    entry = _entry(own)
    shown = entry.transforms()
    trained_on = "Instagram, ImageNet-1k" if "SWAG" in entry.name else "ImageNet-1k"
    return Inputs(shown.crop_size[0], Statistics(tuple(shown.mean), tuple(shown.std)), trained_on)


def _trained_on(tag: str) -> str:
    """`sw_in12k_ft_in1k` -> "ImageNet-12k, ImageNet-1k"; a tag that names no known data as it stands."""
    data = [DATA[part] for part in tag.split("_") if part in DATA]
    return ", ".join(dict.fromkeys(data)) or tag or "what timm does not say"


# ---- timm ----


def _has_timm() -> bool:
    return importlib.util.find_spec("timm") is not None


def _timm() -> ModuleType:
    if not _has_timm():
        raise ValueError("Networks of timm need timm; install it with: pip install '.[timm]'")
    import timm

    return timm


def _of_timm(own: str, image_size: int, channels: int, **more: Any) -> nn.Module:
    asked: dict[str, Any] = {"num_classes": 0, "in_chans": channels, **more}
    if _timm().get_pretrained_cfg(own).fixed_input_size:
        asked["img_size"] = image_size
        with contextlib.suppress(TypeError):  # where it takes views of other sizes too, as multi-crop has them
            return _created(own, {**asked, "dynamic_img_size": True})
    return _created(own, asked)


def _created(own: str, asked: dict[str, Any]) -> nn.Module:
    try:
        made: nn.Module = _timm().create_model(own, **asked)
    except (AssertionError, ZeroDivisionError, IndexError) as error:  # a size of which it cannot make patches
        raise ValueError(f"timm:{own} cannot be made for these images ({_why(error)}).") from error
    return made


def _timm_with(own: str, image_size: int, channels: int, state: Mapping[str, Tensor] | None) -> nn.Module:
    if state is not None:
        return _timm_with_state(own, image_size, channels, state)
    told = _timm().get_pretrained_cfg(own)
    if not (told.hf_hub_id or told.url):
        raise ValueError(f"timm has no weights of {own}; give a file of them, as timm:{own}=FILE.")
    try:
        _reach_hub(told.hf_hub_id)
        return _of_timm(own, image_size, channels, pretrained=True)
    except Exception as error:  # of the hub's client, of a connection, of a disk
        raise ValueError(
            f"The weights of timm:{own} cannot be downloaded ({_why(error)}); bring those of "
            f"{told.hf_hub_id or told.url} and give them as timm:{own}=model.safetensors."
        ) from None


def _timm_with_state(own: str, image_size: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """timm knows how to fit its own weights to another size of image, and leaves unsaid what it finds no weights for:
    that is random, and so not the same in two networks."""

    def made(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            given = {"state_dict": dict(state), "custom_load": False}
            network = _of_timm(own, image_size, channels, pretrained=True, pretrained_cfg_overlay=given)
        for name in ("pretrained_cfg", "default_cfg"):  # which hold all of the file
            setattr(network, name, {})
        return network

    with _quietly(), contextlib.suppress(RuntimeError, ValueError, LookupError, AttributeError, TypeError):
        one, other = (made(seed).state_dict() for seed in (0, 1))
        if all(torch.equal(tensor, other[name]) for name, tensor in one.items()):
            return made(0)
    network = _of_timm(own, image_size, channels)
    weights.load(network, state, least=1.0)
    return network


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """timm warns of each name of a file that it does not know."""
    logger = logging.getLogger("timm")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _reach_hub(repository: str | None) -> None:
    """Raises OSError at once where weights are not in the hub's cache and there is no connection to fetch them: its own
    client tries for most of a minute."""
    import huggingface_hub
    from huggingface_hub import constants

    if repository is None or constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str) for file in files):
        return
    host = urllib.parse.urlsplit(constants.ENDPOINT)
    with socket.create_connection((host.hostname, host.port or 443), timeout=SECONDS):
        pass


def _why(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:100]


# ---- torchvision ----


def _of_torchvision(own: str, image_size: int, channels: int) -> nn.Module:
    more = {"image_size": image_size} if own.startswith("vit_") else {}
    try:
        network: nn.Module = torchvision.models.get_model(own, weights=None, **more)
    except (RuntimeError, AssertionError) as error:  # a size of which it cannot make patches
        raise ValueError(f"torchvision:{own} cannot be made for images of {image_size} px ({_why(error)}).") from error
    (name,) = (each for each in CLASSIFIERS if hasattr(network, each))
    if own.startswith("convnext"):  # the norm before the classifier belongs to the features
        classifier = network.get_submodule("classifier")
        assert isinstance(classifier, nn.Sequential)
        classifier[-1] = nn.Identity()
    else:
        setattr(network, name, nn.AdaptiveAvgPool2d(1) if own.startswith("squeezenet") else nn.Identity())
    if own.startswith(("vgg", "alexnet")):  # their classifier takes 49 places of a map
        network.avgpool = nn.AdaptiveAvgPool2d(1)
    if channels != 3:
        _take_channels(network, channels, keep=False)
    return network


def _torchvision_with(own: str, image_size: int, channels: int, state: Mapping[str, Tensor] | None) -> nn.Module:
    network = _of_torchvision(own, image_size, 3)
    state = _downloaded(own) if state is None else state
    if own.startswith("vit_") and "encoder.pos_embedding" in state:
        patch = int(network.patch_size)  # type: ignore[arg-type]
        state = torchvision.models.vision_transformer.interpolate_embeddings(image_size, patch, OrderedDict(state))
    weights.load(network, state, least=1.0)
    if channels != 3:
        _take_channels(network, channels, keep=True)
    return network


def _take_channels(network: nn.Module, channels: int, *, keep: bool) -> None:
    """Exchange the first convolution for one of so many channels. To `keep` its weights, each channel gets those of one
    of the three in turn, scaled so that the sums stay as they are: of a single channel, all three (as timm does)."""
    name, first = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    made = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    if keep:
        with torch.no_grad():
            if channels == 1:
                made.weight.copy_(first.weight.sum(1, keepdim=True))
            else:
                made.weight.copy_(first.weight[:, torch.arange(channels) % 3] * 3 / channels)
            if first.bias is not None and made.bias is not None:
                made.bias.copy_(first.bias)
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, made)


def _entry(own: str) -> Any:
    return torchvision.models.get_model_weights(own).DEFAULT


def _downloaded(own: str) -> Mapping[str, Tensor]:
    entry = _entry(own)
    try:
        state: Mapping[str, Tensor] = entry.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # of a connection, of a disk, of a file that is cut off
        file = entry.url.rpartition("/")[2]
        raise ValueError(
            f"The weights of torchvision:{own} cannot be downloaded ({_why(error)}); bring {file} and give it as "
            f"torchvision:{own}={file}."
        ) from None
    return state
