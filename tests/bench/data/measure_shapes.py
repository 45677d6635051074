"""How well methods learn the embedded data set: prints the table that `bench/data/shapes.py` shows.

python -m tests.bench.data.measure_shapes simclr byol
"""

import sys
import time

import numpy as np
import torch

from algorithms import method_class
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ResidentImages
from algorithms.training.trainer import Trainer
from bench.data.shapes import CLASSES, generate
from bench.search.space import load


def measure(methods: list[str], epochs: int = 4) -> None:
    """Train each of `methods` at its default recipe, with three seeds, and print the kNN accuracy of the test images,
    beside that of the baselines, which are not trained."""
    torch.set_num_threads(1)
    began = time.process_time()
    (pixels, labels), (queries, query_labels) = generate()
    print(f"generated in {time.process_time() - began:.1f} CPU seconds")
    evaluation = Evaluation(ResidentImages.of(pixels), labels, ResidentImages.of(queries), query_labels, len(CLASSES))
    print("method      kNN, %, of three seeds  CPU seconds a training")
    for name in ["pixels", "random", *methods]:
        accuracies, seconds = [], []
        for seed in range(3):
            trainer = Trainer(
                method_class(name),
                pixels,
                load(name, pixels.shape[-1]).defaults,
                epochs=epochs if name in methods else 0,
                encoder="resnet8",
                seed=seed,
                device="cpu",
                labels=labels if name == "supervised" else None,
            )
            began = time.process_time()
            for _ in trainer:
                pass
            seconds.append(time.process_time() - began)
            accuracies.append(f"{100 * evaluation(trainer.method.judged_encoder)['knn_200']:7.1f}")
        print(f"{name:11}{''.join(accuracies)}{np.median(seconds):10.1f}")


if __name__ == "__main__":
    measure(sys.argv[1:] or ["simclr", "byol"])
