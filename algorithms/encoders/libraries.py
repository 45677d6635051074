"""Networks of timm and torchvision by name: with random weights, with the library's own, or with those of a file."""

import contextlib
import difflib
import io
import math
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from algorithms.encoders.encoder import patch_side
from algorithms.encoders.weights import by_its_names, load, read, refuse_not_finite
from algorithms.images.statistics import Statistics

AT_TIMM = {
    "resnext50": "resnext50_32x4d",
    "resnext101": "resnext101_32x8d",
    "wide_resnet50": "wide_resnet50_2",
    "wide_resnet101": "wide_resnet101_2",
}
"""Our names of networks that are others there."""

REACHED_WITHIN = 3
"""Seconds in which the hub must answer once before its client, which tries for 45, is asked for a file."""

KEPT: dict[type[nn.Module], int] = {models.ConvNeXt: 2, models.MaxVit: 3, models.AlexNet: 6, models.VGG: 5}
"""First layers of torchvision's `classifier` that belong to the features: a norm and what pools before it, or all but
the last layer. Elsewhere the features are what the classifier is given."""

RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),  # DenseNet
    (re.compile(r"\bmlp\.linear_1\."), "mlp.0."),  # vision transformers
    (re.compile(r"\bmlp\.linear_2\."), "mlp.3."),
)
"""Names in torchvision's files that are others in its networks; its own loaders change them so."""

TRAINED_ON = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "inw21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "sat493m": "SAT-493M",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "laiona": "LAION-Aesthetic",
    "openai": "WIT-400M (OpenAI)",
    "webli": "WebLI",
    "datacomp1b": "DataComp-1B",
    "datacompxl": "DataComp-XL",
    "dfn2b": "DFN-2B",
    "dfn5b": "DFN-5B",
    "dfndr2b": "DFNDR-2B",
    "metaclip": "MetaCLIP",
    "metaclip2": "MetaCLIP 2",
    "merged2b": "Merged-2B",
    "m30m": "Merged-30M",
    "m38m": "Merged-38M",
    "cc12m": "CC-12M",
    "yfcc15m": "YFCC-15M",
    "yfcc100m": "YFCC-100M",
    "ig1b": "Instagram-1B",
    "swag": "Instagram-3.6B",
    "seer": "Instagram-1B",
    "jft": "JFT-300M",
    "sa1b": "SA-1B",
    "bamboo": "Bamboo",
}
"""Parts of timm's tags, and of torchvision's names of weights, that say on what a network was trained."""

ALONE = {"mae": "ImageNet-1k", "fcmae": "ImageNet-1k", "dino": "ImageNet-1k", "clip": "pairs of image and text"}
"""Parts of tags that name a method, and of what it was trained on where nothing else in the tag says so."""


class Inputs(NamedTuple):
    """What a library's weights expect, and whence they are."""

    image_size: int
    """px"""
    statistics: Statistics
    trained_on: str
    """In plain words, in the order of training: `ImageNet-22k, ImageNet-1k`. An unknown tag of timm's as it stands."""


def default_references(device: str) -> tuple[str, ...]:
    """A good pair of pretrained networks for a machine with GPUs (`cuda`) or without."""
    if device != "cuda":
        return "torchvision:mobilenet_v3_large", "torchvision:resnet18"
    other = "timm:vit_small_patch16_dinov3.lvd1689m" if find_spec("timm") else "torchvision:convnext_tiny"
    return "torchvision:resnet50", other


def check(name: str) -> None:
    """Raises ValueError, with the nearest names, if the library has no such network, and if timm is not installed."""
    library, plain = _parts(name)
    if library == "torchvision":
        known = models.list_models(module=models)
    elif find_spec("timm") is None:
        raise ValueError(f"'{name}' needs timm; install it by pip install '.[timm]'.")
    else:
        import timm

        known, network = timm.list_models(), plain.partition(".")[0]
        if network in known and network != plain:
            known = timm.list_pretrained(f"{network}.*") or [network]
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=3) or known[:3]
        raise ValueError(
            f"{library} has no network '{plain}'; did you mean {' or '.join(f'{library}:{each}' for each in near)}?"
        )


def make(name: str, image_size: int, channels: int) -> nn.Module:
    """The network without its classifier, randomly initialised from the global generator, for images of `image_size`
    px and so many channels. It gives features [B, D], or a map or tokens where the library pools none, and is otherwise
    as the library makes it, so that its state dict loads there. `patch` is the side of its patches, where it has some.

    Raises ValueError for an unknown name (`check`), and where there is no such network for this size.
    """
    check(name)
    library, plain = _parts(name)
    try:
        if library == "torchvision":
            return _of_torchvision(plain, image_size, channels)
        return _of_timm(plain, image_size, channels)
    except Exception as error:  # whatever a library raises at sizes that its network cannot have
        raise ValueError(f"{name} cannot be made for images of {image_size} px ({_line(error)}).") from error


