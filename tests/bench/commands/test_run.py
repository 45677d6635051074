"""Whatever is written on the command line, the answer is a plan or one line that says what is wrong."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import images
from bench.execution import benchmark
from tests.bench.commands.answering import answer_of, check_refusal

NUMBERS = ["1", "3", "0", "-1", "", "three", "1.5", "nan", "1e400", "9" * 30, "9" * 5000, "٣", "ü"]
NAMES = ["", " ", ",", "ü", "x" * 5000, "\udcff", "a:b", ":", "os:path", "os:getcwd", "..", "-1", "--", "%s{}"]
NAMES += ["a\nb", "a\r\nerror: b", "\x1b[31m", "\u2028"]
HUGE = [f"{'9' * 30}cpu-seconds", f"{'9' * 400}cpu-days"]
VALUES = {
    "--methods": ["simclr", "simclr,byol", "simclr,simclr", "all", "all,simclr", "simclr,", "SIMCLR", *NAMES],
    "--budget": [
        "20cpu-minutes",
        "1cpu-second",
        "9CPU-hours",
        "8gpu-hours",
        "0cpu-days",
        "1e3cpu-days",
        *HUGE,
        *NUMBERS,
        *NAMES,
    ],
    "--image-size": ["8", "16", *NUMBERS],
    "--limit": ["100", *NUMBERS],
    "--encoder": ["resnet8", "resnet18", "vit_tiny", "resnet", *NAMES],
    "--epochs": ["2", "100", *NUMBERS],
    "--batch-size": ["32", *NUMBERS],
    "--seeds": ["2", *NUMBERS],
    "--gpus-per-trial": ["0.5", "0.3", "1e-30", "2", *NUMBERS],
    "--compile": ["on", "off", "maybe", *NAMES],
    "--learn-from": ["/no/such/folder", "/dev/null", *NAMES],
    "--searcher": ["tpe", "prior", "random", "optuna:no", "no.such:thing", "bench.search.searchers:tpe", *NAMES],
    "--scheduler": ["asha", "full", "bench.search.schedulers:Asha", "bench.search.schedulers:NOTHING", *NAMES],
}
"""What each option may be given. `--address` is not among them: it would look for a cluster, for a while."""
FLAGS = ["--strict", "--fresh", "--deterministic", "--dry-run", "-h=", "--no-such", "--dataset", "stray"]
NO_DATA = ["/no/such/folder", "/dev/null", "/proc/1/mem", "cifar11", *(name for name in NAMES if name)]
OTHERS = [["run"], ["train", "simclr"], ["profile", "byol"], ["train", "ü"], ["profile", ""], ["train", "all"]]


@st.composite
def words(draw) -> list[str]:
    """Some options with values, in any order, perhaps one twice."""
    asked = draw(st.lists(st.sampled_from(sorted(VALUES)).flatmap(option), max_size=6))
    return [word for part in draw(st.permutations(asked)) for word in part]


def option(name: str) -> st.SearchStrategy[list[str]]:
    value = st.sampled_from(VALUES[name])
    return value.map(lambda text: [name, text]) | value.map(lambda text: [f"{name}={text}"])


@settings(max_examples=100)
@given(words(), st.sampled_from(NO_DATA), st.sampled_from(OTHERS), st.lists(st.sampled_from(FLAGS), max_size=2))
def test_without_data_the_answer_is_one_line(tmp_path_factory, asked, data, command, flags):
    run_dir = Path(tmp_path_factory.getbasetemp()) / "refused"
    empty = Path(tmp_path_factory.getbasetemp()) / "nothing" / "below"  # where a relative path leads to no images
    empty.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(empty):
        status, _, err = answer_of([*command, "--dataset", data, "--run-dir", str(run_dir), *flags, *asked])
    check_refusal(status, err)
    assert not run_dir.exists()


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Checks what a command with these words answers, on small images, with a calibration that measures nothing."""
    small = images.load("shapes", image_size=8, limit=64)
    load = images.load

    def calibrate(experiment):
        names = [*experiment.spaces, *experiment.baselines]
        calibration = {name: {"epoch": 0.5, "evaluation": 0.1, "start": 0.1} for name in names}
        return {"calibration": calibration, "startup": 3.0, "choices": {}}

    run_dir = tmp_path_factory.mktemp("planned") / "run"

    def check(words: list[str]) -> None:
        common = ["--dataset", "shapes", "--run-dir", str(run_dir), "--dry-run", "--methods", "simclr"]
        status, out, err = answer_of(["run", *common, "--budget", "20cpu-minutes", *words])
        if status:
            check_refusal(status, err)
        else:
            assert "s/epoch" in out
            assert err == ""
        assert {path.name for path in run_dir.glob("*")} <= {"calibration.json"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "load", lambda name, **options: small if name == "shapes" else load(name, **options))
        patch.setattr(benchmark, "calibrate", calibrate)
        yield check


@settings(max_examples=100)
@given(words(), st.lists(st.sampled_from(["--fresh", "--deterministic", "--strict"]), max_size=2))
def test_with_data_the_answer_is_a_plan_or_one_line(planned, asked, flags):
    planned([*flags, *asked])


@pytest.mark.parametrize("name", VALUES)
def test_every_value_of_an_option_gets_a_plan_or_one_line(planned, name):
    for value in VALUES[name]:
        planned([f"{name}={value}"])
