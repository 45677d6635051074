"""Runs a search on Ray Tune. Tune executes: it starts workers, hands them trials, tells of results and deaths.
What must be remembered is in the ledger, and every decision is `bench.search.search`'s.

Thin adapters pass what Tune says to the one `_Session`, and its answers back. What of Tune had to be worked around:

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

import contextlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray._private import ray_constants, services
from ray._raylet import AuthenticationTokenLoader, Config
from ray.tune import tune as loop
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from algorithms.training.report import EpochReport
from bench.errors import UserError, one_line
from bench.execution.calibration import import_path
from bench.execution.progress import Progress
from bench.search.budget import slots, trials_per_device
from bench.search.events import FORMAT
from bench.search.experiment import check_identity
from bench.search.fold import Fold
from bench.search.job import Assignment, Failure, Idle
from bench.search.ledger import Ledger
from bench.search.plan import Plan
from bench.search.search import Search

# Ray puts the command line on record, and does not start where a path in it is not UTF-8.
ray._private.utils.get_entrypoint_name = lambda: "run_bench.py"

HEARTBEAT = 2.0
"""Seconds between heartbeats in the ledger: the most that a power cut or a full disk leaves uncharged of a slot."""
RESULTS = 5.0
"""Least seconds between two calls of `on_results`, which also get at most a twentieth of the driver's time."""

ROOT = Path(__file__).resolve().parents[2]
LONGEST_TMPDIR = 24
"""Bytes. A socket's path has at most 107; Ray's are up to 64 longer than its folder, which is 19 longer than TMPDIR."""
ANSWER = 30
"""Seconds in which a cluster must answer."""

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 lets any other process of the machine starve the trials
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
}


loop._setup_signal_catching = threading.Event  # Tune takes SIGUSR1, and then waits for workers that are starting


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGUSR1 (that of batch systems) ended the run in good order; `signal` is its number. The
    message says how to continue."""

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__("interrupted; nothing is lost, the same command continues the run")


class _Leave(BaseException):
    """Leaves Tune's loop at once. Tune catches exceptions, but not this."""


def run(
    plan: Plan,
    run_dir: str | Path,
    *,
    fresh: bool = False,
    address: str | None = None,
    facts: dict[str, Any] | None = None,
    on_results: Callable[[Fold], None] | None = None,
) -> Fold:
    """Run `plan` in `run_dir`, or continue the run there, until the budget is spent; the state of the run.

    `address` is that of a Ray cluster whose nodes share `run_dir`; without it Ray starts on this machine, for as
    long as the run takes. `facts` (plain values: device name, versions, commit) go on record with this session.
    `on_results` is called with the state now and then after trials have ended, and once at the end.

    Raises UserError if another driver holds the folder, it holds another run, or its disk is full; Interrupted on
    SIGINT, SIGTERM and SIGUSR1. Whatever happens, the ledger is whole and the same call continues.
    """
    run_dir = Path(run_dir).resolve()
    ledger = Ledger(run_dir, fresh=fresh)
    try:
        if not ledger.fold.settings:
            ledger.append("run", format=FORMAT, settings=plan.experiment.identity(), plan=plan.to_json())
        check_identity(ledger.fold, plan.experiment, plan.budget, run_dir)
        _settle(ledger, run_dir)
        measured = plan.measured()
        known = {name: ledger.fold.plan.get(name, []) for name in measured}
        ledger.append(
            "session",
            number=len(ledger.fold.sessions),
            budget={"device": plan.budget.device, "seconds": plan.budget.seconds},
            slots=plan.slots,
            rate=plan.rate,
            share=plan.share,
            facts=facts or {},
            **({"plan": measured} if measured != known else {}),
        )
        session = _Session(plan, ledger, run_dir, on_results, cluster=address is not None)
        if session.search.work_left():
            session.run(address)
        return session.close()
    finally:
        ledger.close()


def cluster_slots(address: str, device: str, rate: float) -> int:
    """The trials that a Ray cluster can run at a time. Connects to it. Raises UserError."""
    _connect(address)
    return _slots(device, rate)


def _slots(device: str, rate: float) -> int:
    return slots(ray.cluster_resources().get(device.upper(), 0), rate)


