"""What few labels are worth, over fixed draws of them: to nearest neighbours and the linear probe with an encoder's
features, and to the same network that is trained with nothing else."""

import functools
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.evaluation import accuracy, classifier, linear
from algorithms.evaluation.classifier import FROM_SCRATCH, choose, predict, train
from algorithms.evaluation.knn import PROTOCOLS, Evaluation, knn_predict
from algorithms.evaluation.metrics import FEW_KNN, FEW_LINEAR, FEW_SCRATCH, NUMBERS, Metric, part
from algorithms.images.store import ImageStore

DRAWS = 10
"""Of each number of labels, but of all."""
TOGETHER = 1 << 25
"""Features of draws that are fitted at a time."""


def draws(labels: Tensor, number: str) -> list[Tensor]:
    """The places, int64 and rising, of the labels of each draw of a number of `NUMBERS`, of all `labels` int64 [N]:
    none where a class has fewer images than the number asks.

    So many of each class that there is, or its share of them, at least one; all are a single draw. The draws depend on
    the labels alone, so that they are the same for every encoder; a draw of fewer is a part of that of more.
    """
    if number == "all":
        return [torch.arange(len(labels), device=labels.device)]
    count = torch.bincount(labels)
    of_class = count[count > 0]
    if number.endswith("_percent"):
        quota = (of_class * int(number.removesuffix("_percent")) / 100).round().long().clamp(min=1)
    else:
        quota = torch.full_like(of_class, int(number))
    if (quota > of_class).any():
        return []
    found = []
    for draw in range(DRAWS):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw)).to(labels.device)
        classes = order[labels[order].argsort(stable=True)].split(of_class.tolist())
        found.append(torch.cat([own[:most] for own, most in zip(classes, quota.tolist(), strict=True)]).sort()[0])
    return found


def over_draws(metric: Metric, evaluation: Evaluation, predictions: list[Tensor]) -> dict[str, float]:
    """The figures of a metric where the queries' classes are predicted from each draw, int64 [Q]: means, and the
    accuracy of each draw. Of no draw, none."""
    each = [accuracy.figures(metric, found, evaluation.query_labels, evaluation.classes) for found in predictions]
    means = {name: sum(found[name] for found in each) / len(each) for name in (each[0] if each else ())}
    return means | {part(metric.name, draw): found[metric.name] for draw, found in enumerate(each)}


@torch.no_grad()
def figures(evaluation: Evaluation, bank: Tensor, queries: Tensor) -> dict[str, float]:
    """The accuracy on the queries by nearest neighbours and by the linear probe, with so many of the bank's labels:
    `FEW_KNN` and `FEW_LINEAR`. Features float32 [N, D] and [Q, D] are as the encoder gives them; where they are not
    finite, all is 0.

    The neighbours vote as in `knn_20`, but no more of them than there are labels a class: of more, most would be of
    other classes. The probe knows nothing of the images without a label, not even their mean.
    """
    finite = bool(torch.isfinite(bank).all() and torch.isfinite(queries).all())
    found: dict[str, float] = {}
    for number in NUMBERS:
        drawn = draws(evaluation.bank_labels, number)
        nothing = [torch.full_like(evaluation.query_labels, -1)] * len(drawn)
        for family, by in ((FEW_KNN, _by_neighbours), (FEW_LINEAR, _by_probes)):
            predictions = by(evaluation, bank, queries, drawn) if finite else nothing
            found |= over_draws(family[number], evaluation, predictions)
    return found


