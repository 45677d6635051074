"""What a session does with what an executor tells it, without workers."""

import signal

import pytest

from bench.execution.session import Leave, Session
from bench.execution.signals import Signals
from bench.search.ledger import Ledger
from bench.search.simulate import plan_for, synthetic


@pytest.fixture
def session(tmp_path):
    """On a cluster of two slots."""
    calibration, _ = synthetic(1)
    ledger = Ledger(tmp_path)
    ledger.append("run", format=1, settings={}, plan={})
    plan = plan_for(calibration, slots=2, trials=25, epochs=9)
    session = {"budget": {"device": "cpu", "seconds": 9}, "slots": 2, "share": 1, "rate": 1.0, "facts": {}}
    ledger.append("session", number=0, **session)
    yield Session(plan, ledger, tmp_path, Signals(), slots=lambda: 2)
    ledger.close()


def test_on_a_cluster_a_trial_is_charged_from_the_sign_of_life_of_its_own_attempt(session, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(session.search.meter, "_clock", lambda: now[0])
    assignment = session.next()
    folder = session.run_dir / "checkpoints" / assignment.job.uid
    folder.mkdir(parents=True)
    (folder / "attempt-9.alive").touch()
    before = session.search.charged
    now[0] += 500
    session.beat()
    assert session.search.charged == before
    (folder / "attempt-1.alive").touch()
    session._heartbeat_due = 0.0
    session.beat()
    now[0] += 7
    assert session.search.charged == before + 7
    assert session.search.startup == 7


def test_a_signals_handler_says_nothing_as_it_may_come_in_the_middle_of_a_word(capsys, session):
    usual = signal.getsignal(signal.SIGINT)
    with session.signals.taken():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is usual  # a second one has its usual effect
        session.signals.take()  # as after a library has put its own handlers in their place
        assert signal.getsignal(signal.SIGINT) is usual
    assert capsys.readouterr().out == ""
    assert session.signals.received == signal.SIGINT
    with pytest.raises(Leave):
        session.beat()