def _settle(ledger: Ledger, run_dir: Path) -> None:
    """Charge what trials held until an earlier driver died, and remove what ended trials left."""
    for trial in list(ledger.fold.open.values()):
        if trial.state == "running":
            seconds = _elapsed(run_dir, trial.uid, trial.attempts)
            held = max(trial.held, trial.held_at_start + ledger.fold.sessions[-1]["rate"] * seconds)
            ledger.append("cut", uid=trial.uid, held=held, reason="its driver died")
    folders = run_dir / "checkpoints"
    for folder in list(folders.iterdir()) if folders.is_dir() else ():
        if folder.name not in ledger.fold.open:
            shutil.rmtree(folder, ignore_errors=True)


def _elapsed(run_dir: Path, uid: str, attempt: int) -> float:
    """Seconds that an attempt had run when its driver died; 0 where nobody could write that."""
    try:
        return float((run_dir / "checkpoints" / uid / f"attempt-{attempt}.elapsed").read_text())
    except (OSError, ValueError):
        return 0.0


def _note(run_dir: Path, uid: str, attempt: int) -> Failure | None:
    """Why an attempt's worker ended itself; None if it left no note, and so was ended by
    something else."""
    try:
        note = (run_dir / "checkpoints" / uid / f"attempt-{attempt}.note").read_text()
    except OSError:
        return None
    if not note.startswith("Timeout"):
        kind, _, reason = note.partition("\n")
        return Failure(kind, reason) if reason else None
    limit = re.match(r"Timeout \((.*?)\)", note)[1]
    frame = re.search(r'File "(.*?)", line (\d+)', note.split("Thread ")[-1])  # the training thread is the last
    where = f", at {Path(frame[1]).name}:{frame[2]}" if frame else ""
    return Failure("hung", f"time limit: an epoch took more than {limit}{where}")


