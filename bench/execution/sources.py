"""Networks with weights from elsewhere, as a command names them: frozen rows, starts of trainings, a teacher.

A source is the name of one of our encoders, `timm:NAME`, `torchvision:NAME` or a door to what makes the user's own
network, and may have `=FILE` behind it, whose weights the network then gets. Libraries have weights of their own, and
so has what a door makes; our encoders have none. The folder of a kept encoder, or its card (`bench.execution.card`), is
a source by itself, or behind the door to its network. What was loaded is kept beside the run's images, and workers take
it from there: they need no network connection, and a source that changes later does not change a run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from algorithms import METHODS
from algorithms.encoders import build_encoder, check_encoder, is_library, libraries, weights
from algorithms.encoders.encoder import as_encoder
from algorithms.images.statistics import IMAGENET, Statistics
from bench import doors
from bench.errors import UserError
from bench.execution import card
from bench.execution.card import Card
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.execution.networks import load_factory, maker
from bench.execution.pretrained import Pretrained, is_own
from bench.search.methods import FROZEN

OTHERWISE = (
    "give timm:NAME, torchvision:NAME, or package.module:function or file.py:function, each with =FILE or without, or "
    "a folder that ssl-bench train left"
)
USUAL = 224
"""px, for which a network is made that is asked at which size it wants to see images."""
FILES = (".pth", ".pt", ".bin", ".safetensors")


@dataclass(frozen=True)
class Named:
    """The sources that a command names, and its encoder."""

    encoder: str
    init: str | None
    teacher: str | None
    references: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What the sources have led to."""

    init: Pretrained | None
    teacher: Pretrained | None
    frozen: dict[str, Pretrained]
    """By the names that they have as baselines."""
    weights: dict[str, Mapping[str, Tensor]]
    """State dicts by the files where they are to be saved."""


def asked(configuration: TrainingConfiguration, on_gpu: bool) -> Named:
    """The sources of a command, checked as far as that needs no weights. Raises UserError."""
    init, encoder = configuration.init, configuration.encoder
    if init is not None and encoder is not None and is_own(encoder) and card.folder_of(init) is not None:
        init = f"{encoder}={init}"  # whose code the card does not name
    is_file = init is not None and "=" not in init and init.endswith(FILES) and not is_own(init)
    if is_file and encoder is None:
        raise UserError(f"--init {init} is a file of weights; name by --encoder the network that they are of")
    if encoder is None:
        encoder = parts(init)[0] if init else "resnet18" if on_gpu else "resnet8"
    if is_file:
        init = f"{encoder}={init}"
    references: list[str] = []
    if isinstance(configuration, Configuration):
        pair = libraries.default_references("cuda" if on_gpu else "cpu")
        references = [each for name in configuration.reference for each in (pair if name == "default" else [name])]
    for source in [init, configuration.teacher, *references]:
        if source is not None:
            check(source)
    return Named(encoder, init, configuration.teacher, tuple(dict.fromkeys(references)))


def gather(named: Named, folder: Path, given: Statistics, image_size: int) -> Found:
    """Find and load all of them, for images of `image_size` px that are normalised by the statistics `given`; what of
    the weights does not fit the encoder is told. Raises UserError."""
    states: dict[str, Mapping[str, Tensor]] = {}

    def found(source: str, own_size: bool) -> Pretrained:
        of, state = find(source, folder, given, image_size=image_size, own_size=own_size)
        states[of.file] = state
        return of

    init = found(named.init, own_size=False) if named.init else None
    if init is not None:
        encoder = maker(doors.absolute(named.encoder))
        try:
            fit = weights.load(build_encoder(encoder, image_size, given.channels), states[init.file])
        except ValueError as error:
            raise UserError(f"--init {init.name}: {error}") from None
        print(f"init: {init.name}: {fit}")
    teacher = found(named.teacher, own_size=True) if named.teacher else None
    frozen = [found(source, own_size=True) for source in named.references]
    for of in frozen:
        print(f"reference: {of.name}, {of.image_size} px, trained on {of.trained_on or 'what is not said'}")
    if teacher is not None:  # so that a reader sees what the student has of it
        frozen.append(teacher)
    return Found(init, teacher, {FROZEN + of.key: of for of in frozen}, states)


