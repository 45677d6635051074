"""How much each hyper-parameter mattered."""

import warnings

import numpy as np
import pandas as pd

from bench.report.sections.method.importance import importances
from tests.bench import synthetic_run
from tests.bench.report.pages import charts, make

SPACE = synthetic_run.search_space("byol")["hyperparameters"]


def test_importance_finds_the_hyperparameter_that_matters_and_needs_enough_trials(tmp_path):
    generator = np.random.default_rng(0)
    settings = pd.DataFrame(
        {
            "temperature": 0.05 * 20 ** generator.random(80),
            "ema_momentum": 1 - 0.1 * 0.001 ** generator.random(80),
            "learning_rate": 0.005 * 100 ** generator.random(80),
            "weight_decay": 1e-6 * 1000 ** generator.random(80),
            "prototypes": generator.choice([128, 256, 512, 1024], 80).tolist(),
            "optimizer": "sgd",
        }
    )
    accuracy = -np.abs(np.log(settings.temperature / 0.2))
    found = importances(SPACE, settings, accuracy)
    assert set(found) == {"temperature", "ema_momentum", "learning_rate", "weight_decay", "prototypes"}
    assert max(found, key=found.get) == "temperature"
    assert all(low <= middle <= high for middle, low, high in found.values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody who runs a benchmark is to read Optuna's
        importances(SPACE, settings, accuracy * 0)
    page = make(tmp_path, ("byol",), trials=20)[1]
    assert not any(name.startswith("importance") for name in charts(page))
    assert "unreliable below 40 full trials" in page
