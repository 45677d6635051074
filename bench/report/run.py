"""What is read of the facts of a run: its sessions, devices, versions, search spaces and unit of compute."""

import re
from collections.abc import Mapping
from typing import Any, TypedDict

import pandas as pd


class Run(TypedDict, total=False):
    """What is true of the whole run: the ledger's own words, so `bench.search.events` says what each key holds. It
    travels as JSON, and files of earlier versions lack some keys."""

    name: str
    settings: dict[str, Any]
    plan: dict[str, Any]
    budget: dict[str, Any] | None  # of the last session, as are slots, share and facts
    slots: int | None
    share: float | None
    facts: dict[str, Any] | None
    sessions: list[dict[str, Any]]  # all, in their order: slots, rate; of their facts device, versions, commit
    winners: dict[str, str | None]  # by method, the uid of the trial that was chosen, or null
    given_up: dict[str, str]  # by method, why its search ended early
    charged: float  # device-seconds
    closed: str | None  # why the last driver ended; null while one runs
    commits: list[str]  # in files of earlier versions
    held_out: bool  # true of files of earlier versions, whose searches were judged on images held out


def fact(run: Run, name: str) -> Any:
    """A fact of the last session or, failing that, a setting of the run; None if neither tells."""
    return (run.get("facts") or {}).get(name) or (run.get("settings") or {}).get(name)


def budget_seconds(run: Run) -> float | None:
    """The budget of the last session in device-seconds."""
    return (run.get("budget") or {}).get("seconds")


def each_session(run: Run, name: str) -> list[Any]:
    """What the run's sessions say of `name`, each different value once, in their order."""
    facts = run.get("facts") or {}
    sessions = run.get("sessions") or [{"slots": run.get("slots"), **facts}]
    values = [value for session in sessions if (value := session.get(name)) is not None]
    return [value for place, value in enumerate(values) if value not in values[:place]]


def devices(run: Run, trials: pd.DataFrame) -> list[str]:
    """Every device that the run was on, with its precision."""
    told = [*trials.device.dropna(), *each_session(run, "device")]
    return sorted({str(device) for device in told})


def versions(run: Run) -> dict[str, list[str]]:
    """The versions of each package that the run was made with, in the order of its sessions."""
    found: dict[str, dict[str, None]] = {}
    for packages in each_session(run, "versions"):
        for name, version in packages.items():
            found.setdefault(name, {})[version] = None
    return {name: list(versions) for name, versions in found.items()}


def slots_text(run: Run) -> str:
    """The trials at a time of all sessions, and the share of a GPU that each had where it was not the whole."""
    slots, rates = each_session(run, "slots"), each_session(run, "rate")
    told = f"{' and '.join(map(str, slots))} slot{'' if slots == [1] else 's'}" if slots else ""
    return told if rates in ([], [1.0]) else f"{told} of {' and '.join(f'{rate:g}' for rate in rates)} GPU"


def spaces(run: Run) -> dict[str, dict[str, Any]]:
    """The search spaces of the run by method: `hash` and, where known, `paper` and the `hyperparameters` entries."""
    known = (run.get("settings") or {}).get("search_spaces") or {}
    told: dict[str, dict[str, Any]] = (run.get("facts") or {}).get("search_spaces") or {}
    return {method: {"hash": hash} for method, hash in known.items()} | told


def origin(run: Run, method: str) -> Mapping[str, str]:
    """Whose a method's published recipe is: its `source` and, where it is not to the letter, how it is `adapted`."""
    return spaces(run).get(method, {}).get("recipe") or {}


def paper_link(paper: str | None) -> str | None:
    """The address of a paper given by arXiv number or by https address; None for anything else."""
    if paper and re.fullmatch(r"\d{4}\.\d{4,5}", paper):
        return f"https://arxiv.org/abs/{paper}"
    return paper if paper and re.fullmatch(r"https://[\w./?=&%#~+-]+", paper) else None


def compute_unit(run: Run, most: float) -> tuple[str, float]:
    """The unit in which `most` device-seconds read well, and its length in seconds: ("GPU-hours", 3600)."""
    device = "GPU" if (run.get("budget") or {}).get("device") == "gpu" else "core"
    name, length = ("hours", 3600) if most >= 3600 else ("minutes", 60) if most >= 60 else ("seconds", 1)
    return f"{device}-{name}", length