class _Session:
    """One driver's time with a run: what Tune's adapters talk to."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        run_dir: Path,
        on_results: Callable[[Fold], None] | None = None,
        *,
        cluster: bool = False,
    ) -> None:
        self.plan, self.ledger, self.run_dir = plan, ledger, run_dir
        self.search = Search(plan, ledger, shared=cluster)
        self.progress = Progress(self.search)
        self.signal: int | None = None
        self._error: Exception | None = None
        self._on_results = on_results
        self._unreported, self._results_due, self._heartbeat_due = 0, 0.0, 0.0
        self._assignments: dict[str, Assignment] = {}  # by Tune's name of the trial
        self._errors: dict[str, str] = {}  # of workers, by Tune's name of the trial
        self._warned: set[str] = set()
        self._halved = set(ledger.fold.halved)  # those of which the user knows
        self._cluster = cluster
        self._done = False

    def run(self, address: str | None) -> None:
        """Start Ray, run trials until nothing is left, the budget is spent or a signal comes; end Ray."""
        worker = tune.with_parameters(
            _Worker,
            factory=self.plan.experiment.factory,
            settings=self.plan.experiment.settings.to_json(),
            run_dir=str(self.run_dir),
            driver=_machine(),
        )
        cpu = self.plan.budget.device == "cpu"
        resources = {"cpu": 1} if cpu else {"cpu": 0, "gpu": self.plan.rate}
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self.plan.slots)
        gpus = 0 if cpu else math.ceil(self.plan.slots / trials_per_device(self.plan.rate))
        with _signals(self._signalled) as handle, _ray(address, self.run_dir, self.plan.slots, gpus) as scratch:
            try:
                handle()  # once more, since Ray puts its own handlers in their place
                self._warn(_different_gpus(ray.nodes()) if self._cluster and not cpu else None)
                tuner = tune.Tuner(
                    tune.with_resources(worker, resources),
                    tune_config=tune.TuneConfig(
                        search_alg=_Searcher(self),
                        scheduler=_Scheduler(self),
                        num_samples=-1,
                        reuse_actors=True,
                        trial_dirname_creator=lambda trial: trial.trial_id,
                    ),
                    run_config=tune.RunConfig(
                        name="session",
                        storage_path=scratch,
                        verbose=0,
                        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                        callbacks=[_Callback(self)],
                        stop=_Stopper(self),
                        failure_config=tune.FailureConfig(max_failures=0),
                    ),
                )
                tuner.fit()
                if not self._done:
                    self._error = RuntimeError("Ray Tune ended though there was work left")
            except _Leave:
                pass
            finally:
                if self.signal is not None:
                    self.progress.say("stopping; once more stops without writing what is under way")
                self._cut_running()  # before the shutdown, which takes seconds and trains nothing

    def close(self) -> Fold:
        """Write how the run ended, and the results; raise what ended it."""
        if isinstance(self._error, UserError):
            raise self._error
        reason = "done"
        if self._error is not None:
            reason = "error"
        elif self.signal is not None:
            reason = "interrupted"
        elif self.search.exhausted:
            reason = "budget"
        self.ledger.append("closed", reason=reason)
        self.progress.closed()
        self._results(final=True)
        if self._error is not None:
            raise self._error
        if self.signal is not None:
            raise Interrupted(self.signal)
        return self.ledger.fold

    def _cut_running(self) -> None:
        with contextlib.suppress(UserError):  # on a full disk heartbeats must do
            for uid in list(self.search.running):
                self.search.cut(uid, "the run was interrupted" if self.signal else "the run ended")

    # What Tune asks and tells; every method is called in the driver's one thread

    def suggest(self, name: str) -> dict[str, Any] | str | None:
        assignment = self.search.next()
        if assignment is Idle.WAIT:
            return None
        if assignment is Idle.DONE:
            self._done = True
            return Searcher.FINISHED
        self._assignments[name] = assignment
        return {"assignment": json.dumps(assignment.to_json())}

    def started(self, name: str) -> None:
        self.search.started(self._assignments[name].job.uid)

    def result(self, name: str, answer: dict[str, Any]) -> bool:
        """Whether the trial goes on."""
        assignment = self._assignments[name]
        uid = assignment.job.uid
        self._warn(answer.get("warning"))
        for report in answer["reports"]:
            if not self.search.reported(uid, assignment.attempt, EpochReport.from_json(report), answer.get("facts")):
                return False
        if "failed" in answer:
            self.search.failed(uid, Failure(**answer["failed"]))
            return False
        return True

    def error(self, name: str, trial: Any) -> None:
        """The worker of Tune's `trial` ended; `ended` comes next."""
        with contextlib.suppress(OSError, TypeError):  # no such file, as on a full disk
            self._errors[name] = _cause(Path(trial.error_file).read_text(errors="replace"))

    def ended(self, name: str, died: bool) -> None:
        assignment, error = self._assignments.pop(name, None), self._errors.pop(name, DIED)
        if assignment is None:
            return
        uid, attempt = assignment.job.uid, assignment.attempt
        if died:
            note = _note(self.run_dir, uid, attempt)
            if note is not None:
                self.search.failed(uid, note)
            else:
                self.search.lost(uid, error)
            if self._cluster:
                self.search.slots = _slots(self.plan.budget.device, self.plan.rate)
        trial = self.ledger.fold.trials[uid]
        self._unreported += 1
        self.progress.ended(trial)
        for method in self.ledger.fold.halved - self._halved:
            self._warn(f"memory does not hold a whole batch of {method}; its trials go on with half of it")
            self._halved.add(method)
        if trial.final or (trial.halved and not trial.reports):  # what a whole batch has left is no beginning of half
            shutil.rmtree(self.run_dir / "checkpoints" / uid, ignore_errors=True)

    def beat(self) -> None:
        """Called in every turn of Tune's loop."""
        if self.signal is not None or (self._done and not self.search.running):
            raise _Leave
        if self.search.exhausted and not self.search.training:
            raise _Leave  # no worker that is still starting is worth waiting for
        now = time.monotonic()
        if now >= self._heartbeat_due:
            self.search.heartbeat()
            self._heartbeat_due = now + HEARTBEAT * max(1.0, len(self.search.running) / 16)
            if self._cluster:
                self._look_for_life()
                self.search.slots = _slots(self.plan.budget.device, self.plan.rate)
        self.progress.tick()
        if self._unreported and now >= self._results_due:
            self._results()

    def _look_for_life(self) -> None:
        for uid in list(self.search.pending):
            attempt = self.search.running[uid].attempt
            if (self.run_dir / "checkpoints" / uid / f"attempt-{attempt}.alive").exists():
                self.search.alive(uid)

    def fault(self, error: Exception) -> None:
        """An adapter raised: leave the loop with it."""
        self._error = error
        raise _Leave from error

    def _signalled(self, number: int) -> None:
        self.signal = number  # and no word: it may come in the middle of another

    def _results(self, final: bool = False) -> None:
        if self._on_results is None:
            return
        began = time.monotonic()
        try:
            self._on_results(self.ledger.fold)
        except OSError as error:
            if final:
                raise UserError(f"the results cannot be written ({error.strerror}); the ledger is whole") from error
            self._warn(f"the results cannot be written ({error.strerror}); the run goes on, the ledger is whole")
        self._unreported = 0
        self._results_due = time.monotonic() + max(RESULTS, 20 * (time.monotonic() - began))

    def _warn(self, text: str | None) -> None:
        if text and text not in self._warned:
            self._warned.add(text)
            self.progress.say(f"warning: {text}")


