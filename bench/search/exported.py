"""The searches of a run as studies in a file that Optuna and its dashboard open.

A study a method, with the trials by which the run chose: those that search, and those that repeat the best with other
seeds. Those that confirm are left out, as test images judge them.
"""

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from bench.errors import UserError
from bench.files import check_output, write_atomically
from bench.search.events import plain
from bench.search.fold import Fold, read
from bench.search.job import CHOOSING
from bench.search.selection import called, direction, figure
from bench.search.space import SearchSpace
from bench.search.trials import Trial

MARK = "ssl-bench"
"""The worker to which every line of the file is attributed: by it we know a file of ours."""
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "running": TrialState.RUNNING,
    "failed": TrialState.FAIL,
    "cut": TrialState.FAIL,
}


class _Lines(BaseJournalBackend):
    """A journal in memory, the same for the same studies."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.lines[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += logs


def export(run_dir: Path, output: Path) -> int:
    """Write the studies of the run in `run_dir` to `output`; how many there are. The same ledger gives the same bytes.

    Raises UserError where there is no ledger or it does not tell the ranges, where `output` is a file that this did not
    write, and OSError.
    """
    ledger = run_dir / "ledger.jsonl"
    if not ledger.is_file():
        raise UserError(f"{run_dir} has no ledger.jsonl; name the folder of a run")
    check_output(output)
    if output.exists() and not _is_ours(output):
        raise UserError(f"{output} is there and is no export of studies; give another name as --output")
    fold = read(ledger)
    journal = _Lines()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(journal)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            for method in fold.by_method:
                _study(method, fold, run_dir, storage)
        finally:
            optuna.logging.set_verbosity(verbosity)
        studies = len(storage.get_all_studies())
    if not studies:
        raise UserError(f"the run in {run_dir} has searched nothing yet; export it when a trial has begun")
    lines = [json.dumps(line | {"worker_id": MARK}, separators=(",", ":")) + "\n" for line in journal.lines]
    write_atomically(output, "".join(lines))
    return studies


def _is_ours(path: Path) -> bool:
    """Whether `export` wrote the file."""
    try:
        with open(path, "rb") as file:
            first = json.loads(file.readline(10_000))
        return isinstance(first, dict) and first.get("worker_id") == MARK
    except (ValueError, RecursionError, OSError):
        return False


def _study(method: str, fold: Fold, run_dir: Path, storage: JournalStorage) -> None:
    trials = list(fold.of(method, *CHOOSING))
    if not trials:
        return
    space = _space(method, fold, run_dir)
    study = optuna.create_study(storage=storage, study_name=method, direction=direction())
    measured = {name: None for trial in trials for report in trial.reports.values() for name in report.metrics}
    if title := called(measured):
        study.set_metric_names([title])
    study.set_user_attr("run", plain(run_dir.resolve().name))
    study.set_user_attr("winner", fold.winner(method))
    study.add_trials([_trial(number, trial, space) for number, trial in enumerate(trials)])


def _space(method: str, fold: Fold, run_dir: Path) -> SearchSpace:
    """What was searched, as the run tells it. Raises UserError."""
    facts = [session["facts"] for session in fold.sessions if session.get("facts")]
    told: Any = next(
        (spaces[method] for each in reversed(facts) if method in (spaces := each.get("search_spaces", {}))), {}
    )
    try:
        space = SearchSpace(method, "", {}, dict(told["hyperparameters"]))
        return space.narrowed((fold.plan.get("choices") or {}).get(method, {}))
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"the run in {run_dir} has no record of the ranges of {method}; it cannot be exported"
        ) from None


def _trial(number: int, trial: Trial, space: SearchSpace) -> FrozenTrial:
    """A trial as it was. What was trained outside its range, as a published recipe may be, is no parameter but stands
    among the user attributes, as all hyper-parameters do."""
    state = STATES[trial.state]
    inside = dict(_inside(trial, space))
    figures = {epoch: value for epoch, each in trial.reports.items() if (value := figure(each.metrics)) is not None}
    told: dict[str, Any] = {
        "uid": trial.uid,
        "stage": trial.stage,
        "seed": trial.seed,
        "state": trial.state,
        "reason": trial.reason,
        "device_seconds": trial.held,
        "epochs": f"{trial.epoch} of {trial.epochs}",
        "recipe": trial.recipe,
        **{f"hyperparameter {name}": value for name, value in sorted(trial.hyperparameters.items())},
    }
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=trial.accuracy if state == TrialState.COMPLETE else None,
        values=None,
        datetime_start=_moment(trial.started),
        datetime_complete=None if state == TrialState.RUNNING else _moment(trial.ended or trial.started),
        params={name: value for name, (value, _) in inside.items()},
        distributions={name: distribution for name, (_, distribution) in inside.items()},
        user_attrs={name: plain(value) for name, value in told.items() if value is not None},
        system_attrs={},
        intermediate_values=figures,
    )


def _inside(trial: Trial, space: SearchSpace) -> Iterator[tuple[str, tuple[Any, BaseDistribution]]]:
    """The parameters, as Optuna has them, whose value the search could have proposed."""
    try:
        parameters = space.to_params(trial.hyperparameters)
    except KeyError:  # of another version of the method
        return
    for name, distribution in space.distributions().items():
        value = parameters[name]
        if isinstance(distribution, CategoricalDistribution):
            inside = any(type(value) is type(each) and value == each for each in distribution.choices)
        else:
            inside = distribution._contains(distribution.to_internal_repr(value))
        if inside:
            yield name, (value, distribution)


def _moment(seconds: float | None) -> datetime | None:
    """In UTC, without saying so, as Optuna's times are."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
