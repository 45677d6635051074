"""What an encoder is worth where it may change: the whole of it is trained on with labels."""

from torch import nn

from algorithms.evaluation import accuracy, classifier, linear
from algorithms.evaluation.classifier import FINE_TUNING, FROM_SCRATCH, choose, predict, train
from algorithms.evaluation.few import count_of, draws
from algorithms.evaluation.knn import Evaluation
from algorithms.evaluation.metrics import FINETUNE


def figures(
    encoder: nn.Module, evaluation: Evaluation, seed: int, *, scratch: bool = False, flip: float = 0.5
) -> dict[str, float]:
    """The accuracy on the queries of copies of the encoder that are trained with so many of the bank's labels
    (`FINETUNE`), the first of the draws of `few`. Logits that are not finite are wrong.

    Of the schedules of `FINE_TUNING`, or of `FROM_SCRATCH` with `scratch`, where the encoder is untrained, that one is
    taken which is best on a fifth of these labels that it was not trained with; then all of them train. Images are
    mirrored with probability `flip`. On a CPU it is the same for the same `seed`.
    """
    bank, classes, schedules = evaluation.bank, evaluation.classes, FROM_SCRATCH if scratch else FINE_TUNING
    found: dict[str, float] = {}
    for number, metric in FINETUNE.items():
        for places in draws(evaluation.bank_labels, number)[:1]:
            given = (encoder, bank, places, evaluation.bank_labels[places], classes)
            model = train(*given, choose(*given, schedules, seed=seed, flip=flip), seed=seed, flip=flip)
            predictions = predict(model, evaluation.queries)
            found |= accuracy.figures(metric, predictions, evaluation.query_labels, classes)
    return found


def seconds(encoder: nn.Module, evaluation: Evaluation, *, scratch: bool = False) -> float:
    """About what `figures` takes, by a few real steps."""
    total, images, schedules = 0.0, len(evaluation.bank), FROM_SCRATCH if scratch else FINE_TUNING
    for number in FINETUNE:
        count = count_of(number, images, evaluation.classes)
        step, predicted = classifier.seconds(encoder, evaluation.bank, count, evaluation.classes)
        left = max(1, count * (linear.FOLDS - 1) // linear.FOLDS)
        steps = schedules[0].steps_of(count) + sum(schedule.steps_of(left) for schedule in schedules)
        total += steps * step + predicted * (len(evaluation.queries) + len(schedules) * (count - left))
    return total
