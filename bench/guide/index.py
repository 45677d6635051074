"""The index that compares all methods: for Markdown, and for a terminal."""

import textwrap

from algorithms import GROUPS, METHODS, WITH_TEACHER, method_class
from bench.guide import docstrings, recipe
from bench.guide.built import ENCODER, IMAGE_SIZE, IMAGES, YARDSTICK, built, megabytes, relative
from bench.guide.evidence import LEARNING, learned, with_spread
from bench.guide.markdown import cell, table
from bench.guide.page import groups, multi_crop, teacher
from bench.report.text import DASH, markdown_text, value_text

NAMES = (*METHODS, *WITH_TEACHER)


def index() -> str:
    """All methods in one table, and how to read it."""
    heads = ["method", "name", "year", "told apart from", "teacher", "multi-crop", "views", "batch", "memory, MB"]
    heads += ["cost", "accuracy, %"]
    return (
        "\n\n".join(
            [
                "# The methods",
                "What each tells images apart from, what it needs and costs, and what it reached here. The name leads "
                "to a page of each: its idea, equation, code, recipe, and what was measured.",
                table(heads, [_row(name) for name in NAMES], "llrlllrrrrr"),
                _reading(),
                "## When to choose which",
                "\n".join(f"- **{_link(name)}**: {cell(docstrings.described(name).choice) or DASH}" for name in NAMES),
                "## Groups",
                "What `--methods` takes in place of names:",
                "\n".join(f"- `{group}`: {', '.join(map(_link, members))}." for group, members in GROUPS.items()),
            ]
        )
        + "\n"
    )


def _row(name: str) -> list[str]:
    made, found = built(name), learned(name)
    batch = recipe.published(name, "batch_size")
    return [
        _link(name),
        f"`{name}`",
        docstrings.year(name),
        method_class(name).contrasts_with,
        teacher(name),
        multi_crop(name),
        str(made.views),
        DASH if batch is None else value_text(batch),
        f"{megabytes(name):.1f}",
        f"{relative(name):.2f}" + (" †" if made.own_encoder else ""),
        DASH if found is None else with_spread(found.after) + (" †" if made.own_encoder else ""),
    ]


def _link(name: str) -> str:
    return f"[{markdown_text(docstrings.described(name).title)}]({name}.md)"


def _reading() -> str:
    setting = next((found for name in NAMES if (found := learned(name))), None)
    lines = [
        "**Told apart from**: what a view is pushed away from, its negatives: other images of the batch, a queue of "
        "earlier ones, a bank of all. A method that needs many of them needs large batches or memory.",
        "**Teacher**: whether the network follows an average of itself, at another forward pass and a copy in memory.",
        "**Multi-crop**: whether smaller crops of the image join its views, in the recipe for large images and for "
        "small ones; **views**: how many there are of an image in the recipe for small ones.",
        "**Batch**: images in a step in the published recipe.",
        f"**Memory**: what is kept beside the encoder and not trained, for {ENCODER} and {IMAGES:,} images.",
        f"**Cost**: the operations of a training step for each image, forward and backward, in those of "
        f"{docstrings.described(YARDSTICK).title}, at {IMAGE_SIZE} px on {ENCODER}. It is counted: augmentation and "
        "what a device is slow at are not in it.",
    ]
    if setting is not None:
        lines.append(
            f"**Accuracy**: test kNN after {setting.epochs} epochs on {setting.images:,} images of CIFAR-10 at "
            f"{setting.image_size} px with the default recipe, by `{LEARNING}`; mean ± standard deviation over seeds. "
            "So short a training of so small a network shows that a method learns, and ranks none."
        )
    lines.append("**†**: with an encoder of its own, so that cost and accuracy are of both at once.")
    lines.append(f"**{DASH}**: not measured.")
    return "\n".join(f"- {line}" for line in lines)


def terminal() -> str:
    """The index in at most 120 columns: the facts of each method on one line, and its idea below."""
    heads = ["name", "method", "groups", "told apart from", "teacher", "multi-crop", "cost"]
    lines = [heads]
    for name in NAMES:
        title, made = docstrings.described(name).title, built(name)
        cost = f"{relative(name):.2f}" + ("†" if made.own_encoder else "")
        crops = "no" if multi_crop(name) == "no" else "yes"
        lines.append([name, title, ",".join(groups(name)) or DASH, *_short(name), crops, cost])
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    rows = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    ideas = [_idea(name) for name in NAMES]
    shown = [rows[0], *(f"{row}\n{idea}" for row, idea in zip(rows[1:], ideas, strict=True))]
    return "\n".join(
        [
            *shown,
            "",
            f"cost: operations of a training step for each image, in those of {YARDSTICK}; †: with its own encoder",
            "ssl-bench methods NAME prints the page of one",
        ]
    )


def _short(name: str) -> list[str]:
    return [method_class(name).contrasts_with, teacher(name)]


def _idea(name: str) -> str:
    """The first sentence of the idea."""
    sentence = " ".join(docstrings.described(name).idea.replace("`", "").split()).split(". ")[0].rstrip(".") + "."
    return textwrap.fill(sentence, 116, initial_indent="    ", subsequent_indent="    ")
