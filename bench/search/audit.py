"""What a ledger says of itself, checked without a training: that its lines are those of a run, that every decision
follows from what was reported before it, and that the charges add up.

The rules are asked where a run asks them: `bench.search.decisions`, `race`, `winners`, the scheduler that the settings
name, and the seeds of `Experiment`. What a ledger cannot tell, such as how long a trial had run when another ended, is
said as not checked.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

from algorithms.evaluation.metrics import ARI, FEATURE_STD, METRICS, NMI, PROTOCOLS, PURITY_20
from algorithms.training.report import EpochReport
from bench import doors
from bench.errors import UserError, one_line
from bench.search.budget import Budget
from bench.search.decisions import Decisions
from bench.search.events import FORMAT
from bench.search.experiment import Experiment
from bench.search.fold import Fold
from bench.search.job import CHOOSING
from bench.search.meter import Meter
from bench.search.methods import FROZEN
from bench.search.paces import Paces
from bench.search.plan import Plan, is_untrained
from bench.search.planning import Measured
from bench.search.plugins import RECIPES_ONLY
from bench.search.race import Race
from bench.search.schedulers import SCHEDULERS, Scheduler
from bench.search.shares import Shares
from bench.search.tally import Tally
from bench.search.trials import CONFIRMING, Trial, search_uid
from bench.search.winners import Winners

OF_TEST_IMAGES = (PURITY_20.name, NMI.name, ARI.name)
"""What is measured of test images and of no others (`algorithms.evaluation.knn.Evaluation`); so are the figures of
single classes."""
ROUNDING = 0.002
"""Device-seconds by which a figure of a heartbeat, rounded to thousandths, may be above the next one."""
LATE = 1.0
"""Seconds by which a worker's clock and the driver's may differ over a training, beside a fiftieth of it."""
OVER_BUDGET = 0.02
"""The part of a budget by which it may be overspent: a trial is stopped at the end of what it does."""
OVER_SHARE = 1.02
"""Of a share that the last of its trainings may plan to take."""
SAME_PROBABILITY = 2e-6
"""Within which a probability is the same on another machine: it is recorded with six digits."""


@dataclass
class Check:
    """One question, and what is wrong."""

    name: str
    checked: str = ""
    """What was looked at, in words."""
    wrong: list[str] = field(default_factory=list)
    """What and where."""
    untold: list[str] = field(default_factory=list)
    """What could not be checked, and why."""


def audit(events: list[dict[str, Any]]) -> list[Check]:
    """All checks of a ledger's events, which are those of a run. Raises UserError where one lacks what its kind has."""
    try:
        return [make(events) for make in (_lines, _trials, _decisions, _winners, _budget)]
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise UserError(
            f"it does not hold what a run's events have ({type(error).__name__}: {one_line(error)})"
        ) from None


def _replayed(events: list[dict[str, Any]], fold: Fold | None = None) -> Iterator[tuple[int, dict[str, Any], Fold]]:
    """Each event by its line with the state before it."""
    fold = fold or Fold()
    for line, event in enumerate(events, 1):
        yield line, event, fold
        try:
            fold.apply(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"line {line} is no event of a run ({type(error).__name__}: {one_line(error)})") from None


def _folded(events: list[dict[str, Any]]) -> Fold:
    fold = Fold()
    for _ in _replayed(events, fold):
        pass
    return fold


# ---- lines ----


