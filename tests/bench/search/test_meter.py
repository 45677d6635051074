"""What is charged, and to whom."""

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.execution.progress import Progress
from bench.search.job import Assignment, Failure
from bench.search.search import Search
from bench.search.simulate import MemoryLedger
from tests.bench.search.driving import next_trial, small, told


def test_time_before_a_worker_has_the_trial_is_charged_to_no_method():
    now = [0.0]
    plan, _ = small(slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0])
    uid = search.next().job.uid
    now[0] = 10.0
    assert search.held(uid) == 0
    assert search.charged == pytest.approx(10)
    assert not search.training
    search.started(uid)
    assert search.training
    now[0] = 12.5
    assert search.held(uid) == pytest.approx(2.5)
    search.cut(uid, "stop")
    now[0] = 99.0
    assert search.charged == search.fold.charged == pytest.approx(12.5)
    assert search.fold.startup == pytest.approx(10)


def test_on_a_busy_cluster_waiting_for_a_device_is_not_charged():
    now = [0.0]
    plan, _ = small(slots=3)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0], shared=True)
    stream = io.StringIO()
    progress = Progress(search, stream)
    first, second, third = (search.next().job.uid for _ in range(3))
    now[0] = 3600.0
    search.heartbeat()
    assert search.charged == search.fold.charged == search.startup == 0.0
    assert search.shares.share == plan.share
    assert not search.exhausted
    assert not search.training
    progress.say(progress._overall(1.0))
    assert " 0 running, 3 waiting for a device," in stream.getvalue()
    search.alive(first)
    search.alive(first)  # a sign seen twice changes nothing
    now[0] += 10.0
    assert search.charged == search.startup == pytest.approx(10.0)
    assert not search.training
    search.started(first)
    search.started(second)  # a kept worker has it at once, and leaves no sign
    now[0] += 5.0
    assert search.charged == pytest.approx(20.0)
    assert search.startup == pytest.approx(10.0)
    assert search.held(first) == search.held(second) == pytest.approx(5.0)
    assert search.held(third) == 0.0
    search.cut(third, "stop")  # it never had a device
    search.cut(first, "stop")
    search.cut(second, "stop")
    now[0] += 99.0
    assert search.charged == search.fold.charged == pytest.approx(20.0)
    assert search.fold.startup == pytest.approx(10.0)
    assert not search.pending
    search.alive(third)  # it came too late
    assert search.charged == pytest.approx(20.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["next", "next", "alive", "started", "epoch", "lost", "cut"]),
            st.integers(0, 9),
            st.integers(0, 9),
        )
    ),
    st.booleans(),
)
def test_the_charge_is_the_time_in_which_slots_were_held_whatever_happens(steps, shared):
    now, expected, charged = [0.0], 0.0, {}  # running trial -> whether it is charged
    plan, _ = small(slots=4, trials=300)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0], shared=shared)
    working = set()
    for step, which, seconds in steps:
        now[0] += seconds
        expected += seconds * sum(charged.values())
        if step == "next":
            if isinstance(assignment := search.next(), Assignment):
                charged[assignment.job.uid] = not shared
            continue
        if not charged:
            continue
        uid = list(charged)[which % len(charged)]
        if step == "alive":
            search.alive(uid)
            charged[uid] = True
        elif step == "started":
            search.started(uid)
            working.add(uid)
            charged[uid] = True
        elif step == "epoch" and uid in working:
            trial = search.fold.trials[uid]
            search.reported(uid, trial.attempts, told({"epoch": trial.epoch + 1, "loss": 1.0, "knn_200": 0.5}))
        elif step in ("lost", "cut"):
            getattr(search, step)(uid, "it ended")
        search.heartbeat()
        working &= search.running.keys()
        charged = {uid: is_charged for uid, is_charged in charged.items() if uid in search.running}
        assert search.charged == pytest.approx(expected)
        assert search.fold.charged == pytest.approx(expected)
        assert len(search.pending) == list(charged.values()).count(False)
    for uid in list(search.running):
        search.cut(uid, "the end")
    assert search.charged == search.fold.charged == pytest.approx(expected)


def test_in_a_local_run_the_start_of_a_worker_is_charged_from_its_assignment():
    now = [0.0]
    plan, _ = small(slots=1)
    search = Search(plan, MemoryLedger(), clock=lambda: now[0])
    uid = search.next().job.uid
    now[0] = 3.0
    search.alive(uid)
    now[0] = 5.0
    assert search.charged == search.startup == pytest.approx(5.0)


@pytest.mark.parametrize(
    "end",
    [
        lambda search, uid: search.reported(uid, 2, told({"epoch": 2, "loss": math.nan, "knn_200": None})),
        lambda search, uid: search.reported(uid, 2, told({"epoch": 2, "loss": math.inf, "knn_200": None})),
        lambda search, uid: search.reported(uid, 2, told({"epoch": 2, "loss": 1.0, "feature_std": 0.0})),
        lambda search, uid: search.failed(uid, Failure("error", "ValueError: three is too many")),
        lambda search, uid: search.failed(uid, Failure("error", "out of memory: tried to allocate 1 TiB")),
        lambda search, uid: search.failed(uid, Failure("error", "time limit: an epoch took more than 0:01:00")),
        lambda search, uid: search.lost(uid, "its worker died"),
        lambda search, uid: search.cut(uid, "the run was interrupted"),
    ],
    ids=["nan", "infinity", "collapse", "exception", "memory", "hang", "worker", "signal"],
)
def test_however_a_trial_ends_the_charge_is_the_time_that_its_slot_was_held(end):
    now = [0.0]
    plan, _ = small(methods=1, slots=1)
    ledger = MemoryLedger(keep=True)
    search = Search(plan, ledger, clock=lambda: now[0])
    uid, assignment = next_trial(search)
    now[0] += 3.0
    search.lost(uid, "its worker died")
    now[0] += 50.0  # nothing holds the slot
    again, assignment = next_trial(search)
    assert (again, assignment.attempt) == (uid, 2)
    now[0] += 2.0
    assert search.reported(uid, 2, told({"epoch": 1, "loss": 1.0, "knn_200": 0.5}))
    assert not search.reported(uid, 1, told({"epoch": 2, "loss": 1.0, "knn_200": 0.5}))  # a worker that should be dead
    now[0] += 4.0
    search.heartbeat()
    now[0] += 1.0
    end(search, uid)
    now[0] += 70.0
    assert not search.reported(uid, 2, told({"epoch": 3, "loss": 1.0, "knn_200": 0.5}))
    assert search.charged == search.fold.charged == pytest.approx(10.0)
    assert search.fold.trials[uid].held == search.fold.spent[uid[:8]] == pytest.approx(10.0)
    again = MemoryLedger()
    for event in ledger.events:
        again.fold.apply(event)
    assert Search(plan, again, clock=lambda: 0.0).charged == pytest.approx(10.0)
