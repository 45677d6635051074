"""A training that confirmed a method, made again: whether it comes to the figure on record."""

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from algorithms.training.process import keep_freed_memory
from bench.errors import UserError, one_line
from bench.execution.configuration import TrainingConfiguration
from bench.execution.prepared import machine_facts, prepare
from bench.execution.training import Training, set_determinism
from bench.report.bundle import LEDGER
from bench.search.audit import Check
from bench.search.events import FORMAT, read_events
from bench.search.fold import Fold, fold_events
from bench.search.selection import called, figure
from bench.search.trials import CONFIRMING, Trial

ANY = "any"
FAR = 3.0
"""Standard deviations of the difference of two seeds beyond which a figure is not that of one more seed."""
POINT = 0.01


def train_again(folder: Path, uid: str, configuration: TrainingConfiguration) -> Check:
    """Train a complete confirming trial of the run in `folder` again, of this uid or the one that took least: with its
    hyper-parameters, epochs and seed, on the images of `configuration`, the rest of which comes from the ledger.

    It is the same where every figure of the last epoch is, which a deterministic run on the same device and versions
    asks for; else it may differ by what seeds differ by. Raises UserError where there is no such trial, the images are
    others, or the run used code of a user, which is not run.
    """
    events, _ = read_events(folder / LEDGER)
    fold = fold_events(events, folder / LEDGER)
    if events[0]["format"] != FORMAT:
        raise UserError(
            f"the run is of format {events[0]['format']}, whose trainings had other recipes and images; the version "
            "that made it can train it again"
        )
    trial, settings = _chosen(fold, uid), fold.settings
    if own := [name for name in ("sources", "init", "teacher") if settings.get(name)]:
        raise UserError(
            f"the run brings its own {' and '.join(own)}, and what is read of a run is not run; train it again by its "
            "own command"
        )
    with tempfile.TemporaryDirectory(prefix="ssl-bench-again-") as place:
        asked = dataclasses.replace(
            configuration,
            methods=(trial.method,),
            run_dir=Path(place),
            image_size=settings["image_size"],
            encoder=settings["encoder"],
            fit=settings.get("fit", "crop"),
            batch_size=settings.get("batch_size"),
            augment=settings.get("augment"),
            deterministic=bool(settings.get("deterministic")),
        )
        prepared = prepare(asked)
        if prepared.settings.dataset_fingerprint != settings["dataset_fingerprint"]:
            raise UserError(
                f"the images of {prepared.settings.dataset} are not those of the run: their fingerprint is "
                f"{prepared.settings.dataset_fingerprint[:12]}, not {str(settings['dataset_fingerprint'])[:12]}; name "
                "the right ones by --dataset"
            )
        compiled = settings.get("compile") == "on"
        made = dataclasses.replace(prepared.settings, compile=compiled)
        with prepared.saved():
            set_determinism(made.deterministic)
            if made.device == "cpu":  # as in a worker: sums by more threads have other last digits
                keep_freed_memory()
                torch.set_num_threads(1)
            *_, last = Training(made).build(trial.job)
        here = machine_facts(made.device == "cuda")
    return _judged(fold, trial, dict(last.metrics), here)


def _chosen(fold: Fold, uid: str) -> Trial:
    """The trial of this uid, or the one that took least. Raises UserError."""
    able = [trial for trial in fold.trials.values() if trial.stage in CONFIRMING and trial.state == "complete"]
    if not able:
        raise UserError("the run has no complete training that confirms; there is none to train again")
    if uid == ANY:
        return min(able, key=lambda trial: (trial.held, trial.uid))
    found = next((trial for trial in able if trial.uid == uid), None)
    if found is None:
        some = ", ".join(trial.uid for trial in able[:3])
        raise UserError(f"{one_line(uid)[:60]} is no complete trial that confirms; such are {some}, or any")
    return found


def _judged(fold: Fold, trial: Trial, now: Mapping[str, float], here: Mapping[str, Any]) -> Check:
    """Whether what was measured now is what is on record."""
    check = Check(f"again, {trial.uid}")
    assert trial.last is not None
    before = trial.last.metrics
    there = fold.sessions[-1].get("facts") or {}
    other = _other_environment(there, here)
    one, two = figure(before), figure(now)
    if one is None or two is None:
        check.wrong.append("nothing was measured that compares two trainings")
        return check
    title = called(before)
    alike = [each for each in fold.of(trial.method, trial.stage) if each.of == trial.of and each.accuracy is not None]
    values = [each.accuracy for each in alike if each.accuracy is not None]
    spread = statistics.stdev(values) if len(values) > 1 else None
    told = f"{title} {two:.4%}, on record {one:.4%}: {(two - one) / POINT:+.4f} points"
    if spread:
        told += f", {(two - one) / spread:+.2f} standard deviations of its {len(values)} seeds"
    differing = [name for name in sorted(before) if before[name] != now.get(name)]
    if not differing:
        check.checked = f"the same to the last digit in {len(before)} figures; {title} {one:.4%}"
        return check
    check.checked = told
    if fold.settings.get("deterministic") and not other:
        check.wrong.append(f"a deterministic run on the same device and versions; {', '.join(differing[:5])} differ")
    elif spread is None:
        check.untold.append("whether that is more than seeds differ by, for there is one seed")
    elif abs(two - one) > FAR * 2**0.5 * spread:
        check.wrong.append(f"it differs by more than {FAR:g} times what two seeds do")
    check.untold += [f"the last digits, for {each}" for each in other]
    if not fold.settings.get("deterministic"):
        check.untold.append("the last digits, for the run was made without --deterministic")
    return check


def _other_environment(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What is otherwise now, in words."""
    found = []
    if there.get("device") != here["device"]:
        found.append(f"the device is {here['device']}, and was {one_line(str(there.get('device')))}")
    before = there.get("versions") or {}
    for name, version in here["versions"].items():
        if before.get(name) != version and name in ("torch", "torchvision"):
            found.append(f"{name} is {version}, and was {one_line(str(before.get(name)))}")
    return found