def _lines(events: list[dict[str, Any]]) -> Check:
    """Whether each event may stand where it does: an attempt begins once and after the one before it, epochs follow
    each other, nothing is told of a trial that has ended."""
    check = Check("lines")
    running: dict[str, int] = {}  # uid -> attempt
    started: set[str] = set()  # of which a worker has the present attempt
    for line, event, fold in _replayed(events):
        kind, uid = event["event"], str(event.get("uid", ""))
        where = f"line {line}" + (f", {uid}" if uid else "")
        trial = fold.trials.get(uid)
        if (kind == "run") != (line == 1):
            check.wrong.append(f"{where}: a ledger begins with one line 'run', and has one")
        if kind == "session":
            if event["number"] != len(fold.sessions):
                check.wrong.append(f"{where}: session {event['number']} where {len(fold.sessions)} is next")
            if running:
                check.wrong.append(f"{where}: a session begins while {', '.join(sorted(running))} had not ended")
        if kind == "suggested" and trial is not None:
            check.wrong.append(f"{where}: a trial of that name was there")
        if kind == "assigned" and trial is not None:
            if event["attempt"] != trial.attempts + 1 or uid in running or trial.final:
                check.wrong.append(f"{where}: attempt {event['attempt']} begins after {trial.attempts}, {trial.state}")
            running[uid] = event["attempt"]
            started.discard(uid)
        if kind == "started":
            if uid not in running:
                check.wrong.append(f"{where}: it starts without a slot")
            started.add(uid)
        if kind == "reported" and trial is not None:
            epoch = event["report"]["epoch"]
            if running.get(uid) != event["attempt"] or uid not in started:
                check.wrong.append(f"{where}: attempt {event['attempt']} reports, and does not run")
            if epoch != trial.epoch + 1 or epoch > trial.epochs:
                check.wrong.append(f"{where}: epoch {epoch} of {trial.epochs} comes after {trial.epoch}")
            if event["decision"] != "continue":
                running.pop(uid, None)
        never_begun = kind == "cut" and trial is not None and not trial.attempts  # as a recipe without a search is
        if kind in ("lost", "cut", "halved", "failed") and running.pop(uid, None) is None and not never_begun:
            check.wrong.append(f"{where}: it ends ({kind}), and did not run")
        if kind == "closed" and running:
            check.wrong.append(f"{where}: the run ends while {', '.join(sorted(running))} had not")
    check.checked = f"{len(events):,} lines, each where it may stand"
    return check


# ---- trials ----


def _trials(events: list[dict[str, Any]]) -> Check:
    """Whether each trial is one that the rules ask for: numbers without a gap, the seeds of the rule, the published
    recipe first, confirmations of their winner and recipes, no figure of test images in a search."""
    check = Check("trials")
    fold = _folded(events)
    settings, format = fold.settings, events[0].get("format")
    experiment = _experiment(fold)
    milestones = fold.plan.get("milestones")
    spaces = (fold.sessions[-1].get("facts") or {}).get("search_spaces", {}) if fold.sessions else {}
    reports = 0
    for trial in fold.trials.values():
        where = trial.uid
        if format == FORMAT and trial.stage != "evaluate":
            stage = trial.stage if trial.stage in ("search", "race", "baseline") else "confirm"
            seed = experiment.training_seed(stage, trial.number)
            if trial.seed != seed:
                check.wrong.append(f"{where}: its seed is {trial.seed}, and {seed} by the rule")
        if trial.stage == "search":
            if trial.published != (trial.number == 0) or trial.uid != search_uid(trial.method, trial.number):
                check.wrong.append(f"{where}: the published recipe is trial 0, and no other")
            check.wrong += _not_published(trial, spaces) if trial.published else []
        if trial.stage in CHOOSING and trial.state == "complete" and trial.accuracy is None:
            check.wrong.append(f"{where}: it is complete, and its last epoch has no figure to choose by")
        if trial.stage == "race" or trial.stage in CONFIRMING:
            check.wrong += _not_confirming(trial, fold)
        elif trial.stage == "evaluate":
            judged = fold.trials.get(trial.of or "")
            if judged is None or judged.state != "complete" or judged.seed != trial.seed:
                check.wrong.append(f"{where}: it judges {trial.of}, which is no complete training of its seed")
        if trial.stage != "evaluate" and milestones is not None:
            asked = [*milestones, trial.epochs] if trial.stage == "search" else [trial.epochs]
            epochs = 1 if trial.stage == "baseline" and is_untrained(trial.method) else fold.plan["epochs"]
            if trial.evaluate_at != asked or trial.epochs != epochs:
                check.wrong.append(f"{where}: it is judged at {trial.evaluate_at} of {trial.epochs}, not {asked}")
        for epoch, report in trial.reports.items():
            reports += 1
            check.wrong += _not_to_be_measured(trial, epoch, report, format)
    for method, trials in fold.by_method.items():
        for stage in ("search", "baseline", *CONFIRMING):
            groups: dict[Any, list[int]] = {}
            for trial in trials:
                if trial.stage == stage:
                    groups.setdefault(trial.of, []).append(trial.number)
            for numbers in groups.values():
                if sorted(numbers) != list(range(len(numbers))):
                    check.wrong.append(f"{method}, {stage}: numbers {sorted(numbers)} have a gap, or one twice")
    for method in settings.get("methods", ()):
        chosen, published = fold.winner(method), list(fold.of(method, "published"))
        pairs = {trial.number for trial in fold.confirming(method)} ^ {trial.number for trial in published}
        dearest = max((trial.held for trial in fold.confirming(method)), default=0.0)
        room = fold.sessions[-1]["share"] - fold.spent[method] >= dearest if chosen else False
        if fold.closed == "done" and room and pairs and min(pairs) < int(settings.get("seeds", 0)):
            check.wrong.append(f"{method}: seed {min(pairs)} has trained only one of winner and published recipe")
    check.checked = f"{len(fold.trials):,} trials and {reports:,} epochs: recipes, seeds, what was measured where"
    if format != FORMAT:
        check.untold.append(f"the seeds, for the run is of format {format}, whose rule was another one")
    if not spaces:
        check.untold.append("that trial 0 has the published values, for the ledger does not tell its search spaces")
    check.untold.append("figures that were made up and fit together: --again trains one of them")
    return check


