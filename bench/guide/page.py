"""The page of one method."""

from collections.abc import Iterator

import algorithms
from algorithms import method_class
from bench.guide import docstrings, recipe
from bench.guide.built import (
    BATCH,
    ENCODER,
    IMAGE_SIZE,
    IMAGES,
    MEGABYTE,
    YARDSTICK,
    built,
    megabytes,
    relative,
    relative_on_its_own,
)
from bench.guide.evidence import LEARNING, Learned, learned, published, runs, with_spread
from bench.guide.importance import importances_of
from bench.guide.markdown import cell, linked, paragraph, prose, table
from bench.report import bundle, notes
from bench.report.results import Results
from bench.report.rows import Row
from bench.report.run import each_session, spaces
from bench.report.sections.method.importance import BOOTSTRAPS, ENOUGH
from bench.report.text import DASH, capital, count, listed, markdown_text, value_text, with_interval
from bench.search.space import load

UP = "../.."
"""From a page to the top of the project."""


def page(name: str) -> str:
    """The page of the method `name`, in Markdown."""
    said = docstrings.described(name)
    heads, rows = recipe.table_rows(name)
    parts = [
        f"# {markdown_text(said.title)}",
        f"`{name}`: {linked(said.authors)}.",
        prose(said.idea),
        _traits(name),
        "## When to choose it",
        prose(said.choice) if said.choice else DASH,
        "## The loss",
        *map(paragraph, said.equations),
        *_code(name),
        "## Departures",
        *_departures(name, said),
        "## The recipe",
        table(heads, rows, "l" + "r" * (len(heads) - 3) + "ll"),
        "## Measured here",
        *_measured(name),
        "## Elsewhere",
        *_elsewhere(name),
        "## What the search found to matter",
        *_importance(name),
        "## Cost",
        *_cost(name),
    ]
    return "\n\n".join(parts) + "\n"


def groups(name: str) -> list[str]:
    """The names by which --methods knows several of which it is one."""
    return [group for group, members in algorithms.GROUPS.items() if name in members]


def multi_crop(name: str) -> str:
    """Whether small crops join the two views: how many in the recipe; for small images, where that differs."""
    entry = recipe.space(name)["hyperparameters"].get("local_crops")
    if entry is None:
        return "no"
    small = entry.get("small", entry["default"])
    return f"{entry['default']} crops" + (f"; small images {small or 'none'}" if small != entry["default"] else "")


def teacher(name: str) -> str:
    """Whether a copy of the encoder, averaged and not trained, is followed."""
    if name in algorithms.WITH_TEACHER:
        return "another network"
    return "an average" if built(name).teacher else "no"


def _traits(name: str) -> str:
    made = built(name)
    told = [
        f"Told apart from: {method_class(name).contrasts_with}",
        f"teacher: {teacher(name)}",
        f"multi-crop: {multi_crop(name)}",
        f"{count(made.views, 'view')} of an image",
    ]
    member = groups(name)
    return "; ".join(told) + "." + (f" In the groups {listed([f'`{group}`' for group in member])}." if member else "")


def _code(name: str) -> Iterator[str]:
    path = docstrings.path(name)
    place = f"algorithms/{path.name}"
    yield f"## The code\n\n[{place}]({UP}/{place}), without the words that stand above:"
    yield f"```python\n{docstrings.code(name)}```"
    if (base := docstrings.builds_on(name)) is not None:
        yield f"All else is that of [{docstrings.described(base).title}]({base}.md)."


def _departures(name: str, said: docstrings.Described) -> Iterator[str]:
    yield from map(prose, said.departures)
    yield " ".join(recipe.sources(name))
    if found := list(recipe.departures(name)):
        yield "Where our default is not the published value:"
        yield "\n".join(f"- `{of.name}`: ours {of.ours}, published {of.published}. {of.source}." for of in found)


# ---- what was measured ----


def _measured(name: str) -> Iterator[str]:
    if found := learned(name):
        yield from _learned(found)
    told = [(run, results, row) for run, (results, every) in runs().items() for row in every if row.method == name]
    for run, results, row in told:
        yield from _run(run, results, row)
    if not found and not told:
        yield DASH


def _learned(found: Learned) -> Iterator[str]:
    yield (
        f"**Does it learn?** Test kNN (k=200) of {found.encoder} after {found.epochs} epochs on {found.images:,} "
        f"images of CIFAR-10 at {found.image_size} px with the default recipe, mean ± standard deviation over "
        f"{count(len(found.after), 'seed')}, on {found.test_images:,} test images ({found.device}):"
    )
    yield table(
        ["before training, %", "after, %", "gain", "above raw pixels", "linear probe before, %", "after, %"],
        [
            [
                f"{100 * (found.accuracy - found.gain):.1f}",
                with_spread(found.after),
                f"{100 * found.gain:+.1f}",
                f"{100 * found.above_pixels:+.1f}",
                with_spread(found.linear_before),
                with_spread(found.linear_after),
            ]
        ],
        "rrrrrr",
    )
    yield f"By `{LEARNING}`; [all methods]({UP}/reports/learning/table.md)."


