"""Ray, started on this machine for as long as a run takes, or met as a cluster that is there."""

import contextlib
import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # it is compiled

from bench.errors import UserError, one_line
from bench.execution.interpreter import import_path
from bench.search.budget import slots

# Ray puts the command line on record, and does not start where a path in it is not UTF-8.
ray._private.utils.get_entrypoint_name = lambda: "run_bench.py"

ROOT = Path(__file__).resolve().parents[2]
LONGEST_TMPDIR = 24
"""Bytes. A socket's path has at most 107; Ray's are up to 64 longer than its folder, which is 19 longer than TMPDIR."""
ANSWER = 30
"""Seconds in which a cluster must answer."""

ENVIRONMENT = {
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


def cluster_slots(address: str, device: str, rate: float) -> int:
    """The trials that a Ray cluster can run at a time. Connects to it. Raises UserError."""
    connect(address)
    return slots(ray.cluster_resources().get(device.upper(), 0), rate)


def different_gpus(nodes: list[dict[str, Any]]) -> str | None:
    """A warning if the nodes of a cluster (`ray.nodes()`) have different GPUs."""
    resources = {name for node in nodes if node["Alive"] for name in node["Resources"]}
    names = sorted(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
    if len(names) < 2:
        return None
    return f"the nodes have different GPUs ({', '.join(names)}), whose time is charged alike; better use one kind"


@contextlib.contextmanager
def connected(address: str | None, run_dir: Path, cpus: int, gpus: int) -> Iterator[str]:
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
            connect(address)
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


def connect(address: str) -> None:
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
    os.environ.update(ENVIRONMENT)
    for name in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.chdir(ROOT):
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)


def _line(error: BaseException | str) -> str:
    return one_line(error)[:300]
