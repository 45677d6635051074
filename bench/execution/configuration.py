"""What a command or a notebook asks for, as records that refuse at once what is wrong in them.

Nothing heavy is imported here: a wrong name is refused before PyTorch is there.
"""

from dataclasses import dataclass
from pathlib import Path

from algorithms import METHODS, WITH_TEACHER
from algorithms.encoders import check_encoder
from algorithms.evaluation.metrics import PROTOCOLS
from bench import doors
from bench.data import known
from bench.errors import UserError
from bench.execution.pretrained import is_own
from bench.search.budget import Budget, charged_rate
from bench.search.methods import check_methods
from bench.trackers import known as trackers

WHOLE = {
    "image_size": (8, 65_535),  # the encoders halve it three times
    "limit": (1, 10**9),
    "epochs": (1, 100_000),
    "batch_size": (2, 10**6),
    "seeds": (1, 1000),
    "seed": (0, 2**31 - 1),
}
"""The least and the most of every whole number that is asked for."""
FITS = ("crop", "pad", "squash")
"""The central square; the whole image on a square of black; the whole image, stretched."""
FORMS = {"onnx": "encoder.onnx", "torch": "encoder.pt2", "timm": "timm"}
"""In which an encoder can be exported, and the files, or folder, of such."""
PRESETS = ("natural", "texture", "grey", "centred", "text", "multiband")
"""The kinds of images in `search_spaces/augmentation.yaml`."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfiguration:
    """All that a training is asked. Raises UserError for a name or a number that cannot be meant."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Names, and doors (`bench.doors`) to classes of the user's own, with a search space beside each."""
    dataset: str | None = None
    """A name, a path or a door; None is cifar10 on GPUs, shapes on CPUs."""
    image_size: int | None = None
    """px, to which images are resized."""
    limit: int | None = None
    """Training images that are kept."""
    fit: str = "crop"
    """One of `FITS`: what becomes of images that are not square."""
    labels: Path | None = None
    """A file of labels (`bench.data.source.Asked`)."""
    unlabelled: bool = False
    """Whether labels that the images have are left aside."""
    group: str | None = None
    group_by: str | None = None
    """A column, or a regular expression for the path, which names what belongs together."""
    drop_duplicates: bool = False
    """Whether training images go that are test images too, or another training image once more."""
    strict: bool = False
    """Whether a corrupt image is an error."""
    augment: str | None = None
    """A preset of `search_spaces/augmentation.yaml` whose settings are searched; None leaves each method its own."""
    encoder: str | None = None
    """A name or a door; None is that of `init`, else resnet18 on GPUs, resnet8 on CPUs."""
    init: str | None = None
    """A source (`bench.execution.sources`) of the weights with which all encoders begin, or a file of such for
    `encoder`."""
    teacher: str | None = None
    """A source of the network that the methods of `algorithms.WITH_TEACHER` follow."""
    epochs: int | None = None
    batch_size: int | None = None
    """Images in a step, at most; None leaves each recipe its own."""
    seed: int = 0
    run_dir: Path | None = None
    """None is `reports/DATASET-ENCODER` below the working directory."""
    fresh: bool = False
    """Whether it begins anew."""
    compile: bool | None = None
    """Whether steps are compiled; None leaves it to the device and the budget."""
    deterministic: bool = False

    def __post_init__(self) -> None:
        check_methods(name for name in self.methods if not doors.is_door(name))
        if self.dataset is not None:
            known.check(self.dataset)
        if self.encoder is not None and not is_own(self.encoder):
            try:
                check_encoder(self.encoder)
            except ValueError as error:
                raise UserError(str(error)) from None
        for name, (least, most) in WHOLE.items():
            number = getattr(self, name, None)
            if number is not None and not least <= number <= most:
                raise UserError(f"{name} {number} is not a whole number from {least:,} to {most:,}")
        for name, value, right in (("fit", self.fit, FITS), ("augment", self.augment, (None, *PRESETS))):
            if value not in right:
                raise UserError(f"there is no {name} {value!r}; there are {', '.join(filter(None, right))}")
        following = [name for name in self.methods if name in WITH_TEACHER]
        if following and self.teacher is None:
            raise UserError(f"{following[0]} follows a teacher; name one, such as --teacher torchvision:resnet50")
        if self.teacher is not None and not following:
            raise UserError(f"--teacher is for {', '.join(WITH_TEACHER)}, which is not among the methods; add it")
        if self.init is not None and self.encoder is None and is_own(self.init):
            raise UserError(
                "--init names a network of yours with weights; name by --encoder what makes it without, for what is "
                "trained from scratch"
            )
        if self.unlabelled and self.labels:
            raise UserError("--unlabelled leaves all labels aside, and --labels gives some; leave out one of them")
        if self.group and self.group_by:
            raise UserError("--group and --group-by both say what belongs together; leave out one of them")

    def on_gpu(self) -> bool:
        import torch

        return torch.cuda.is_available()


