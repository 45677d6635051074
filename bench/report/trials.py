"""What is read of trials: whose recipe one is of, with which hyper-parameters it was trained, and which won."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report.run import Run
from bench.report.text import one_line
from bench.search.methods import FROZEN


def number(value: Any) -> float | None:
    """A cell's number; None where it has none."""
    return None if value is None or pd.isna(value) else float(value)


def frozen(trials: pd.DataFrame) -> pd.Series:
    """Which trials are of pretrained networks that are never trained here, with an encoder and an image size that are
    not the run's."""
    return (trials.stage == "baseline") & trials.method.str.startswith(FROZEN)


def recipe_of(trial: pd.Series) -> str | None:
    """`published` or `ours` where a trial is of a recipe, as the stage is called that confirms it; else None."""
    return "published" if trial.published_recipe else "ours" if trial.our_recipe else None


def recipe_trial(trials: pd.DataFrame, recipe: str = "published") -> pd.Series | None:
    """Of a method's `trials` one of this recipe, `published` or `ours`, if possible one that confirms; None before."""
    begun = trials[(trials.epoch > 0) & trials["our_recipe" if recipe == "ours" else "published_recipe"].eq(True)]
    for stage in (recipe, "search"):
        if len(some := begun[begun.stage == stage]):
            return some.iloc[0]
    return None


def winning_trial(trials: pd.DataFrame, run: Run) -> pd.Series | None:
    """The search trial that was chosen among a method's `trials`; None while its search is on."""
    found = trials[trials.uid.isin([uid for uid in (run.get("winners") or {}).values() if uid])]
    return found.iloc[0] if len(found) else None


def asked(trial: pd.Series) -> dict[str, Any]:
    """The hyper-parameters that were asked for."""
    found: dict[str, Any] = json.loads(trial.hyperparameters)
    return found


def effective(trial: pd.Series) -> dict[str, Any]:
    """The hyper-parameters with which a trial was trained."""
    if isinstance(trial.effective, str):
        trained: dict[str, Any] = json.loads(trial.effective)
        return trained
    told = asked(trial)  # earlier versions told the images in a step alone
    step = {"batch_size": int(trial.batch_size)} if "batch_size" in told and trial.batch_size > 0 else {}
    return told | step


def fitted(trial: pd.Series) -> Mapping[str, tuple[Any, Any]]:
    """What was trained otherwise than asked for: name -> (asked for, as trained)."""
    told = asked(trial)
    return {name: (told.get(name), value) for name, value in effective(trial).items() if value != told.get(name)}


def encoder_text(trials: pd.DataFrame) -> str:
    """The name and size of the encoder of these trials."""
    name, parameters = trials.encoder.iloc[0], number(trials.encoder_parameters.max())
    shown = f"{parameters / 1e6:.1f} M" if parameters and parameters >= 1e6 else f"{parameters or 0:,.0f}"
    return one_line("its own" if pd.isna(name) else name) + (f", {shown} parameters" if parameters else "")
