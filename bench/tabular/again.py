"""Criteria that a table has not, or has by an earlier definition: `python -m bench.tabular.again FILE DATASET`.

The trainings of seed 0 are made again, to the last bit, without the evaluations, and all criteria of their last epochs
written into the table; of other rows, those whose definition has changed are emptied. It goes on where it was stopped.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from algorithms import method_class
from algorithms.evaluation.criteria import criteria
from algorithms.evaluation.features import raw_features
from algorithms.evaluation.metrics import CLUSTER_LEARNABILITY, INSTANCE_ACCURACY
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import ResidentImages
from algorithms.training.process import keep_freed_memory
from algorithms.training.trainer import Trainer
from bench.files import write_atomically
from bench.tabular.record import load


def train(row: Any, images: ResidentImages) -> dict[str, float]:
    """The criteria of a recorded training at its last epoch; of what diverged, none."""

    def judge(encoder: nn.Module) -> dict[str, float]:
        return criteria(encoder, images, raw_features(encoder, images))

    trainer = Trainer(
        method_class(row.method),
        images,
        json.loads(row.hyperparameters),
        epochs=row.epochs,
        encoder=row.encoder,
        seed=row.seed,
        evaluation=judge,
    )
    return dict(list(trainer)[-1].metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a table of bench.tabular.record")
    parser.add_argument("dataset", help="what it was recorded on")
    parser.add_argument("--methods", help="names, with commas; by default all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    table = pd.read_parquet(options.file)
    if INSTANCE_ACCURACY.name not in table:
        table[CLUSTER_LEARNABILITY.name] = table[INSTANCE_ACCURACY.name] = float("nan")
    left = table[(table.epoch == table.epochs) & (table.seed == 0) & table[INSTANCE_ACCURACY.name].isna()]
    left = left[left.test_knn_200.notna()]
    if options.methods:
        left = left[left.method.isin(options.methods.split(","))]
    for number, row in enumerate(left.itertuples(), 1):
        of = load(options.dataset, row.image_size, row.images, 8)
        images = ResidentImages.of(of.train.pixels, statistics=IMAGENET)
        for name, value in train(row, images).items():
            table.loc[row.Index, name] = value
        if number % 4 == 0 or number == len(left):
            write_atomically(options.file, partial(table.to_parquet, index=False))
            print(f"{number} of {len(left)}", flush=True)


if __name__ == "__main__":
    main()
