"""The command on a Ray cluster that wants its token, and on addresses where none answers."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import UserError
from bench.execution import ray_cluster
from bench.search.fold import read
from tests.bench.harness import wait_for_reports

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for number in range(40):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


def environment(home, **values):
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return own | {"HOME": str(home), "OMP_NUM_THREADS": "1"} | values


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster, and the file of its token."""
    token = tmp_path_factory.mktemp("owner") / "token"
    token.write_text(secrets.token_hex(32))
    variables = environment(token.parent, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", CLUSTER], env=variables, **pipes)
    try:
        yield process.stdout.readline().strip(), token
        process.communicate("", timeout=60)
    finally:
        process.kill()


def command(address, images, run_dir, variables):
    words = [sys.executable, str(ROOT / "run_bench.py"), "--methods", "simclr", "--budget", "9cpu-hours"]
    words += ["--epochs", "1", "--seeds", "1", "--dataset", str(images)]
    words += ["--run-dir", str(run_dir), "--address", address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=images, env=variables, **pipes)


def test_a_run_on_a_cluster_with_its_token_trains_there(cluster, images, tmp_path):
    address, token = cluster
    variables = environment(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    process = command(address, images, tmp_path / "run", variables)
    try:
        wait_for_reports(process, tmp_path / "run", 1)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, out + error
    fold = read(tmp_path / "run" / "ledger.jsonl")
    assert fold.closed == "interrupted"
    assert fold.sessions[0]["slots"] == 1
    assert any(trial.epoch for trial in fold.trials.values())
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".tune-")]


def test_a_cluster_that_wants_a_token_says_so_in_one_line(cluster, images, tmp_path):
    address, _ = cluster
    process = command(address, images, tmp_path / "run", environment(tmp_path))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert re.fullmatch(rf"error: the Ray cluster at {address} wants its token: .*RAY_AUTH_MODE=token\n", error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("found", ["another token", "no file of a token"])
def test_so_does_one_that_wants_another_token(cluster, tmp_path, found, monkeypatch):
    address, _ = cluster
    for name, value in environment(tmp_path, RAY_AUTH_MODE="token").items():
        monkeypatch.setenv(name, value)
    if found == "another token":
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UserError, match=f"the Ray cluster at {address} wants its token"):
        ray_cluster.cluster_slots(address, "cpu", 1.0)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "localhost:{port}", "ray://127.0.0.1:{port}", "nonsense", "local"]
)
def test_an_address_where_nothing_answers_is_told_in_one_line(address):
    address = address.format(port=free_port())
    began = time.monotonic()
    with pytest.raises(UserError, match=re.escape(f"no Ray cluster answers at {address} (")) as caught:
        ray_cluster.cluster_slots(address, "cpu", 1.0)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 60


def test_an_address_where_something_else_listens_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(ray_cluster, "ANSWER", 5)
    monkeypatch.setattr(
        ray_cluster.services, "canonicalize_bootstrap_address", lambda address: address
    )  # keeps 127.0.0.1
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"no Ray cluster answers at {address} .*is no Ray"):
            ray_cluster.cluster_slots(address, "cpu", 1.0)


def test_auto_where_the_cluster_has_gone_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match=r"no Ray cluster answers at auto \(.*refused"):
        ray_cluster.cluster_slots("auto", "cpu", 1.0)


def test_nodes_of_different_gpus_are_named_in_a_warning():
    def node(gpu, alive=True):
        return {"Alive": alive, "Resources": {"CPU": 8.0, "node:10.0.0.1": 1.0, f"accelerator_type:{gpu}": 1.0}}

    assert ray_cluster.different_gpus([node("H100"), node("H100"), node("T4", alive=False)]) is None
    assert ray_cluster.different_gpus([{"Alive": True, "Resources": {"CPU": 8.0}}]) is None
    assert "(A100, T4)" in ray_cluster.different_gpus([node("T4"), node("A100"), node("T4")])