def _by_neighbours(evaluation: Evaluation, bank: Tensor, queries: Tensor, drawn: list[Tensor]) -> list[Tensor]:
    """The queries' classes by their nearest neighbours among the rows of each draw."""
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    labels, classes, (most, temperature) = evaluation.bank_labels, evaluation.classes, PROTOCOLS[1]
    there = len(labels.unique())
    return [
        knn_predict(queries, bank[each], labels[each], classes, [(min(most, -(-len(each) // there)), temperature)])[0]
        for each in drawn
    ]


def _by_probes(evaluation: Evaluation, bank: Tensor, queries: Tensor, drawn: list[Tensor]) -> list[Tensor]:
    """The queries' classes by a linear probe of each draw."""
    found = []
    while drawn:
        size = max(1, TOGETHER // (len(drawn[0]) * bank.shape[1]))
        some, drawn = torch.stack(drawn[:size]), drawn[size:]
        probes = linear.fit_each(bank[some], evaluation.bank_labels[some], evaluation.classes)
        found += [probe.predict(queries) for probe in probes]
    return found


def scratch(encoder: nn.Module, evaluation: Evaluation, seed: int, *, flip: float = 0.5) -> dict[str, float]:
    """The accuracy on the queries of copies of an encoder that is untrained, each trained with the labels of a draw
    (`FEW_SCRATCH`), but not with all of them: what labels are worth without an encoder. Logits that are not finite are
    wrong. Images are mirrored with probability `flip`.

    All copies begin with the encoder's own weights, as it knows best how it is initialised; the linear layer, the order
    of the images and their crops are of `seed` + draw. All have the same of the schedules `FROM_SCRATCH`, chosen on a
    fifth of the labels of the largest draw: few labels cannot choose. On a CPU it is the same for the same `seed`.
    """
    drawn = {number: draws(evaluation.bank_labels, number) for number in NUMBERS if number != "all"}

    def given(places: Tensor) -> tuple[nn.Module, ImageStore, Tensor, Tensor, int]:
        return encoder, evaluation.bank, places, evaluation.bank_labels[places], evaluation.classes

    most = max((each[0] for each in drawn.values() if each), key=len)
    schedule = choose(*given(most), FROM_SCRATCH, seed=seed, flip=flip)
    made: dict[tuple[int, ...], Tensor] = {}  # two numbers may be the same labels: 100 a class, and 10 % of 1,000
    found: dict[str, float] = {}
    for number, of_number in drawn.items():
        predictions = []
        for draw, places in enumerate(of_number):
            key = (draw, *places.tolist())
            if key not in made:
                made[key] = predict(train(*given(places), schedule, seed=seed + draw, flip=flip), evaluation.queries)
            predictions.append(made[key])
        found |= over_draws(FEW_SCRATCH[number], evaluation, predictions)
    return found


@functools.lru_cache
def seconds(width: int, images: int, queries: int, classes: int, device: torch.device) -> float:
    """About what `figures` takes on the device, by `linear.seconds` and a short measurement of neighbours."""
    rows, asked = min(images, 2_000), min(queries, 200)
    bank = F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(0)), dim=1).to(device)
    labels = torch.zeros(rows, dtype=torch.long, device=device)
    knn_predict(bank[:asked], bank, labels, classes, PROTOCOLS[1:])
    began = time.perf_counter()
    knn_predict(bank[:asked], bank, labels, classes, PROTOCOLS[1:])[0].sum().item()
    pair = (time.perf_counter() - began) / (asked * rows)
    total = 0.0
    for number in NUMBERS:
        count = count_of(number, images, classes)
        if count <= images:
            times = 1 if number == "all" else DRAWS
            total += times * (queries * count * pair + linear.seconds(width, count, queries, classes, device))
    return total


def scratch_seconds(encoder: nn.Module, evaluation: Evaluation) -> float:
    """About what `scratch` takes, by a few real steps."""
    images, classes = len(evaluation.bank), evaluation.classes
    counts = {count_of(number, images, classes) for number in NUMBERS if number != "all"}
    total, there = 0.0, [count for count in counts if count <= images]
    for count in there:
        step, predicted = classifier.seconds(encoder, evaluation.bank, count, classes)
        times = DRAWS + (len(FROM_SCRATCH) if count == max(there) else 0)
        total += times * (step * FROM_SCRATCH[0].steps_of(count) + predicted * len(evaluation.queries))
    return total


def count_of(number: str, images: int, classes: int) -> int:
    """About how many labels a number of `NUMBERS` is."""
    if number == "all":
        return images
    if number.endswith("_percent"):
        return max(classes, images * int(number.removesuffix("_percent")) // 100)
    return classes * int(number)
