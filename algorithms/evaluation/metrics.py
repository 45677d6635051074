"""What is measured of an encoder: every metric once, under the name that reports, Parquet columns and tables have for
it. Needs no PyTorch."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One figure of an encoder."""

    name: str
    """In reports, and in Parquet the column of an epoch's figure."""
    title: str
    """In tables and charts."""
    unit: str
    """`%` for a share of 1, which is shown in percent; empty for a plain number."""
    higher_is_better: bool = True
    images: tuple[str, ...] = ()
    """Of a trial's last epoch, the images on which it is kept: `train` (by which a search chooses), `test` (with labels
    or without). It has a column for each."""
    protocol: str = "knn"
    """What measures it (`bench.execution.protocols`); `knn` is a part of every training's end."""
    shown: bool = True
    """Whether tables for reading have a column for it; a spreadsheet has all."""
    parts: str = ""
    """Of what else it is told one by one, as the figures `part(name, 0)`, `part(name, 1)`, ...: of `classes`, whose
    mean is the balanced accuracy, or of `draws` of labels, whose mean it is. They have a list column."""

    @property
    def balanced(self) -> "Metric":
        """The same of an accuracy in which each class counts alike, however many images it has."""
        name, title = f"{self.name}_balanced", f"{self.title}, balanced"
        return dataclasses.replace(self, name=name, title=title, images=("test",), shown=False, parts="")


def part(name: str, place: int) -> str:
    """The name of a metric's figure of one class, or of one draw."""
    return f"{name}/{place}"


KNN_200 = Metric("knn_200", "kNN k=200", "%", images=("train", "test"), parts="classes")
KNN_20 = Metric("knn_20", "k=20", "%", images=("test",))
PURITY_20 = Metric("purity_20", "purity@20", "%", images=("test",))
NMI = Metric("nmi", "k-means NMI", "%", images=("test",), shown=False)
ARI = Metric("ari", "k-means ARI", "%", images=("test",), shown=False)
FEATURE_STD = Metric("feature_std", "feature deviation", "", images=("test",))
RANKME = Metric("rankme", "RankMe", "", images=("test",))
ALPHA_REQ = Metric("alpha_req", "alpha-ReQ", "", higher_is_better=False, images=("test",))
LIDAR = Metric("lidar", "LiDAR", "", images=("test",))
CLUSTER_LEARNABILITY = Metric("cluster_learnability", "cluster learnability", "", images=("test",))
INSTANCE_ACCURACY = Metric("instance_accuracy", "instance accuracy", "%", images=("test",))
INSTANCE_RANK = Metric("instance_rank", "instance rank", "", higher_is_better=False, images=("test",))
CRITERIA = (FEATURE_STD, RANKME, ALPHA_REQ, LIDAR, CLUSTER_LEARNABILITY, INSTANCE_ACCURACY, INSTANCE_RANK)
"""Those that need no labels."""

JUDGED = Metric("judged", "few labels and instance accuracy", "%", images=("train",))
"""What a search chooses by where labels are few or none (`algorithms.evaluation.choosing`)."""

LINEAR = Metric("linear", "linear probe", "%", images=("test",), protocol="linear", parts="classes")
LINEAR_STRENGTH = Metric(
    "linear_strength", "L2 strength of the linear probe", "", images=("test",), protocol="linear", shown=False
)

NUMBERS = {
    "1": "1 a class",
    "5": "5 a class",
    "20": "20 a class",
    "100": "100 a class",
    "1_percent": "1 %",
    "10_percent": "10 %",
    "all": "all",
}
"""How many labels a protocol gives: in names, and in words."""
FEW_KNN, FEW_LINEAR, FEW_SCRATCH = (
    {
        number: Metric(
            f"few_{kind}_{number}", f"{title}, {words}", "%", images=("test",), protocol=protocol, parts="draws"
        )
        for number, words in NUMBERS.items()
    }
    for kind, title, protocol in (
        ("knn", "kNN", "few"),
        ("linear", "linear probe", "few"),
        ("scratch", "trained from scratch", "scratch"),
    )
)
"""With so many labels, over the same draws of them for every encoder. The last is of a network that is trained with
just those labels; it is told of the supervised baseline alone."""
FINETUNE = {
    number: Metric(
        f"finetune_{number}",
        f"fine-tuned, {NUMBERS[number]}",
        "%",
        images=("test",),
        protocol="finetune",
        parts="classes",
    )
    for number in ("10_percent", "all")
}
"""The whole encoder, trained on with so many labels; of the supervised baseline: from scratch."""

TRUSTWORTHINESS = Metric(
    "trustworthiness", "trustworthiness of the map", "%", images=("test",), protocol="inspect", shown=False
)
"""How far neighbours on the map of test images are neighbours by the features
(`algorithms.evaluation.tsne.trustworthiness`)."""


def _all() -> Iterator[Metric]:
    for metric in (KNN_200, KNN_20):
        yield from (metric, metric.balanced)
    yield from (PURITY_20, NMI, ARI, *CRITERIA, JUDGED, LINEAR, LINEAR.balanced, LINEAR_STRENGTH)
    for family in (FEW_KNN, FEW_LINEAR, FEW_SCRATCH, FINETUNE):
        for metric in family.values():
            yield from (metric, metric.balanced)
    yield TRUSTWORTHINESS


METRICS = {metric.name: metric for metric in _all()}
"""Every metric that there is."""
PROTOCOLS = tuple(dict.fromkeys(metric.protocol for metric in METRICS.values()))
"""What measures them."""
SELECTION = KNN_200
"""The metric by which a run with labels enough chooses, by leave-one-out among the training images, and is tested."""
