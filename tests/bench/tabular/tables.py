"""Made-up tables, in the format of `bench.tabular.record`."""

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from bench.search import space as search_space
from bench.tabular.record import configurations

EPOCHS = 4


def learnt(method: str, configuration: int) -> float:
    """The accuracy that a configuration comes to: the published recipe's is 0.5, the best one's 0.7."""
    return 0.5 + 0.2 * math.sin(configuration) if configuration else 0.5


def write(
    path: Path,
    methods: tuple[str, ...] = ("simclr", "barlow"),
    count: int = 8,
    seeds: int = 3,
    noise: float = 0.02,
    shared: float = 0.0,
    truth: Callable[[str, int], float] = learnt,
    diverged: Mapping[tuple[str, int, int], int] | None = None,
) -> pd.DataFrame:
    """The table, which is written to `path` too. `noise` is the spread of a training's luck, which all judges share,
    and of each judge's own, `shared` that of the luck which a seed has with all configurations of a method. `diverged`
    is by method, configuration and seed the epoch in which one diverges."""
    rows, draw = [], random.Random(0)
    for method in methods:
        of_seeds = [random.Random(f"{method}/{seed}").gauss(0, shared) for seed in range(seeds)]
        for number, (kind, values) in enumerate(configurations(search_space.load(method, 16), count)):
            for seed in range(seeds):
                luck = of_seeds[seed] + draw.gauss(0, noise)
                for epoch in range(1, EPOCHS + 1):
                    figure = 0.2 + (truth(method, number) - 0.2) * epoch / EPOCHS + luck
                    ends = (diverged or {}).get((method, number, seed), EPOCHS + 1) == epoch
                    judged = {} if ends else {
                        f"{judge}_knn_200": figure + draw.gauss(0, spread * noise)
                        for judge, spread in (("train", 0.3), ("held_out", 1), ("test", 0.1))
                    }  # fmt: skip
                    rows.append(
                        {
                            "dataset": "made-up",
                            "encoder": "resnet8",
                            "images": 100,
                            "image_size": 16,
                            "epochs": EPOCHS,
                            "method": method,
                            "configuration": number,
                            "kind": kind,
                            "hyperparameters": json.dumps(values, sort_keys=True),
                            "seed": seed,
                            "epoch": epoch,
                            "loss": math.nan if ends else 1 / epoch,
                            **judged,
                            "rankme": 10 + 100 * luck,
                            "seconds": 1.0 + 0.01 * number,
                            "evaluation_seconds": 0.1,
                        }
                    )
                    if ends:
                        break
    table = pd.DataFrame(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)
    return table
