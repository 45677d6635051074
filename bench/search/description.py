"""A plan in words, for people."""

import time
from collections.abc import Collection

from algorithms.evaluation.choosing import ENOUGH
from bench.search.budget import trials_per_device
from bench.search.plan import WITH_LABELS, Plan

DOUBTED = ("mocov2",)
"""Methods of which choosing without labels was worse than their published recipe (docs/log.md, 2026-11-27)."""


def describe(plan: Plan, spent: float = 0.0, labelled: int = ENOUGH, grouped: bool = False) -> str:
    """The plan in words, for people: slots, cost of each method, trials that fit, when it ends; and by what it chooses
    where so many training images are `labelled`, and whether they are `grouped`."""
    experiment, seconds = plan.experiment, plan.budget.seconds
    wall = max(0.0, seconds - max(spent, plan.calibration_seconds)) / (plan.slots * plan.rate)
    ends = time.strftime("%a %H:%M", time.localtime(time.time() + wall))
    pinned = "" if experiment.epochs else f" (--epochs {plan.epochs} pins this)"
    each = trials_per_device(plan.rate)
    sharing = f" ({each} trial{'s' * (each > 1)} per GPU)" if plan.budget.device == "gpu" else ""
    slots = f"{plan.slots} slot{'s' * (plan.slots > 1)}{sharing}"
    wide = max(12, *map(len, experiment.spaces))
    lines = [
        f"Plan: {len(experiment.spaces)} methods, {plan.budget} on {slots}, {plan.epochs} epochs "
        f"a training{pinned}, pruning at {', '.join(map(str, plan.milestones)) or 'no epoch'}, "
        f"{experiment.seeds} seeds.",
        f"Each method has {duration(plan.share)} of device time; baselines and start-up have "
        f"{duration(plan.allowance)}, calibration took {duration(plan.calibration_seconds)}.",
        f"It ends in about {duration(wall)} ({ends}).",
        chooses_by(labelled, list(experiment.spaces), grouped),
        *_judging(plan),
        *([] if labelled else [f"Left out of the baselines, as there are no labels: {', '.join(WITH_LABELS)}."]),
        "",
        f"  {'method':<{wide}} {'s/epoch':>8} {'s/evaluation':>13} {'training':>9} {'confirming':>11} {'trials':>7}",
    ]
    if plan.halved:
        lines.insert(3, f"With half the batch, as memory does not hold the whole: {', '.join(plan.halved)}.")
    for method in experiment.spaces:
        cost = plan.calibration[method]
        lines.append(
            f"  {method:<{wide}} {cost.epoch:>8.3g} {cost.evaluation:>13.3g} "
            f"{duration(plan.training(method)):>9} {plan.reserve(method) / plan.share:>11.0%} "
            f"{f'~{plan.trials(method):.0f}':>7}"
        )
    if experiment.recipes_only:
        lines += ["", "Published recipes alone: nothing is searched. With a --searcher the same run goes on."]
        return "\n".join(lines)
    if alone := [method for method in experiment.spaces if plan.recipe_alone(method)]:
        needed = plan.budget_for(max(map(plan.searching_share, alone)))
        told = f"Their share has no room for a search, so the published recipe alone is confirmed: {', '.join(alone)}."
        lines += ["", told + (f" With --budget {needed} all are searched." if needed else "")]
    if fewer := [method for method in alone if plan.share < plan.recipe_share(method)]:
        lines.append(f"Nor has it room for all of {experiment.seeds} seeds: {', '.join(fewer)}.")
    two = [method for method in experiment.spaces if plan.recipes(method) > 1 and method not in alone]
    if two:
        lines += ["", f"Trial 0 is the published recipe; trial 1 is ours, where ours is another one: {', '.join(two)}."]
    if short := [method for method in two if plan.configurations(method) < 3]:
        lines.append(f"No time is kept back to confirm ours of {', '.join(short)} beside a winner that is no recipe.")
    return "\n".join(lines)


def _judging(plan: Plan) -> list[str]:
    """By which protocols encoders are judged, and which were left out."""
    asked = [f"{name} ({duration(plan.judging_all(name))})" for name in plan.experiment.protocols]
    lines = [f"Encoders are also judged by {', '.join(asked)}."] if asked else []
    if plan.dear:
        told = " and ".join(f"{name} ({duration(seconds)})" for name, seconds in plan.dear.items())
        every = ",".join((*plan.experiment.protocols, *plan.dear))
        lines.append(f"Left out, as this budget is too small for them: {told}; --evaluate {every} asks for all.")
    return lines


def chooses_by(labelled: int, methods: Collection[str], grouped: bool = False) -> str:
    """By what a search chooses among trainings of each of `methods`, and how far that can be trusted."""
    among = f"leave-one-out kNN among {labelled:,} labelled training images"
    if grouped:
        among += ", none judged by its own group"
    if labelled >= ENOUGH:
        return f"It chooses by {among}."
    views = "how often a view's nearest other view is of the same image"
    if labelled:
        return f"It chooses by {among}, and by {views}: fewer than {ENOUGH:,} labels are too few alone."
    doubted = [method for method in methods if method in DOUBTED]
    worse = f"; it has chosen worse than the published recipe of {', '.join(doubted)}" if doubted else ""
    return f"It chooses without labels, by {views}{worse}."


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
