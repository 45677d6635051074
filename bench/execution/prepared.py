"""What a command asks for, found and checked before anything is trained: images, methods, networks, and what goes on
record of them and of the machine."""

import contextlib
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from algorithms.encoders import ENCODERS
from algorithms.encoders.encoder import Encoder, smallest_side, takes, whole_patches
from algorithms.parts.precision import device_name
from bench import doors
from bench.data import checks, saved
from bench.data.dataset import Dataset
from bench.errors import UserError
from bench.execution import brought, images, networks, sources
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.execution.pretrained import is_own
from bench.execution.settings import TrainingSettings
from bench.files import RUNS, slug
from bench.report.text import listed
from bench.search.space import OF_CONVOLUTIONS, SearchSpace

ROOT = Path(__file__).resolve().parents[2]
CROPS = "local_crops"
"""The hyper-parameter of methods that show an encoder smaller views, too."""


@dataclass
class Prepared:
    """What a configuration asks for, found and checked."""

    dataset: Dataset | None
    """None once the images are saved: from then on they are in memory once, as a mapped file."""
    spaces: dict[str, SearchSpace]
    settings: TrainingSettings
    run_dir: Path
    facts: dict[str, Any]
    """What goes on record of the machine and of the images."""
    weights: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """State dicts of pretrained networks by where they are to be saved."""

    @property
    def labelled(self) -> int:
        """How many training images have a label."""
        return int(self.facts["images"]["labelled"])

    def save(self) -> None:
        """Write images and weights to where trainings read them, once."""
        if self.dataset is not None:
            saved.save(self.dataset, self.settings.data)
            self.dataset = None
        while self.weights:
            place, state = self.weights.popitem()
            networks.save(state, place)

    @contextlib.contextmanager
    def saved(self) -> Iterator[None]:
        """The images are saved, and removed in the end if they were not there before."""
        with removed_if_new(Path(self.settings.data)):
            self.save()
            yield


def prepare(configuration: TrainingConfiguration) -> Prepared:
    """Find the images, the search spaces and the encoder, and say what is doubtful about them. Raises UserError."""
    on_gpu = configuration.on_gpu()
    own = [name for name in configuration.methods if doors.is_door(name)]
    for door in own:  # before the images, which take a while
        brought.load_method(door)
    asked = sources.asked(configuration, on_gpu)
    encoder = asked.encoder
    if encoder_door := doors.absolute(encoder) if is_own(encoder) else None:
        networks.load_factory(encoder_door)
        encoder = doors.short(encoder)
    dataset = images.load(configuration, "cifar10" if on_gpu else "shapes")
    if isinstance(configuration, Configuration):
        checks.check_enough(dataset)
    size = dataset.train.size
    network = _network(encoder_door or encoder, size, dataset.train.channels)
    transformer = network.patch > 1
    spaces = brought.load_spaces(configuration.methods, size, configuration.augment, transformer)
    methods = brought.doors_of(spaces, configuration.methods)
    called = encoder if encoder in ENCODERS else name_of(encoder)
    begun = "-warm" if configuration.init else ""
    run_dir = configuration.run_dir or RUNS / f"{name_of(dataset.name)}-{called}{begun}"
    run_dir = run_dir.resolve()
    # By its fingerprint, so that a command with other images leaves alone what a run in this folder trains on.
    data = run_dir / "data" / dataset.fingerprint[:12]
    found = sources.gather(asked, data, dataset.statistics, size)
    settings = TrainingSettings(
        dataset=dataset.name,
        dataset_fingerprint=dataset.fingerprint,
        image_size=size,
        channels=dataset.train.channels,
        fit=configuration.fit,
        encoder=encoder,
        encoder_door=encoder_door,
        transformer=transformer,
        device="cuda" if on_gpu else "cpu",
        data=str(data),
        batch_size=configuration.batch_size,
        augment=configuration.augment,
        deterministic=configuration.deterministic,
        methods=methods,
        init=found.init,
        teacher=found.teacher,
        frozen=found.frozen,
        sources={name: doors.source(door) for name, door in methods.items()}
        | ({encoder: doors.source(encoder_door)} if encoder_door else {}),
    )
    check_encoder(settings, spaces, network)
    if found.init is not None:
        scratch = isinstance(configuration, Configuration) and configuration.scratch
        classes = {name: brought.method(settings, name) for name in spaces}
        spaces = brought.warm_spaces(spaces, classes, scratch)
    labelled = dataset.train.labels[dataset.train.labels >= 0]
    facts = {
        **machine_facts(on_gpu),
        "dataset_note": dataset.note,
        "remarks": list(dataset.remarks),
        "images": {
            "train": len(dataset.train.labels),
            "labelled": len(labelled),
            "per_class": torch.bincount(labelled, minlength=len(dataset.classes)).tolist(),
            "classes": list(dataset.classes),
            "test": len(dataset.test.labels),
            "left_out": len(dataset.skipped),
            "groups": None if dataset.train.groups is None else len(dataset.train.groups.unique()),
        },
    }
    return Prepared(dataset, spaces, settings, run_dir, facts, found.weights)


