"""What is asked of a run, whatever the budget and the machine; whether a run that there is was asked for the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from optuna.distributions import BaseDistribution

from algorithms import GROUPS
from bench import doors
from bench.errors import UserError
from bench.search.budget import Budget
from bench.search.events import plain
from bench.search.fold import Fold
from bench.search.methods import FROZEN
from bench.search.plugins import RECIPES_ONLY


class Settings(Protocol):
    """What a run's trainings have in common (`bench.execution.settings.TrainingSettings`)."""

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a run to be continued."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the processes that train."""


class Searchable(Protocol):
    """What may be searched of a method (`bench.search.space.SearchSpace`). Hyper-parameters are by name."""

    @property
    def hash(self) -> str:
        """Of everything that decides a search."""

    @property
    def defaults(self) -> dict[str, Any]:
        """Our recipe, which a search varies."""

    @property
    def recipes(self) -> Sequence[dict[str, Any]]:
        """The published recipe, and ours where it is another one."""

    @property
    def choices(self) -> Mapping[str, Sequence[Any]]:
        """The values of every hyper-parameter that has choices instead of a range."""

    def narrowed(self, choices: Mapping[str, list[Any]]) -> Self:
        """The same space, of the same hash, with these choices alone for the hyper-parameters that they name."""

    def proposes(self, hyperparameters: dict[str, Any]) -> bool:
        """Whether a search may propose these."""

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples, by its name there."""

    def to_params(self, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        """Hyper-parameters as Optuna holds them."""

    def settled(self, params: dict[str, Any]) -> dict[str, Any]:
        """The same as Optuna holds it, what has no effect beside the rest at its default."""

    def from_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """All hyper-parameters from what Optuna holds, `settled`."""


@dataclass(frozen=True)
class Learnt:
    """What a run begins with beside the recipes (`bench.search.learning`)."""

    sources: tuple[str, ...] = ()
    """The folders of the runs that were learnt from."""
    configurations: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    """By method hyper-parameters, the best first."""

    def identity(self) -> dict[str, Any]:
        """What the ledger keeps, so that a run goes on with what it began with; nothing where nothing was asked."""
        return {"learn_from": list(self.sources), "learnt": dict(self.configurations)} if self.sources else {}


@dataclass(frozen=True)
class Experiment:
    """What is asked of a run, whatever the budget and the machine.

    `spaces` maps method -> search space, in the order of tables. `factory` is the
    "module:Class" of what makes trainers in workers (`bench.execution.factory.Factory`), with the `settings`. What
    these tell of themselves identifies the run, as do the fields below. `patience` is the seconds that an epoch may
    take beyond ten times its calibration: a step may have to be compiled in it. `protocols` judge what trainings have
    kept; they identify nothing, so that one can be added to a run that there is.
    """

    spaces: Mapping[str, Searchable]
    factory: str
    settings: Settings
    baselines: tuple[str, ...] = ("pixels", "random", "supervised")
    epochs: int | None = None
    seeds: int = 3
    seed: int = 0
    searcher: str = "tpe"
    scheduler: str = "asha"
    patience: float = 360.0
    protocols: tuple[str, ...] = ()
    learnt: Learnt = Learnt()

    def training_seed(self, stage: str, number: int = 0) -> int:
        """Of a training. All that search have one seed: the luck that it has with all configurations, nearly half of
        what seeds do (`bench.tabular.seeds`), tells no two apart then. Further seeds of the race, and the fresh ones
        that confirm, are by their number the same for all configurations, too."""
        if stage == "search":
            return self.seed * 1_000_000
        return self.seed * 1_000_000 + (800_000 if stage == "race" else 900_001) + number

    @property
    def recipes_only(self) -> bool:
        """Whether nothing is searched."""
        return self.searcher == RECIPES_ONLY

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be continued; the ledger's first line has it. There are `sources` only
        where a user brings something."""
        settings = self.settings.identity()
        sources = settings.pop("sources", {}) | {
            name: doors.source(name) for name in (self.searcher, self.scheduler) if doors.is_door(name)
        }
        identity: dict[str, Any] = plain(
            settings
            | {
                "methods": list(self.spaces),
                "search_spaces": {method: space.hash for method, space in self.spaces.items()},
                # A frozen network's name tells its weights, and one may be added to a run that there is.
                "baselines": [name for name in self.baselines if not name.startswith(FROZEN)],
                "epochs": self.epochs,
                "seeds": self.seeds,
                "seed": self.seed,
                "searcher": self.searcher,
                "scheduler": self.scheduler,
            }
            | ({"sources": sources} if sources else {})
            | self.learnt.identity()
        )
        return identity


def check_identity(fold: Fold, experiment: Experiment, budget: Budget, run_dir: Path) -> None:
    """Raises UserError, which names the difference, if the run in `run_dir` was made with other settings, or its budget
    is in time of another device."""
    there, here = dict(fold.settings), experiment.identity()
    there.pop("factory", None)  # earlier versions told how trainers are made, which nobody asks for
    if "sources" not in there:  # a version before kept none
        here.pop("sources", None)
    if fold.sessions:
        there["a budget in time of"], here["a budget in time of"] = fold.sessions[0]["budget"]["device"], budget.device
    if there["searcher"] == RECIPES_ONLY:
        there["searcher"] = here["searcher"]  # what has trained its recipes may be searched now
    if here["epochs"] == fold.plan["epochs"]:
        here["epochs"] = there["epochs"]  # asked for what had been chosen
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            before, now = there.get(key), here.get(key)
            if isinstance(before, dict) and isinstance(now, dict):
                name = next(n for n in {**before, **now} if before.get(n) != now.get(n))
                key, before, now = f"{key} of {name}", before.get(name), now.get(name)
            group = next((g for g, names in GROUPS.items() if key == "methods" and list(names) == before), None)
            raise UserError(
                f"{run_dir} holds a run with {key} {_short(before)}, not {_short(now)}; "
                f"use {f'--methods {group} to go on with it, ' * bool(group)}--fresh to begin it anew or --run-dir for "
                "another place"
            )


def otherwise(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """In which of its images, their size, its encoder, the weights with which that begins and its augmentation a run
    with the settings `there` differs from one with those `here`; None if in nothing."""
    parts = []
    if there.get("dataset") != here.get("dataset"):
        parts.append(f"on {there.get('dataset')}")
    elif there.get("dataset_fingerprint") != here.get("dataset_fingerprint"):
        parts.append(f"on other images called {there.get('dataset')}")
    if there.get("image_size") != here.get("image_size"):
        parts.append(f"at {there.get('image_size')} px")
    if there.get("encoder") != here.get("encoder"):
        parts.append(f"with {there.get('encoder')}")
    if there.get("init") != here.get("init"):
        parts.append(f"from {there['init']}" if there.get("init") else "from scratch")
    if there.get("augment") != here.get("augment"):
        parts.append(f"with --augment {there['augment']}" if there.get("augment") else "without --augment")
    return " ".join(parts) or None


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
