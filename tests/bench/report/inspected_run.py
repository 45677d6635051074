"""A made-up run that has left something to look at of its encoders."""

from pathlib import Path

import numpy as np

from bench.report import inspections, results
from tests.bench import synthetic_run


def write(folder: Path, *arguments, classes: int = 10, count: int = 60, names=None, **options) -> Path:
    """The made-up run in `folder`, of which `inspect` has judged all encoders that are compared: arguments as of
    `synthetic_run.rows`, so many classes (none: no labels), their names, and images."""
    chance = np.random.default_rng(0)
    trials, epochs, run = synthetic_run.rows(*arguments, **options)
    run["facts"]["images"]["classes"] = names or [f"name {place}" for place in range(classes)]
    labels = [place * classes // count for place in range(count)] if classes else [-1] * count
    asked = list(range(0, count, count // 12))
    pixels = chance.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    files = inspections.Images(labels, asked, *inspections.sheet([pixels])).files()
    for trial in list(trials):
        if trial["stage"] == "search" or trial["state"] != "complete" or trial["method"] == "pixels":
            continue
        about = {"stage": "evaluate", "uid": f"{trial['uid']}-inspect", "of": trial["uid"], "protocol": "inspect"}
        nothing = {name: None for name in trial if name.startswith(("test_", "train_"))}
        trials.append(trial | nothing | about | {"test_trustworthiness": 0.9, "epochs": 1, "epoch": 1})
        near = [[int(each) for each in chance.permutation(count) if each != ask][:8] for ask in asked]
        confusion = [[label, (label + step) % classes, 10 - 9 * step] for label in range(classes) for step in (0, 1)]
        places = inspections.whole(chance.normal(size=(count, 2)).astype(np.float32))
        files |= inspections.Inspected(near, places, confusion, 0.9).files(trial["uid"])
    results.save(trials, epochs, run, folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