def _network(name: str, image_size: int, channels: int) -> Encoder:
    """The run's encoder, to be looked at. Raises UserError where it cannot be made."""
    try:
        return brought.looked_at(name, image_size, channels)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_encoder(settings: TrainingSettings, methods: Mapping[str, SearchSpace], network: Encoder) -> None:
    """Tells what is doubtful about the run's encoder, the `network`: where it is a vision transformer, which recipes
    are for none; which methods do not train it, and where it leaves too little of an image. Raises UserError where it
    cannot be made for one of the methods."""
    name, size, ours = settings.encoder, settings.image_size, settings.encoder in ENCODERS
    try:
        for method in methods:
            brought.width(settings, method, size)
    except ValueError as error:
        raise UserError(str(error)) from None
    foreign = [method for method, space in methods.items() if OF_CONVOLUTIONS in space.recipe.get("adapted", "")]
    if foreign:
        print(
            f"note: {name} is a ViT; the recipes of {listed(foreign)} are for convolutional networks, and what is "
            "called a published recipe is not one for it"
        )
    cropping = [method for method, space in methods.items() if CROPS in space.entries]
    if cropping and not ours and not takes(network, whole_patches(size / 2, network), settings.channels):
        raise UserError(
            f"{name} takes images of {size} px alone, and {listed(cropping)} crop smaller ones; leave these out of "
            "--methods, or name another --encoder"
        )
    others = [method for method in methods if brought.method(settings, method).brings_encoder()]
    if others and (settings.init is not None or not ours):
        print(
            f"note: {name} gives pooled features, and {listed(others)} cannot do with these; there an encoder that the "
            f"method brings takes its place{', from scratch' if settings.init else ''}"
        )
    side = None if ours else smallest_side(network, size, settings.channels)
    if side is not None and side < 2:
        print(
            f"note: {name} leaves a single place of an image of {size} px before it pools; enlarge the images, by "
            f"--image-size {2 * size} or more"
        )


@contextlib.contextmanager
def removed_if_new(folder: Path) -> Iterator[Callable[[], None]]:
    """In the end a folder is removed that is not there now, and those above it that are not there now and empty then,
    unless what this gives is called."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield new.clear
    finally:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                for each in new[1:]:
                    each.rmdir()


def machine_facts(on_gpu: bool) -> dict[str, Any]:
    """What of this machine a session puts on record."""
    return {
        "device": device_name(torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torchvision", "ray", "optuna")},
    }


def commit() -> str | None:
    """The checkout's commit, with a plus sign where files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    if not (ROOT / ".git").exists():  # else it would be that of a project in whose environment this is installed
        return None
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def name_of(text: str) -> str:
    """A data set's name, or that of a user's encoder, as a part of a folder's."""
    return slug(text) or "images"
