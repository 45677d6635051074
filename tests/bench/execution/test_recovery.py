"""What a driver does about the one before it that died."""

from bench.execution.attempt_folder import AttemptFolder
from bench.execution.recovery import settle
from bench.search.ledger import Ledger


def test_the_time_of_a_killed_drivers_attempt_is_read_and_its_absence_is_nothing(tmp_path):
    folder = AttemptFolder(tmp_path, "a", 1)
    folder.path.mkdir(parents=True)
    assert folder.seconds() == 0.0
    (tmp_path / "checkpoints" / "a" / "attempt-1.elapsed").write_text("12.5")
    assert folder.seconds() == 12.5
    folder.elapsed.write_text("")
    assert folder.seconds() == 0.0


def test_an_attempt_whose_driver_died_is_charged_at_the_rate_of_its_own_session(tmp_path):
    ledger = Ledger(tmp_path)
    trial = {"method": "byol", "stage": "search", "seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}}
    session = {"budget": {"device": "gpu", "seconds": 9}, "slots": 2, "share": 1, "facts": {}}
    ledger.append("run", format=1, settings={}, plan={})
    ledger.append("session", number=0, rate=0.5, **session)
    ledger.append("suggested", uid="a", published=True, of=None, epochs=1, evaluate_at=[1], **trial)
    ledger.append("assigned", uid="a", attempt=1)
    ledger.append("started", uid="a", held=0.0, startup=0.0)
    (tmp_path / "checkpoints" / "a").mkdir(parents=True)
    (tmp_path / "checkpoints" / "a" / "attempt-1.elapsed").write_text("100")
    settle(ledger, tmp_path)
    ledger.append("session", number=1, rate=1.0, **session)
    assert ledger.fold.trials["a"].held == 50.0
    assert ledger.fold.trials["a"].state == "cut"
    ledger.close()