def parts(source: str) -> tuple[str, str | None]:
    """The network that a source names, and its file of weights, if it names one. Raises UserError for a folder without
    a card."""
    if (kept := card.folder_of(source)) is not None:
        return card.read(kept).encoder.network, str(kept / card.WEIGHTS)
    head, colon, rest = source.partition(":")
    name, equals, file = (rest if colon else head).partition("=")
    if equals and (kept := card.folder_of(file)) is not None:
        card.read(kept)
        file = str(kept / card.WEIGHTS)
    return (f"{head}:{name}" if colon else name), (file if equals else None)


def short(source: str) -> str:
    """What tables call a source: the same from whichever folder."""
    if (kept := card.folder_of(source)) is not None:
        return card.read(kept).name
    network, file = parts(source)
    name = doors.short(network) if is_own(network) else network
    return name if file is None else f"{name}={Path(file).name}"


def check(source: str) -> None:
    """Raises UserError for what cannot be a source, before anything is loaded."""
    network, file = parts(source)
    if (kept := card.folder_of(source)) is not None:
        of = card.read(kept).encoder
        program = f"{card.PROGRAM} beside it needs none"
        if is_own(network):
            raise UserError(f"{kept} is of your own network, and a card runs no code: give {network}={kept}; {program}")
        if of.method is not None and of.method not in METHODS:
            raise UserError(f"{kept} is of the encoder that {of.method} brings, and a card runs no code; {program}")
    if file is not None and not Path(file).is_file():
        raise UserError(f"there is no file {file!r} of weights for {network}; {OTHERWISE}")
    if is_own(network):
        return
    if file is None and not is_library(network):
        raise UserError(f"{network!r} has no weights of its own; write {network}=FILE, or {OTHERWISE}")
    try:
        check_encoder(network)
    except ValueError as error:
        raise UserError(str(error)) from None


def find(
    source: str, folder: Path, given: Statistics | None, *, image_size: int, own_size: bool
) -> tuple[Pretrained, Mapping[str, Tensor]]:
    """What a source that was checked names, and its weights, which are to be saved in the `folder`; at its own size and
    normalisation where it says these and `own_size` is wanted, else at `image_size` px. By `given` the images are
    normalised that it is to see; None where there are none yet. Raises UserError."""
    network, file = parts(source)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # where a part is random after all, it is the same in the command that continues
            return _find(source, network, file, folder, given, image_size, own_size)
    except ValueError as error:
        name, text = short(source), str(error)
        raise UserError(text if name in text else f"{name}: {text}") from None


def _find(
    source: str, network: str, file: str | None, folder: Path, seen: Statistics | None, image_size: int, own_size: bool
) -> tuple[Pretrained, Mapping[str, Tensor]]:
    state = weights.read(Path(file)) if file else None
    beside = _trained_here(Path(file)) if file else None
    given = seen or (beside.statistics if beside else IMAGENET)
    of = _of_a_card(source, state)
    method = of.encoder.method if of else None
    kept, statistics, trained_on = None, None, None
    made: nn.Module
    channels, size = _channels(given, own_size), image_size
    if beside is not None and own_size:
        channels, size = beside.statistics.channels, beside.image_size or size
        if seen is not None and seen.channels not in (1, channels):
            raise ValueError(f"It takes images of {channels} channels; these have {seen.channels}.")
    if method is not None:
        assert state is not None
        made = build_encoder(maker(network, method), size, channels)
        weights.load(made, state, least=1.0)
    elif is_library(network):
        told = libraries.inputs(network)
        statistics = told.statistics
        size = told.image_size if own_size and not (beside and beside.image_size) else size
        made = libraries.pretrained(network, size, channels, state)
        trained_on = told.trained_on
    elif is_own(network):
        network = doors.absolute(network)
        made = load_factory(network)(size, channels=channels)
        said = getattr(made, "image_size", None)
        if own_size and isinstance(said, int) and said != size and not (beside and beside.image_size):
            size = said
            made = load_factory(network)(size, channels=channels)
        statistics, trained_on = _said(made) or IMAGENET, getattr(made, "trained_on", None)
        if state is not None:
            weights.load(made, state, least=1.0)
    else:
        assert file is not None
        assert state is not None
        made = build_encoder(network, size, channels)
        # As it is: what does not fit is drawn anew by each training.
        kept = state if not own_size else None
        weights.load(made, state, least=1.0 if own_size else weights.LEAST)
    if of is not None and state is not None and made.state_dict().keys() != state.keys():
        raise ValueError(f"Its weights are of another network than {network}; {card.PROGRAM} beside them needs none.")
    if file is not None:  # whose weights are not those that were spoken of
        trained_on = beside.trained_on if beside else None
        statistics = beside.statistics if beside else statistics
    if statistics is None or statistics.channels != channels:
        statistics = given if channels == given.channels else IMAGENET
    name = short(source)
    width = as_encoder(made, name, size, channels).width
    if kept is None:
        kept = {name: tensor.detach().clone() for name, tensor in made.state_dict().items()}
    hash = weights.fingerprint(kept)
    place = str(folder / f"weights-{hash}.pt")
    words = None if trained_on is None else str(trained_on)
    return Pretrained(name, network, place, hash, width, size, statistics.mean, statistics.std, words, method), kept