class _Adapter:
    """Passes Tune's calls to the session; pickles to nothing, as Tune's snapshots are never read."""

    _session: _Session

    def _ask(self, method: Callable, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:
            self._session.fault(error)

    def __getstate__(self) -> dict:
        return {}

    def __deepcopy__(self, memo: dict) -> "_Adapter":
        return self


class _Searcher(_Adapter, Searcher):
    def __init__(self, session: _Session) -> None:
        super().__init__(metric="epoch", mode="max")
        self._session = session

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._ask(self._session.suggest, trial_id)

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        self._ask(self._session.ended, trial_id, error)

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Scheduler(_Adapter, FIFOScheduler):
    def __init__(self, session: _Session) -> None:
        super().__init__()
        self._session = session

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        goes_on = self._ask(self._session.result, trial.trial_id, json.loads(result["answer"]))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._ask(self._session.error, trial.trial_id, trial)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict) -> None:
        _keep_workers(tune_controller, trial.placement_group_factory, self._session.plan.slots)


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
    def __init__(self, session: _Session) -> None:
        self._session = session

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._ask(self._session.started, trial.trial_id)


class _Stopper(_Adapter, Stopper):
    def __init__(self, session: _Session) -> None:
        self._session = session

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        self._ask(self._session.beat)
        return False


