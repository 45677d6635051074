"""How often predictions are right: in all, and of each class."""

import torch
from torch import Tensor

from algorithms.evaluation.metrics import Metric, part


def figures(metric: Metric, predictions: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """The accuracy of `predictions` int64 [N] where the truth is `labels` int64 [N], by the metric's name, and its
    balanced one: the mean over the classes that there are. Where the metric has `parts` of classes, also that of each
    class that there is."""
    right = (predictions == labels).double()
    count = torch.bincount(labels, minlength=classes)
    each = torch.zeros(classes, dtype=torch.double, device=labels.device).index_add_(0, labels, right) / count
    there = count > 0
    found = {metric.name: right.mean().item(), metric.balanced.name: each[there].mean().item()}
    if metric.parts == "classes":
        found |= {part(metric.name, place): each[place].item() for place in there.nonzero()[:, 0].tolist()}
    return found