def own_image_size(source: str) -> int | None:
    """At which a source that was checked says it sees images, px; None where it does not. Raises UserError."""
    network, file = parts(source)
    if file is not None and (beside := _trained_here(Path(file))) is not None and beside.image_size is not None:
        return beside.image_size
    if is_library(network):
        return libraries.inputs(network).image_size
    said = getattr(load_factory(doors.absolute(network))(USUAL), "image_size", None) if is_own(network) else None
    return said if isinstance(said, int) else None


def _channels(given: Statistics, own_size: bool) -> int:
    """Those for which the network is made: a frozen one sees grey images in three."""
    return 3 if own_size and given.channels == 1 else given.channels


def _said(network: nn.Module) -> Statistics | None:
    """The normalisation that a user's own network says it wants, by attributes `mean` and `std`, or as timm's do."""
    told = getattr(network, "pretrained_cfg", None)
    if not isinstance(told, Mapping):
        told = {"mean": getattr(network, "mean", None), "std": getattr(network, "std", None)}
    mean, std = told.get("mean"), told.get("std")
    if mean is None or std is None:
        return None
    try:
        statistics = Statistics(tuple(map(float, mean)), tuple(map(float, std)))
    except (TypeError, ValueError):
        raise ValueError(f"Its mean and std must be numbers, one a channel, not {mean!r} and {std!r}.") from None
    if len(statistics.std) != statistics.channels or not min(statistics.std) > 0:
        raise ValueError(f"Its mean and std must be as many numbers, std above 0, not {mean!r} and {std!r}.")
    return statistics


class Beside(NamedTuple):
    """What lies beside weights says of them."""

    statistics: Statistics
    trained_on: str
    image_size: int | None
    """px; None where it is not said."""


def _trained_here(file: Path) -> Beside | None:
    """Of an encoder that was trained here: by its card, or by what earlier versions of `ssl-bench train` left."""
    folder = file.parent
    if file.name == card.WEIGHTS and (folder / card.CARD).exists():
        found = card.read(folder)
        seen = found.preprocessing
        return Beside(Statistics(seen.mean, seen.std), found.images.name, seen.image_size)
    try:
        content = json.loads((folder / "training.json").read_text())
        told = [tuple(map(float, content["facts"][name])) for name in ("mean", "std")]
        size = content["asked"].get("image_size")
        return Beside(Statistics(*told), str(content["asked"]["dataset"]), size if isinstance(size, int) else None)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _of_a_card(source: str, state: Mapping[str, Tensor] | None) -> Card | None:
    """The card that a source is. Raises ValueError where the weights beside it are others than it tells."""
    kept = card.folder_of(source)
    if kept is None or state is None:
        return None
    found = card.read(kept)
    if weights.fingerprint(state) != found.weights:
        raise ValueError(f"{kept / card.WEIGHTS} holds other weights than the card tells; copy the whole folder again.")
    return found