def pretrained(name: str, image_size: int, channels: int, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """As `make`, with the weights of `state` (`weights.read`), or else with the library's own, which it downloads once.
    For other than three channels the first convolution's weights are summed or repeated, and positions are resampled to
    the size of the image.

    Raises ValueError as `make` does, where the library has no weights or they cannot be downloaded, and where those of
    `state` are not of this network.
    """
    network = make(name, image_size, channels)
    of_torchvision = _parts(name)[0] == "torchvision"
    if state is None:
        state = _download_torchvision(name) if of_torchvision else _download_timm(name)
    refuse_not_finite(state)
    if of_torchvision:
        return _fill_torchvision(network, state, image_size, channels)
    try:
        load(network, state, least=1.0)
        return network
    except ValueError as misfit:  # another size, other channels, or the names of its first publication: timm knows how
        filled = _filled_by_timm(name, image_size, channels, by_its_names(network, state))
        if filled is not None:
            return filled
        size = _record(_parts(name)[1]).input_size[-1]
        hint = "" if size == image_size else f", and the images may have to be of {size} px, as those it was trained on"
        raise ValueError(f"{str(misfit).removesuffix('.')}{hint}.") from misfit


def inputs(name: str) -> Inputs:
    """The side and the normalisation that the library's own weights were trained for, and on what.

    Raises ValueError for an unknown name (`check`).
    """
    check(name)
    library, plain = _parts(name)
    if library == "torchvision":
        weights = models.get_model_weights(plain).DEFAULT
        seen = weights.transforms()
        parts = weights.name.lower().replace("imagenet1k", "in1k").split("_")
        words = _in_words([*(["swag"] if "swag" in parts else []), *parts])  # first on SWAG's images, though named last
        return Inputs(seen.crop_size[0], Statistics(tuple(seen.mean), tuple(seen.std)), words)
    record = _record(plain)
    words = _in_words((record.tag or "").split("_")) if record.has_weights else "unknown"
    return Inputs(record.input_size[-1], Statistics(tuple(record.mean), tuple(record.std)), words)


def at_timm(name: str) -> str:
    """What timm calls the network, if it has one such: that of an encoder of ours, of timm or of torchvision."""
    plain = _parts(name)[1] if ":" in name else name
    return AT_TIMM.get(plain, plain.partition(".")[0])


def _parts(name: str) -> tuple[str, str]:
    library, _, plain = name.partition(":")
    return library, plain


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0].removesuffix(".").removesuffix(": ")


def _in_words(parts: list[str]) -> str:
    found = [TRAINED_ON[part] for part in parts if part in TRAINED_ON]
    found = found or [ALONE[part] for part in parts if part in ALONE]
    return ", ".join(dict.fromkeys(found)) or "_".join(parts) or "unknown"


# torchvision


def _of_torchvision(plain: str, image_size: int, channels: int) -> nn.Module:
    options: dict[str, Any] = {}
    if plain.startswith("vit_"):
        options["image_size"] = image_size
    elif plain.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    elif plain in ("googlenet", "inception_v3"):  # without their classifiers for training; to initialise is theirs
        options |= {"aux_logits": False, "init_weights": True}
    network = models.get_model(plain, weights=None, **options)
    last = next(each for each in ("fc", "heads", "head", "classifier") if hasattr(network, each))
    if isinstance(network, models.SqueezeNet):  # whose classifier is what pools
        network.classifier = nn.AdaptiveAvgPool2d(1)
    elif kept := KEPT.get(type(network), 0):
        network.classifier = network.classifier[:kept]
    else:
        setattr(network, last, nn.Identity())
    if isinstance(network, models.VisionTransformer):
        network.patch = network.patch_size
    if channels != 3:
        where, first = _first_convolution(network)
        parent, _, own = where.rpartition(".")
        setattr(network.get_submodule(parent), own, _of_channels(first, channels))
    return cast(nn.Module, network)


def _first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


@torch.no_grad()
def _of_channels(first: nn.Conv2d, channels: int) -> nn.Conv2d:
    """The convolution for so many channels, with random weights of the spread that the library gave the first."""
    made = nn.Conv2d(
        *(channels, first.out_channels, cast(Any, first.kernel_size), cast(Any, first.stride)),
        padding=cast(Any, first.padding),
        bias=first.bias is not None,
    )
    made.weight.normal_().mul_(first.weight.std())
    if made.bias is not None and first.bias is not None:
        made.bias.copy_(first.bias)
    return made


def _fill_torchvision(network: nn.Module, state: Mapping[str, Tensor], image_size: int, channels: int) -> nn.Module:
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in RENAMED:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    state = by_its_names(network, renamed)
    weight = f"{_first_convolution(network)[0]}.weight"
    if weight in state:
        state[weight] = _adapted(state[weight], channels)
    positions = "encoder.pos_embedding"
    if isinstance(network, models.VisionTransformer) and positions in state:
        found = interpolate_embeddings(image_size, network.patch_size, {positions: state[positions]})
        state |= found
    load(network, state, least=1.0)
    if hasattr(network, "transform_input"):  # GoogLeNet and Inception normalise as TensorFlow does, from ImageNet's
        cast(Any, network).transform_input = channels == 3
    return network