@dataclass(frozen=True, kw_only=True)
class Configuration(TrainingConfiguration):
    """All that a benchmark is asked (`bench.execution.benchmark.run`); a training of `epochs`, None is the most that
    leaves time to search."""

    budget: Budget
    seeds: int = 3
    """Fresh seeds that confirm each winner."""
    dry_run: bool = False
    """Whether it ends with the plan."""
    gpus_per_trial: float = 1.0
    """1, or a part."""
    address: str | None = None
    """Of a Ray cluster; None is this machine alone."""
    searcher: str = "tpe"
    scheduler: str = "asha"
    """Names or doors (`bench.search.plugins`)."""
    protocols: tuple[str, ...] | None = None
    """Those of `bench.execution.protocols` that judge the encoders which confirming trainings keep; also of a run whose
    trainings are over. None are all that the budget has room for, where images have labels."""
    learn_from: tuple[Path, ...] = ()
    """Folders of earlier runs, whose best configurations begin the search."""
    reference: tuple[str, ...] = ()
    """Sources of pretrained networks that become baselines; `default` is a pair for the machine. One can be added to a
    run that there is."""
    scratch: bool = False
    """Whether methods that begin with `init` are trained from scratch as well, with a share of their own."""
    keep_encoders: bool = False
    """Whether in the end the best confirmed encoder of each method is kept with a card (`bench.execution.takeaway`);
    also of a run that has ended."""
    log_to: tuple[str, ...] = ()
    """Trackers that follow the run (`bench.trackers.known`)."""
    readme: Path | None = None
    """A file that gets the table between the markers of its encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.gpus_per_trial)
        for name in self.protocols or ():
            if name not in PROTOCOLS:
                raise UserError(f"there is no protocol '{name}'; there are {', '.join(PROTOCOLS)}")
        for name in self.log_to:
            trackers.check(name)
        if self.scratch and self.init is None:
            raise UserError("--scratch stands beside --init; without it all methods train from scratch")
        if self.keep_encoders and self.dry_run:
            raise UserError("--keep-encoders needs a run; leave out --dry-run")
        if self.readme and self.dry_run:
            raise UserError("--update-readme needs a run; leave out --dry-run")
        from bench.search import plugins

        plugins.searcher(self.searcher)
        plugins.scheduler(self.scheduler)

    def on_gpu(self) -> bool:
        return self.budget.device == "gpu"

    @property
    def rate(self) -> float:
        """Device-seconds of a second of a trial."""
        return charged_rate(self.gpus_per_trial) if self.on_gpu() else 1.0


def check_share(part: float) -> float:
    """The part of a GPU as given: Ray counts in ten thousandths. Raises UserError."""
    if not 0.01 <= part <= 1:
        raise UserError(f"{part!r} is not a share of a GPU from 0.01 up to 1")
    return part
