"""What is measured of an encoder: every metric once, under the name that reports, Parquet columns and tables have for
it. Needs no PyTorch."""

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


KNN_200 = Metric("knn_200", "kNN k=200", "%", images=("train", "test"))
KNN_20 = Metric("knn_20", "k=20", "%", images=("test",))
PURITY_20 = Metric("purity_20", "purity@20", "%", images=("test",))
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

METRICS = {metric.name: metric for metric in (KNN_200, KNN_20, PURITY_20, *CRITERIA, JUDGED)}
"""Every metric that there is."""
SELECTION = KNN_200
"""The metric by which a run with labels enough chooses, by leave-one-out among the training images, and is tested."""
