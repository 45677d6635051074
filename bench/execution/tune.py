"""The executor that is Ray Tune: it starts workers, hands them trials, tells of results and deaths.

Thin adapters pass what Tune says to the one session, and its answers back. What of Tune had to be worked around:

- `Tuner.restore` forgets pruning rungs and can lose trials. It is never used: each session is a new Tuner in a new
  folder; Tune's checkpoints and snapshots are unused.
- Kept workers (`reuse_actors`) leave slots idle, unless as many trials may be pending as there are slots.
- Tune gives a free worker to a trial whose own worker is still starting, and ends that one; where trials are shorter
  than a worker's start, a slot starts workers for ever. It also ends a free worker that has no trial at once
  (`_keep_workers`).
- Tune's retries cannot change a trial's configuration. Here a lost worker's trial ends for Tune, and the search
  gives it out again as a new attempt.
- A `Stopper` waits for workers in the middle of an epoch. Here an exception leaves Tune's loop, and shutting Ray
  down ends the workers.
- Tune pickles its searcher, stopper and callbacks. Ours pickle to nothing (`_Adapter`).
"""

import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import ray
from ray import tune
from ray.tune import tune as loop
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from bench.execution import ray_cluster
from bench.execution.answer import Answer
from bench.execution.session import DIED, Leave, Session
from bench.machine import name as machine
from bench.search.budget import trials_per_device
from bench.search.job import Assignment
from bench.search.plan import Plan

loop._setup_signal_catching = threading.Event  # Tune takes SIGUSR1, and then waits for workers that are starting

P = ParamSpec("P")
R = TypeVar("R")


class RayTune:
    """Ray Tune on this machine, for as long as a run takes, or on the Ray cluster at `address`, whose nodes share the
    run's folder."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address

    @property
    def shared(self) -> bool:
        return self.address is not None

    def slots(self, plan: Plan) -> int:
        if self.address is None:
            return plan.slots
        return ray_cluster.cluster_slots(self.address, plan.budget.device, plan.rate)

    def run(self, session: Session) -> None:
        plan = session.plan
        cpu = plan.budget.device == "cpu"
        gpus = 0 if cpu else math.ceil(plan.slots / trials_per_device(plan.rate))
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(plan.slots)
        with ray_cluster.connected(self.address, session.run_dir, plan.slots, gpus) as scratch:
            try:
                session.signals.take()  # once more, since Ray puts its own handlers in their place
                session.warn(ray_cluster.different_gpus(ray.nodes()) if self.shared and not cpu else None)
                _tuner(session, {"cpu": 1} if cpu else {"cpu": 0, "gpu": plan.rate}, scratch).fit()
                if not session.done:
                    session.error = RuntimeError("Ray Tune ended though there was work left")
            finally:
                session.left()  # before the shutdown, which takes seconds and trains nothing


def _tuner(session: Session, resources: dict[str, float], scratch: str) -> Any:
    experiment, attempts = session.plan.experiment, _Attempts(session)
    worker = tune.with_parameters(
        _Worker,
        factory=experiment.factory,
        settings=experiment.settings.to_json(),
        run_dir=str(session.run_dir),
        driver=machine(),
    )
    return tune.Tuner(
        tune.with_resources(worker, resources),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(attempts),
            scheduler=_Scheduler(attempts),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="session",
            storage_path=scratch,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Callback(attempts)],
            stop=_Stopper(attempts),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


class _Attempts:
    """The session's attempts by the names that Tune has for them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._assignments: dict[str, Assignment] = {}
        self._errors: dict[str, str] = {}  # of workers

    def suggest(self, name: str) -> dict[str, Any] | str | None:
        assignment = self.session.next()
        if assignment is None:
            return Searcher.FINISHED if self.session.done else None
        self._assignments[name] = assignment
        return {"assignment": json.dumps(assignment.to_json())}

    def started(self, name: str) -> None:
        self.session.started(self._assignments[name])

    def answered(self, name: str, answer: str) -> bool:
        return self.session.answered(self._assignments[name], Answer.from_json(json.loads(answer)))

    def error(self, name: str, file: str | None) -> None:
        """The worker ended, and Ray wrote what it knows to a file, where it could; `ended` comes next."""
        try:
            self._errors[name] = _cause(Path(file or "").read_text(errors="replace"))
        except OSError:  # no such file, as on a full disk
            self._errors[name] = DIED

    def ended(self, name: str, died: bool) -> None:
        assignment, error = self._assignments.pop(name, None), self._errors.pop(name, DIED)
        if assignment is not None:
            self.session.ended(assignment, error if died else None)


class _Adapter:
    """Passes Tune's calls to the session; pickles to nothing, as Tune's snapshots are never read."""

    _attempts: _Attempts

    def _ask(self, method: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """What the session answers. Tune catches exceptions: one leaves its loop all the same."""
        try:
            return method(*arguments, **named)
        except Exception as error:
            self._attempts.session.error = error
            raise Leave from error

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Adapter":
        return self


class _Searcher(_Adapter, Searcher):
    def __init__(self, attempts: _Attempts) -> None:
        super().__init__(metric="epoch", mode="max")
        self._attempts = attempts

    def suggest(self, trial_id: str) -> Any:
        return self._ask(self._attempts.suggest, trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._ask(self._attempts.ended, trial_id, error)

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Scheduler(_Adapter, FIFOScheduler):
    def __init__(self, attempts: _Attempts) -> None:
        super().__init__()
        self._attempts = attempts

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self._ask(self._attempts.answered, trial.trial_id, result["answer"])
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._ask(self._attempts.error, trial.trial_id, trial.error_file)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        _keep_workers(tune_controller, trial.placement_group_factory, self._attempts.session.plan.slots)


def _keep_workers(controller: Any, resources: Any, slots: int) -> None:
    """Let a trial whose worker is starting wait for it, and free workers wait for trials, in this version of Tune."""
    if controller._maybe_reuse_cached_actor.__name__ == "reuse_if_without":
        return
    reuse = controller._maybe_reuse_cached_actor

    def reuse_if_without(trial: Any) -> bool:
        waits = trial in controller._trial_to_actor and trial not in controller._resetting_trials
        return not waits and reuse(trial)

    controller._maybe_reuse_cached_actor = reuse_if_without
    controller._actor_cache.increase_max(resources, slots)


class _Callback(_Adapter, tune.Callback):
    def __init__(self, attempts: _Attempts) -> None:
        self._attempts = attempts

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ask(self._attempts.started, trial.trial_id)


class _Stopper(_Adapter, Stopper):
    def __init__(self, attempts: _Attempts) -> None:
        self._attempts = attempts

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self._ask(self._attempts.session.beat)
        return False


class _Worker(tune.Trainable):
    """A worker process as Tune sees it."""

    def setup(self, config: dict[str, Any], **start: Any) -> None:
        from bench.execution.worker import Worker  # here, since it imports torch, which the driver may do without

        self._worker = Worker(**start, first=config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._worker.begin(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        return {"answer": self._worker.step()}


def _cause(error: str) -> str:
    """Why a worker ended, in a line, of what Ray says: the exception that it met, where there was one."""
    lines = error.strip().splitlines()
    if not any("ray::" in line for line in lines):  # which begins the stack of a worker's exception
        return DIED
    return f"its worker ended with {lines[-1].strip()[:300]}"