class _Worker(tune.Trainable):
    """A worker process as Tune sees it."""

    def setup(self, config: dict[str, Any], factory: str, settings: dict[str, Any], run_dir: str, driver: str) -> None:
        from bench.execution import trial  # here, since it imports torch, which the driver may do without

        trainers = trial.Trainers(factory, settings)
        self._begin = lambda text: trial.Attempt(Assignment.from_json(json.loads(text)), trainers, Path(run_dir))
        trial.show_life(Assignment.from_json(json.loads(config["assignment"])), Path(run_dir))
        if driver == _machine():
            trial.die_with_driver(Path(run_dir))
        trainers.prepare()
        self._attempt = self._begin(config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._attempt = None  # before the next one, so that its memory is free
        self._attempt = self._begin(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        return {"answer": json.dumps(self._attempt.step())}


DIED = "its worker died"


def _cause(error: str) -> str:
    """Why a worker ended, in a line, of what Ray says: the exception that it met, where there was one."""
    lines = error.strip().splitlines()
    if not any("ray::" in line for line in lines):  # which begins the stack of a worker's exception
        return DIED
    return f"its worker ended with {lines[-1].strip()[:300]}"


def _machine() -> str:
    """What tells this machine, since it was started, from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _different_gpus(nodes: list[dict[str, Any]]) -> str | None:
    """A warning if the nodes of a cluster (`ray.nodes()`) have different GPUs."""
    resources = {name for node in nodes if node["Alive"] for name in node["Resources"]}
    names = sorted(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
    if len(names) < 2:
        return None
    return f"the nodes have different GPUs ({', '.join(names)}), whose time is charged alike; better use one kind"


@contextlib.contextmanager
def _ray(address: str | None, run_dir: Path, cpus: int, gpus: int) -> Iterator[str]:
    """Connected to the Ray cluster at `address`, or to one that runs on this machine as long as this context, with so
    much of each; gives a folder for Tune. Raises UserError."""
    with contextlib.ExitStack() as stack:
        place = run_dir if address else _short_place()
        try:
            folder = tempfile.mkdtemp(prefix=".tune-", dir=place)
        except OSError as error:
            raise UserError(
                f"{place} cannot be written ({error.strerror}); set TMPDIR to a short path that can"
            ) from error
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if address is None:
            stack.enter_context(_private_environment(folder))
        stack.callback(ray.shutdown)
        if address is None:
            _start(folder, cpus, gpus)
        else:
            _connect(address)
        yield folder


def _short_place() -> str:
    """The folder for temporary files; /tmp where sockets in it would have too long a path, or one that Ray cannot
    read."""
    place = tempfile.gettempdir()
    return place if len(os.fsencode(place)) <= LONGEST_TMPDIR and place.isprintable() else "/tmp"


@contextlib.contextmanager
def _private_environment(folder: str) -> Iterator[None]:
    """The environment in which Ray answers nobody but this run, whatever the user's says: who has the token that is
    written to `folder`. Ray's processes find the modules that this one finds."""
    token = os.path.join(folder, "token")
    with open(os.open(token, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    values = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token, "RAY_AUTH_TOKEN": None}
    values["PYTHONPATH"] = import_path()
    before = {name: os.environ.get(name) for name in values}

    def put(values: dict[str, str | None]) -> None:
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        Config.initialize("")  # Ray reads both once
        AuthenticationTokenLoader.instance().reset_cache()

    put(values)
    try:
        yield
    finally:
        put(before)


def _start(folder: str, cpus: int, gpus: int) -> None:
    """Start Ray on this machine, with its files in a folder in `folder` (it opens its own to everybody). It listens on
    the loopback address only. Raises UserError."""
    resources = {"num_cpus": cpus, "num_gpus": gpus, "object_store_memory": 100_000_000}
    enabled = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # as on systems whose firewall would ask the user
    try:
        _init("local", include_dashboard=False, _temp_dir=os.path.join(folder, "ray"), **resources)
    except Exception as error:
        raise UserError(f"Ray does not start on this machine ({_line(error)})") from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled


_ASK = """
import sys
from ray._private.authentication import authentication_token_setup as authentication
from ray._raylet import GcsClient
if sys.argv[2] == "auto":
    authentication.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
authentication.ensure_token_if_auth_enabled(create_token_if_missing=False)
GcsClient(address=sys.argv[1])
"""
"""Asks a cluster as `ray.init` does. In a process of its own, as it waits for ever where nothing answers, and ends the
process where the token cannot be read."""


def _connect(address: str) -> None:
    """Connect to the cluster at `address`, if that has not been done. Raises UserError."""
    if ray.is_initialized():
        return

    def silent(why: str) -> UserError:
        return UserError(f"no Ray cluster answers at {address} ({why}); start one with: ray start --head")

    place = address
    try:
        place = services.canonicalize_bootstrap_address(address) or "local"
        host, _, port = place.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, ValueError) as error:
        raise silent(_line(error) if place == address else f"{place}: {_line(error)}") from error
    automatic = address == "auto" and not os.environ.get("RAY_ADDRESS")
    command = [sys.executable, "-P", "-c", _ASK, place, "auto" if automatic else address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ANSWER, check=False)
    except subprocess.TimeoutExpired:
        raise silent(f"{place}: what listens there is no Ray, or does not answer in {ANSWER} s") from None
    if re.search("auth(entication|_token)", asked.stderr, re.I) and asked.returncode != 0:
        raise UserError(
            f"the Ray cluster at {address} wants its token: copy ~/.ray/auth_token of the node where it was started to "
            "the same place here, or name the file in RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
        )
    if asked.returncode != 0:
        raise silent(_line((asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"])[-1]))
    try:
        _init(address)
    except Exception as error:
        raise silent(_line(error)) from error


def _init(address: str, **options: Any) -> None:
    """`ray.init` without its words. Workers find modules beside this package, not where the command was given."""
    os.environ.update(_ENVIRONMENT)
    for name in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.chdir(ROOT):
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)


def _line(error: BaseException | str) -> str:
    return one_line(error)[:300]


@contextlib.contextmanager
def _signals(handler: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Handle the first SIGINT, SIGTERM or SIGUSR1; a second one has its usual effect. Gives what installs them."""
    main = threading.current_thread() is threading.main_thread()  # no other can handle signals
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1) if main else ()
    usual = {number: signal.getsignal(number) for number in numbers}

    def install(handlers: dict[int, Any]) -> None:
        for number in numbers:
            signal.signal(number, handlers[number])

    def once(number: int, frame: Any) -> None:
        install(usual)
        handler(number)

    ours = dict.fromkeys(numbers, once)
    install(ours)
    try:
        yield lambda: install(ours)
    finally:
        install(usual)