def _not_published(trial: Trial, spaces: Mapping[str, Any]) -> Iterator[str]:
    """Where a published recipe has other values than the search space has, as the ledger tells it."""
    entries = (spaces.get(trial.method) or {}).get("hyperparameters") or {}
    for name, entry in entries.items():
        right = entry.get("published", entry.get("default"))
        if name in trial.hyperparameters and trial.hyperparameters[name] != right:
            yield f"{trial.uid}: the published {name} is {right}, not {trial.hyperparameters[name]}"


def _not_confirming(trial: Trial, fold: Fold) -> Iterator[str]:
    """Where a further training is not what it repeats."""
    source = fold.trials.get(trial.configuration)
    if source is None or source.stage != "search" or source.method != trial.method:
        yield f"{trial.uid}: it repeats {trial.configuration}, which is no search trial of its method"
    elif (trial.hyperparameters, trial.halved) != (source.hyperparameters, source.halved):
        yield f"{trial.uid}: its hyper-parameters are not those of {source.uid}, which it repeats"


def _not_to_be_measured(trial: Trial, epoch: int, report: EpochReport, format: Any) -> Iterator[str]:
    """Where a figure stands in a report that has no place there."""
    if not report.metrics:
        return
    if trial.stage in CHOOSING and format == FORMAT:
        for name in report.metrics:
            if name in OF_TEST_IMAGES or "/" in name or METRICS.get(name, FEATURE_STD).protocol != "knn":
                yield f"{trial.uid}, epoch {epoch}: {name} is measured on test images, and a search meets none"
    if epoch not in trial.evaluate_at and set(report.metrics) - {FEATURE_STD.name}:
        yield f"{trial.uid}, epoch {epoch}: it was judged, and is to be at {trial.evaluate_at} alone"


# ---- decisions ----


