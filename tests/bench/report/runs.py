"""Made-up runs, changed as the tests of rows and table need them."""

import random
import tempfile

import numpy as np

from bench.report import results


def loaded(trials, epochs, facts):
    with tempfile.TemporaryDirectory() as folder:
        random.Random(0).shuffle(epochs)  # the order of rows means nothing
        results.save(trials, epochs, facts, folder)
        return results.load(folder)


def fail(run, trials):
    """The run as it would be had these trials failed."""
    changed = run.trials.copy()
    at = changed.index.isin(trials.index)
    changed.loc[at, "state"] = "failed"
    changed.loc[at, [name for name in changed if name.startswith("test_")]] = np.nan
    return results.Results(changed, run.epochs, run.run)


def confirming(run, method, stage):
    return run.trials[(run.trials.method == method) & (run.trials.stage == stage)]


def lines(markdown):
    """The lines of a table in Markdown, its heads first."""
    return [line for line in markdown.splitlines() if line.startswith("|")]


def of(made, method):
    return next(row for row in made if row.method == method)


TWO = {
    "published": {"byol": {"learning_rate": 0.3}, "moco": {"optimizer": "larc"}},
    "recipes": {
        "byol": {"source": "a repository's byol.py", "adapted": "8 parts"},
        "moco": {"source": "a repository's moco.py"},
        "simclr": {"source": "a paper", "adapted": "8 parts"},
    },
}


def won_by_ours(run, method="byol"):
    """The run as it would be had our recipe won."""
    trials = run.trials[(run.trials.method != method) | (run.trials.stage != "confirm")]
    winner = trials[(trials.method == method) & (trials.stage == "search") & trials.our_recipe].uid.iloc[0]
    return results.Results(trials, run.epochs, run.run | {"winners": run.run["winners"] | {method: winner}})
