"""Whether a run is the one that is asked for."""

import pytest

from algorithms import GROUPS
from bench.errors import UserError
from bench.search.budget import Budget
from bench.search.ledger import Ledger
from bench.search.simulate import Space
from tests.bench.search.planned import SPACES, experiment, make, start


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"spaces": {"simclr": Space("simclr")}}, "methods simclr,byol,moco"),
        ({"spaces": SPACES | {"byol": Space("byol", hash="other")}}, "search_spaces of byol"),
        ({"settings": {"seconds": 0.7}}, "seconds 0.5, not 0.7"),
        ({"epochs": 77}, "epochs None, not 77"),
        ({"seed": 5}, "seed 0, not 5"),
        ({"scheduler": "full"}, "scheduler asha, not full"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused_and_the_difference_named(calibrated, tmp_path, change, named):
    start(tmp_path, make(experiment(), Budget.parse("10cpu-minutes"), slots=2))
    with pytest.raises(UserError, match="--fresh") as error:
        make(experiment(**change), Budget.parse("10cpu-minutes"), slots=2, run_dir=tmp_path)
    assert named in str(error.value)


def test_a_run_of_the_methods_of_an_earlier_version_is_told_how_it_goes_on(calibrated, tmp_path):
    before, now = ({name: Space(name) for name in GROUPS[group]} for group in ("seed", "all"))
    start(tmp_path, make(experiment(spaces=before), Budget.parse("90cpu-minutes"), slots=2))
    with pytest.raises(UserError, match="use --methods seed to go on with it, --fresh"):
        make(experiment(spaces=now), Budget.parse("90cpu-minutes"), slots=2, run_dir=tmp_path)
    make(experiment(spaces=before), Budget.parse("90cpu-minutes"), slots=2, run_dir=tmp_path)


def test_a_run_counts_time_of_one_device_only(calibrated, tmp_path):
    plan = make(experiment(epochs=4), Budget.parse("10cpu-minutes"), slots=2)
    start(tmp_path, plan)
    ledger = Ledger(tmp_path)
    ledger.append("session", number=0, budget={"device": "cpu", "seconds": 600}, slots=2, rate=1.0, share=1, facts={})
    ledger.close()
    make(experiment(epochs=4), Budget.parse("20cpu-minutes"), slots=2, run_dir=tmp_path)
    with pytest.raises(UserError, match=r"a budget in time of cpu, not gpu.*--fresh"):
        make(experiment(epochs=4), Budget.parse("1gpu-hours"), slots=1, run_dir=tmp_path)


def test_folders_and_threads_may_change_between_sessions(calibrated, tmp_path):
    start(tmp_path, make(experiment(local={"folder": "/a"}), Budget.parse("10cpu-minutes"), slots=2))
    make(experiment(local={"folder": "/b"}), Budget.parse("10cpu-minutes"), slots=4, run_dir=tmp_path)