def _decisions(events: list[dict[str, Any]]) -> Check:
    """Whether what was decided upon each report is what the same code decides, told the same in the same order."""
    check = Check("decisions")
    fold = _folded(events)
    name, epochs = str(fold.settings.get("scheduler")), int(fold.plan["epochs"])
    schedulers: dict[str, Scheduler] = {}
    make: Callable[[int], Scheduler] | None = None
    format = events[0].get("format")
    if format != FORMAT:
        check.untold.append(f"pruning, for the run is of format {format}, whose schedulers had other rules")
    elif name not in SCHEDULERS:
        kind = "a user's own" if doors.is_door(name) else "not known here"
        check.untold.append(f"pruning, for the scheduler {one_line(name)[:60]} is {kind}: what is read runs no code")
    elif list(SCHEDULERS[name](epochs).milestones) != fold.plan.get("milestones"):
        check.wrong.append(f"the plan's milestones {fold.plan.get('milestones')} are not those of {name}")
    else:
        make = SCHEDULERS[name]
    never: Any = SimpleNamespace(arrive=lambda *_: True)
    for method in fold.by_method:
        schedulers[method] = make(epochs) if make else never
    # What a ledger does not tell: when the budget was spent, and what a share had room for.
    meter = cast(Meter, SimpleNamespace(exhausted=False))
    paces = cast(Paces, SimpleNamespace(planned=lambda *_: 0.0, pace=lambda *_: 0.0))
    shares = cast(Shares, SimpleNamespace(room=lambda *_: math.inf))
    decisions = Decisions(schedulers, meter, paces, shares)
    pruned = replayed = cut = 0
    for line, event, before in _replayed(events):
        if event["event"] != "reported" or event["uid"] not in before.trials:
            continue
        trial = before.trials[event["uid"]]
        report = EpochReport.from_json(event["report"])
        if trial.final or report.epoch in trial.reports:
            continue
        try:
            decided = decisions.decide(trial, report)
        except StopIteration:
            check.wrong.append(f"line {line}, {trial.uid}: no epoch is left after {report.epoch} to be judged at")
            continue
        replayed += 1
        told = event["decision"]
        pruned += told == "pruned"
        if told == "cut" and decided.name == "continue":
            cut += 1
        elif told == "pruned" and make is None and decided.name == "continue" and trial.at_milestone(report.epoch):
            pass
        elif told != decided.name or (format == FORMAT and event.get("kind") != decided.kind):
            why = f" ({decided.reason})" if decided.reason else ""
            check.wrong.append(
                f"line {line}, {trial.uid}, epoch {report.epoch}: {told}, and {decided.name}{why} by rule"
            )
    check.checked = f"{replayed:,} replayed, of which {pruned:,} pruned a trial"
    if cut:
        check.untold.append(f"{cut} trials that a spent budget or share stopped: when that was, only clocks knew")
    return check


# ---- winners ----


def _winners(events: list[dict[str, Any]]) -> Check:
    """Whether each winner is what the race says of the figures up to then, and a method is given up where the rule
    says so."""
    check, fold, format = Check("winners"), Fold(), events[0].get("format")
    tallies: dict[str, Tally] = {}
    race: Race | None = None
    chosen = 0
    for line, event in enumerate(events, 1):
        if event["event"] == "chosen":
            chosen += 1
            wrong = _not_chosen(event, fold, race, tallies)
            check.wrong += [f"line {line}, {event['method']}: {each}" for each in wrong]
        fold.apply(event)
        trial = fold.trials.get(event.get("uid") or "")
        if format != FORMAT:
            continue
        if event["event"] in ("run", "session"):  # a driver that begins reads all that was
            race, tallies = _race(fold), {method: Tally() for method in fold.settings["methods"]}
            ended = list(fold.trials.values())
        else:
            ended = [trial] if trial is not None and trial.state != "running" else []
        for each in ended:
            if each.state == "complete" and each.accuracy is None:
                continue  # such a trial is told above, and a winner it cannot be
            if race is not None and each.method in tallies and event["event"] not in ("suggested", "started"):
                tallies[each.method].count(each)
                race.count(each)
    alone = [method for method in fold.chosen if fold.winner(method) and _recipe_alone(fold, method)]
    if alone and fold.settings.get("searcher") != RECIPES_ONLY:
        check.untold.append(f"that a search of {', '.join(sorted(alone))} was too dear: their recipe alone was trained")
    confirmed = {trial.method for trial in fold.trials.values() if trial.stage == "confirm"}
    check.wrong += [
        f"{method}: a winner is confirmed, and none was chosen" for method in sorted(confirmed - fold.chosen.keys())
    ]
    if fold.closed == "done":
        missing = [method for method in fold.settings.get("methods", ()) if method not in fold.chosen]
        check.wrong += [f"{method}: the run has ended, and chose no winner and told no reason" for method in missing]
    check.checked = f"{chosen} chosen, each from the figures that there were"
    if format != FORMAT:
        check.untold.append(f"the rule of choice, for the run is of format {format}, which had another")
    return check