def _run(run: str, results: Results, row: Row) -> Iterator[str]:
    began = results.trials.started.min()
    commit = ", ".join(str(each) for each in each_session(results.run, "commit"))
    when = "" if began is None or began != began else f", {began:%Y-%m-%d}"
    link = f"[{run.removesuffix(bundle.SUFFIX)}]({UP}/results/{run})"
    yield (
        f"**In a benchmark.** {link}{when}{f', commit {commit}' if commit else ''}: "
        f"{markdown_text(notes.title(results))}. {capital(markdown_text(results.judged.test_heading))}, "
        "mean ± half of the 95 % interval over seeds:"
    )
    tuned = "the recipe won" if row.won else with_interval(row.gain, "+")
    yield table(
        ["published recipe", "our recipe", "winner", "gain of tuning, points", "seeds", "configurations"],
        [
            [
                with_interval(row.published),
                with_interval(row.ours),
                with_interval(row.accuracy),
                tuned,
                str(len(row.accuracy.values)) if row.accuracy else DASH,
                f"{sum(row.counts.values())}",
            ]
        ],
        "rrrrrr",
    )
    asides = []
    if row.own_encoder:
        asides.append(f"It has an encoder of its own: {markdown_text(row.own_encoder)}.")
    size = int(results.trials.image_size.max())
    if (known := spaces(results.run).get(row.method, {}).get("hash")) and known != load(row.method, size).hash:
        asides.append("Its search space has changed since.")
    if asides:
        yield " ".join(asides)


def _elsewhere(name: str) -> Iterator[str]:
    found = [anchor for anchor in published() if anchor.method == name]
    if not found:
        yield DASH
        return
    yield "What others published for CIFAR-10. Settings differ, so these are no comparison with the above."
    yield table(
        ["%", "kind", "encoder", "epochs", "batch", "protocol", "source"],
        [
            [
                f"{anchor.value:.1f}",
                *(str(anchor.setting.get(key, DASH)) for key in ("kind", "encoder", "epochs", "batch_size")),
                cell(anchor.protocol),
                cell(anchor.source),
            ]
            for anchor in found
        ],
        "rllrrll",
    )


def _importance(name: str) -> Iterator[str]:
    said = importances_of(name)
    if not said:
        yield DASH
        return
    shown = [one for one in said if one.values]
    if shown:
        yield (
            f"PED-ANOVA importance of each searched hyper-parameter: the median, and the least and the most over "
            f"{BOOTSTRAPS} resamples; all of a column sum to about 1. It tells what the good configurations have in "
            "common within the searched range, not whether our default is right."
        )
        for one in shown:
            first, *others = list(one.values)
            low = one.values[first][1] > max((one.values[other][2] for other in others), default=0.0)
            yield (
                f"{cell(one.source)}, {one.trainings:,} {one.what}: `{first}` mattered most"
                + ("" if low else ", though resamples do not all say so")
                + "."
            )
            yield table(
                ["hyper-parameter", "importance", "least to most"],
                [[f"`{key}`", f"{of[0]:.2f}", f"{of[1]:.2f} to {of[2]:.2f}"] for key, of in one.values.items()],
                "lrr",
            )
    few = [f"{cell(one.source)} has {one.trainings}" for one in said if not one.values]
    if few:
        yield f"Too few to tell, below {ENOUGH} full trainings: {listed(few)}."


def _cost(name: str) -> Iterator[str]:
    made = built(name)
    yield (
        f"Counted, not timed, with {made.encoder} at {IMAGE_SIZE} px and {IMAGES:,} images, the recipe for small "
        f"images, {BATCH} images in the counted step; products and convolutions alone, no augmentation."
        + (f" The method brings this encoder; that of the others is {ENCODER}." if made.own_encoder else "")
    )
    cost = f"{relative(name):.2f}"
    rows = [
        ["one training step, forward and backward", f"{made.flops / 1e9:.2f} GFLOP an image"],
        [f"the same, in those of [{docstrings.described(YARDSTICK).title}]({YARDSTICK}.md) on {ENCODER}", f"{cost}"],
    ]
    if made.own_encoder:
        rows.append(["the same, in those of it on this encoder", f"{relative_on_its_own(name):.2f}"])
    kept = sorted(made.kept.items(), key=lambda of: -of[1])
    large = [f"`{key}` {size / MEGABYTE:.1f}" for key, size in kept if size >= MEGABYTE / 20]
    rows += [
        ["passes through an encoder, the teacher's too", f"{value_text(made.passes)} an image"],
        ["trained parameters besides the encoder's", f"{made.parameters:,}"],
        [
            "kept beside the encoder and not trained (averages, queues, banks)",
            f"{megabytes(name):.1f} MB" + (f" ({', '.join(large)})" if large else ""),
        ],
    ]
    yield table(["what", "how much"], rows, "lr")