def _adapted(weight: Tensor, channels: int) -> Tensor:
    """The weights of a first convolution [O, I, h, w] for other channels, as timm's `adapt_input_conv` has them: their
    sum for one, and for more they are repeated and scaled, so that a grey image gives what it gave."""
    known = weight.shape[1]
    if channels == known:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.repeat(1, math.ceil(channels / known), 1, 1)[:, :channels] * (known / channels)


def _download_torchvision(name: str) -> Mapping[str, Tensor]:
    weights = models.get_model_weights(_parts(name)[1]).DEFAULT
    file = PurePosixPath(weights.url).name
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            # It is PyTorch's function of this name, which without `weights_only` runs what a file says.
            return cast(
                Mapping[str, Tensor],
                weights.get_state_dict(progress=True, check_hash=True, weights_only=True, map_location="cpu"),
            )
    except Exception as error:  # whatever the net and a broken file raise
        raise ValueError(
            f"The weights of {name} cannot be had ({_line(error)}); download {file} where you can and give "
            f"'{name}={file}'."
        ) from error


# timm


def _record(plain: str) -> Any:
    """timm's record of a network's weights (`PretrainedCfg`)."""
    from timm.models import PretrainedCfg, get_pretrained_cfg

    return get_pretrained_cfg(plain) or get_pretrained_cfg(plain.partition(".")[0]) or PretrainedCfg()


def _of_timm(plain: str, image_size: int, channels: int, **more: Any) -> nn.Module:
    import timm

    options = dict(num_classes=0, in_chans=channels, **more)
    if _record(plain).fixed_input_size:
        options["img_size"] = image_size
        try:
            network = timm.create_model(plain, dynamic_img_size=True, **options)
        except TypeError:  # it takes one size alone
            network = timm.create_model(plain, **options)
    else:
        network = timm.create_model(plain, **options)
    if (patch := patch_side(network)) is not None:
        network.patch = patch
    return cast(nn.Module, network)


def _filled_by_timm(name: str, image_size: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module | None:
    """The network as timm's own loader fills it. None where it cannot, and where it would leave parameters as they were
    initialised: features that are random in part would pass for pretrained ones."""
    overlay = {"state_dict": dict(state)}
    try:
        with _what_is_missing() as missing:
            network = _of_timm(_parts(name)[1], image_size, channels, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception:  # whatever a filter raises at names that it does not know
        return None
    cast(Any, network).pretrained_cfg.pop("state_dict", None)
    return network if missing.isdisjoint(dict(network.named_parameters())) else None


@contextlib.contextmanager
def _what_is_missing() -> Iterator[set[str]]:
    """The names that networks do not find when they are given weights meanwhile: timm only logs them."""
    missing: set[str] = set()
    loaded = nn.Module.load_state_dict

    def watched(network: nn.Module, *given: Any, **options: Any) -> Any:
        found = loaded(network, *given, **options)
        missing.update(found.missing_keys)
        return found

    nn.Module.load_state_dict = watched  # type: ignore[assignment, method-assign]
    try:
        yield missing
    finally:
        nn.Module.load_state_dict = loaded  # type: ignore[method-assign]


def _download_timm(name: str) -> Mapping[str, Tensor]:
    record = _record(_parts(name)[1])
    if not record.has_weights:
        raise ValueError(f"timm has no weights of {name}; give a file of yours as '{name}=FILE', or another network.")
    file = record.hf_hub_filename or "model.safetensors"
    try:
        if record.hf_hub_id:
            return _of_the_hub(record.hf_hub_id, record.hf_hub_filename)
        file = PurePosixPath(record.url).name
        with contextlib.redirect_stdout(io.StringIO()):
            return torch.hub.load_state_dict_from_url(
                record.url, map_location="cpu", check_hash=True, weights_only=True
            )
    except Exception as error:  # whatever the net and a broken file raise
        whence = f" of the hub's {record.hf_hub_id}" if record.hf_hub_id else ""
        raise ValueError(
            f"The weights of {name} cannot be had ({_line(error)}); download {file}{whence} where you can and give "
            f"'{name}={file}'."
        ) from error


def _of_the_hub(repository: str, file: str | None) -> Mapping[str, Tensor]:
    """From the hub's cache, else by timm's client, once the hub has answered."""
    from huggingface_hub import constants, get_session, try_to_load_from_cache
    from timm.models import load_state_dict_from_hf

    plain, _, revision = repository.partition("@")
    for each in (file,) if file else ("model.safetensors", "pytorch_model.bin"):
        cached = try_to_load_from_cache(plain, each, revision=revision or None)
        if isinstance(cached, str):
            return read(cached)
    get_session().head(constants.ENDPOINT, timeout=REACHED_WITHIN)
    return cast(Mapping[str, Tensor], load_state_dict_from_hf(repository, **({"filename": file} if file else {})))