def _race(fold: Fold) -> Race:
    """That of a run, without what only plans further trainings."""
    plan: Any = SimpleNamespace(spaces=fold.settings["methods"], experiment=_experiment(fold))
    unused: Any = None
    return Race(plan, fold, unused, unused, unused)


def _recipe_alone(fold: Fold, method: str) -> bool:
    """Whether nothing of a method was searched, as is so where its share has no room for that."""
    return not any(trial.attempts for trial in fold.of(method, "search"))


def _not_chosen(event: dict[str, Any], fold: Fold, race: Race | None, tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Where a choice is not the rule's."""
    method, told = event["method"], event["winner"]
    trial = fold.trials.get(told or "")
    if fold.settings.get("searcher") == RECIPES_ONLY or (told is not None and _recipe_alone(fold, method)):
        if told != search_uid(method, 0):
            yield f"{told} is no published recipe, and nothing else was trained"
        return
    if told is not None and (
        trial is None or trial.method != method or trial.stage != "search" or trial.state != "complete"
    ):
        yield f"the winner {told} is no complete search trial of it"
    if race is None:
        return
    winner, better = race.winner(method)
    right = winner.uid if winner else None
    if told != right:
        yield f"the winner is {told}, and by the figures {right}"
    probability = event.get("better")
    one, other = (math.nan if each is None else float(each) for each in (probability, better))
    if math.isnan(one) != math.isnan(other) or abs(one - other) > SAME_PROBABILITY:
        yield f"that it is better than the recipe has the probability {probability}, and by the figures {better}"
    ledger: Any = SimpleNamespace(fold=fold)
    unused: Any = None
    if Winners(ledger, tallies, unused, race).only_fails(method) != ("reason" in event):
        yield "it was given up, or not, against the rule"


# ---- the budget ----


def _budget(events: list[dict[str, Any]]) -> Check:
    """Whether charges never fall, hold the time that epochs took, and stay within budget and shares."""
    check = Check("budget")
    held: dict[str, float] = {}
    startup = 0.0
    for line, event in enumerate(events, 1):
        told = event.get("held", {})
        for uid, seconds in (told if isinstance(told, dict) else {event["uid"]: told}).items():
            if not math.isfinite(seconds) or seconds < held.get(uid, 0.0) - ROUNDING:
                check.wrong.append(f"line {line}, {uid}: held falls from {held.get(uid, 0.0):.3f} to {seconds:.3f} s")
            held[uid] = max(seconds, held.get(uid, 0.0))
        if event.get("startup", startup) < startup - ROUNDING:
            check.wrong.append(f"line {line}: start-up falls from {startup:.3f} to {event['startup']:.3f} s")
        startup = max(startup, event.get("startup", 0.0))
    fold = _folded(events)
    rates = [session.get("rate", 1.0) for session in fold.sessions] or [1.0]
    for trial in fold.trials.values():
        took = min(rates) * sum(each.seconds + each.evaluation_seconds for each in trial.reports.values())
        if trial.held < 0.98 * took - LATE * max(rates) * max(1, trial.attempts):
            check.wrong.append(f"{trial.uid}: it held {trial.held:.1f} s, and its epochs took {took:.1f}")
    for method, spent in fold.spent.items():
        total = sum(trial.held for trial in fold.by_method[method])
        if not math.isclose(spent, total, rel_tol=1e-9, abs_tol=1e-6):
            check.wrong.append(f"{method}: {spent:.3f} s are charged, and its trials held {total:.3f}")
    if fold.sessions and all(session.get("budget") for session in fold.sessions):
        check.wrong += _beyond(fold)
    check.wrong += _shares(events, check)
    parts = f"calibration {fold.plan.get('calibration_seconds', 0.0):.1f}, start-up {fold.startup:.1f}"
    check.checked = f"{fold.charged:,.1f} device-seconds: trials {sum(fold.spent.values()):,.1f}, {parts}"
    return check


def _beyond(fold: Fold) -> Iterator[str]:
    """Where more was spent than there was: a last piece of a trial may end beyond it."""
    budget = max(session["budget"]["seconds"] for session in fold.sessions)
    slots = max(session["slots"] for session in fold.sessions)
    longest = _second(each.took for trial in fold.trials.values() for each in trial.reports.values())
    if fold.charged > (1 + OVER_BUDGET) * budget + slots * longest:
        yield f"{fold.charged:,.1f} device-seconds are charged, and the budget is {budget:,.1f}"
    share = max(session["share"] for session in fold.sessions)
    rate = min(session.get("rate", 1.0) for session in fold.sessions)
    for method in fold.settings.get("methods", ()):
        trials = fold.by_method.get(method, [])
        dearest = max([_second(trial.held for trial in trials), *(_told_by_epochs(trial, rate) for trial in trials)])
        if fold.spent.get(method, 0.0) > OVER_SHARE * share + dearest:
            yield f"{method}: it spent {fold.spent[method]:,.1f} device-seconds, and its share is {share:,.1f}"


def _told_by_epochs(trial: Trial, rate: float) -> float:
    """Device-seconds of the last attempt, which may have been slower than planned, where its epochs tell nearly as
    much."""
    held = trial.held - trial.held_at_start
    took = rate * sum(each.seconds + each.evaluation_seconds for each in trial.reports.values())
    return held if took >= 0.8 * held else 0.0


def _second(values: Iterable[float]) -> float:
    """The largest but one: so that a single figure which was raised does not make its own excuse."""
    return sorted([0.0, 0.0, *values])[-2]


def _shares(events: list[dict[str, Any]], check: Check) -> Iterator[str]:
    """Where a share is not the budget's, less calibration, baselines and start-up, over the methods."""
    if events[0].get("format") != FORMAT:
        check.untold.append("how shares follow from the budget, for another version made them")
        return
    fold = Fold()
    plan: Plan | None = None
    for line, event in enumerate(events, 1):
        if event["event"] == "chosen" and event["share"] and plan is not None:
            others = fold.startup + sum(fold.spent.get(name, 0.0) for name in plan.baselines)
            right = plan.share - max(0.0, others - plan.allowance) / len(plan.experiment.spaces)
            if not math.isclose(event["share"], right, rel_tol=1e-6):
                yield f"line {line}, {event['method']}: its share is {event['share']:.3f} s, not {right:.3f}"
        fold.apply(event)
        if event["event"] == "session":
            plans = list(_plans(fold))
            plan = next((each for each in plans if math.isclose(each.share, event["share"], rel_tol=1e-6)), None)
            if plan is None:
                told = f"{event['share']:.3f} s, and by budget, calibration and baselines {plans[0].share:.3f}"
                yield f"line {line}: a share is {told}"


def _plans(fold: Fold) -> Iterator[Plan]:
    """The plans that the last session may have had: a ledger does not tell by which protocols it was to judge, nor
    whether frozen networks of an earlier session were asked for again."""
    session = fold.sessions[-1]
    measured = Measured.from_json({"choices": {}, **fold.plan})
    own = tuple(fold.settings.get("baselines", ()))
    frozen = tuple(name for name in measured.calibration if name.startswith(FROZEN))
    known = [name for name in PROTOCOLS if any(name in costs.protocols for costs in measured.calibration.values())]
    for count in range(len(known) + 1):
        for protocols in combinations(known, count):
            for baselines in dict.fromkeys(((*own, *frozen), own)):
                experiment = dataclasses.replace(_experiment(fold), baselines=baselines, protocols=protocols)
                budget = Budget(session["budget"]["device"], session["budget"]["seconds"])
                slots, rate, epochs = session["slots"], session["rate"], fold.plan["epochs"]
                calibration, seconds, startup = measured.calibration, measured.calibration_seconds, measured.startup
                yield Plan(experiment, budget, slots, rate, epochs, calibration, seconds, startup)


def _experiment(fold: Fold) -> Experiment:
    """What the ledger tells of what was asked; its search spaces are names."""
    spaces: Any = dict.fromkeys(fold.settings.get("methods", ()))
    unused: Any = None
    seeds, seed = int(fold.settings.get("seeds", 3)), int(fold.settings.get("seed", 0))
    return Experiment(spaces=spaces, factory="", settings=unused, seeds=seeds, seed=seed)
