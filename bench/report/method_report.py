"""The report on each single method: its winner, its trials' curves, and what its hyper-parameters did."""

import json
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from bench.report import table
from bench.report.page import (
    GREY,
    LEGEND_ABOVE,
    LEGEND_BELOW,
    STATE_COLORS,
    Page,
    count,
    dot,
    empty,
    html_table,
    small,
    text,
)
from bench.report.table import Row, percent, with_interval

ENOUGH_FOR_IMPORTANCE = 40
"""Fewer full trials than this give importances anywhere between 0.1 and 1 for the same truth."""
BOOTSTRAPS, RESAMPLED = 12, 100
"""Resamples for an importance's bars, and the most trials in one: an evaluation costs more the more it has."""
CURVES, POINTS = 120, 60
"""The most curves drawn per method, and points per curve: the page stays small with thousands of trials."""
MARKS = 400
"""The most trials drawn in one scatter or parallel-coordinates plot."""
EDGE = 0.05
"""A best value within this share of its range from an end is flagged: the range may be too narrow."""
LADDER = ("#2b6cb0", "#5f97c4", "#93a9a0", "#c9a45a", "#e08a00")
"""From the worst fifth of the trials to the best."""


def methods_section(page: Page) -> str:
    if not page.methods:
        return empty("No method has been tried yet.")
    blocks = [_method(page, place, row) for place, row in enumerate(page.methods)]
    return (
        "<p class=\"lead\">For each method: the winner's configuration beside the recipes, every trial's "
        "curve, and what each hyper-parameter did. "
        '<button class="plain" id="open-all">open all</button></p>' + _best_curves(page) + "".join(blocks)
    )


def _best_curves(page: Page) -> str:
    traces = []
    search = page.trials[page.trials.stage == "search"]
    for row in page.methods:
        trials = search[(search.method == row.method) & search.validation_knn_200.notna()]
        complete = trials[trials.state == "complete"]
        trials = complete if len(complete) else trials
        if not len(trials):
            continue
        uid = trials.uid[trials.validation_knn_200.idxmax()]
        curve = page.epochs[(page.epochs.uid == uid) & page.epochs.knn_200.notna()].sort_values("epoch")
        symbol, dash = page.shape(row.method)
        traces.append(
            go.Scatter(
                x=curve.epoch.to_numpy(),
                y=small(100 * curve.knn_200),
                name=text(row.title),
                mode="lines+markers",
                line={"color": page.color(row.method), "dash": dash, "width": 2},
                marker={"symbol": symbol, "size": 5},
                hovertemplate=f"{text(row.title)}, epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
            )
        )
    if not traces:
        return ""
    return "<h3>The best trial of each method</h3>" + page.chart(
        "best-curves",
        traces,
        "Validation accuracy by epoch of each method's best trial",
        height=390 + 8 * len(traces),
        legend=LEGEND_BELOW,
        xaxis={"title": {"text": "epoch", "standoff": 6}} | _whole(page),
        yaxis={"title": {"text": "validation kNN k=200, %"}},
    )


def _method(page: Page, place: int, row: Row) -> str:
    trials = page.trials[(page.trials.method == row.method) & (page.trials.stage == "search")]
    states = ", ".join(f"{row.counts[state]} {state}" for state in STATE_COLORS if state in row.counts)
    given_up = (page.run.get("given_up") or {}).get(row.method)
    facts = [
        f"{with_interval(row.knn_200)} % test" if row.knn_200 else "not confirmed",
        table.seeds_note(row.knn_200, row.failed_seeds),
        f"{percent(row.validation)} % validation" if row.validation is not None else "",
        f"{count(len(trials), 'configuration')}: {text(states)}" if states else "no configuration tried",
        f"given up: {text(given_up, 300)}" if given_up else "",
    ]
    settings = pd.DataFrame([json.loads(entry) for entry in trials.hyperparameters], index=trials.index)
    space = table.spaces(page.run).get(row.method, {}).get("hyperparameters") or {}
    winner = table.winning_trial(trials, page.run)
    if winner is None:
        complete = trials[(trials.state == "complete") & trials.validation_knn_200.notna()]
        winner = trials.loc[complete.validation_knn_200.idxmax()] if len(complete) else None
    inside = (
        _origin(page, row)
        + _settings_table(space, page.trials[page.trials.method == row.method], winner)
        + _curves(page, place, row, trials, winner)
        + _parallel(page, place, row, trials, settings, space)
        + _slices(page, place, row, trials, settings, space, winner)
        + _importance(page, place, row, trials, settings)
    )
    facts = "".join(f"<span>{fact}</span>" for fact in facts if fact)
    return (
        f'<details name="methods" id="method-{place}"{" open" if place == 0 else ""}><summary><strong>'
        f"{dot(page, row.method)}{text(row.title)}</strong>"
        f'{facts}</summary><div class="inside">{inside}</div></details>'
    )


def _whole(page: Page) -> dict:
    """Ticks of an axis of epochs: none between two of them."""
    return {"dtick": 1} if page.trials.epochs.max() <= 10 else {}


def _origin(page: Page, row: Row) -> str:
    """Whose the published recipe is, and how it is adapted."""
    origin = table.origin(page.run, row.method)
    if not origin:
        return ""
    adapted = f"; adapted: {text(row.adapted, 400)}" if row.adapted else ""
    return f'<p class="lead">Published recipe: {text(origin.get("source", table.DASH), 400)}{adapted}.</p>'


def _searched(space: Mapping, settings: pd.DataFrame) -> list[str]:
    """The hyper-parameters that have a range or a choice."""
    return [name for name, entry in space.items() if entry.keys() & {"low", "choices"} and name in settings]


def _settings_table(space: Mapping, trials: pd.DataFrame, winner: pd.Series | None) -> str:
    """The best configuration beside the published recipe, and ours where it is another one, as they were trained."""
    recipes = {recipe: table.recipe_trial(trials, recipe) for recipe in table.RECIPES}
    best, confirming = winner, trials[(trials.stage == "confirm") & (trials.epoch > 0)]
    if winner is not None:  # the trials that confirm it have all training images, as those of the recipes
        won = recipes.get(table.recipe_of(winner))
        best = won if won is not None else confirming.iloc[0] if len(confirming) else winner
    two = any("published" in entry for entry in space.values()) or recipes["ours"] is not None
    trained, published = _as_trained(best, "asked for"), _as_trained(recipes["published"], "published:")
    ours = _as_trained(recipes["ours"], "asked for")
    asked = {} if best is None else json.loads(best.hyperparameters)
    lines = []
    for name in dict.fromkeys([*space, *trained, *published, *ours]):
        entry = space.get(name, {})
        searched = "fixed"
        if "choices" in entry:
            searched = ", ".join(map(table.value_text, entry["choices"]))
        elif "low" in entry:
            low, high = table.value_text(entry["low"]), table.value_text(entry["high"])
            searched = f"{low} to {high}, {entry.get('scale', 'linear')}"
        chosen = trained.get(name, table.DASH) + (_flag(_edge(entry, asked[name])) if name in asked else "")
        source = text(entry.get("source", table.DASH), 200)
        theirs = published.get(name) or text(table.value_text(entry.get("published", entry.get("default"))))
        own = [ours.get(name) or text(table.value_text(entry.get("default")))] if two else []
        lines.append([text(name), chosen, theirs, *own, text(searched), source])
    if not lines:
        return ""
    heads = ["hyper-parameter", "best", "published recipe", *(["our recipe"] if two else []), "searched", "source"]
    fitted = any(table.fitted(trial) for trial in (best, *recipes.values()) if trial is not None)
    note = (
        '<p class="lead">Best and recipe are as they were trained, fitted to this encoder and data set. '
        "The charts below place a trial at what was asked for.</p>"
    )
    return html_table(heads, lines, range(1, len(heads))) + (note if fitted else "")


def _as_trained(trial: pd.Series | None, word: str) -> dict[str, str]:
    """The cells of a trial's hyper-parameters by name: as trained and, where that differs, what was `word`."""
    if trial is None:
        return {}
    fitted = table.fitted(trial)
    return {
        name: text(table.value_text(value))
        + (_flag(f"{word} {table.value_text(fitted[name][0])}") if name in fitted else "")
        for name, value in table.effective(trial).items()
    }


def _flag(words: str) -> str:
    return f' <span class="flag">{text(words)}</span>' if words else ""


def _curves(page: Page, place: int, row: Row, trials: pd.DataFrame, winner: pd.Series | None) -> str:
    drawn = _sample(trials, CURVES)
    groups = [
        ("pruned", drawn[drawn.state == "pruned"], GREY, "solid", 1.1),
        ("failed", drawn[drawn.state == "failed"], STATE_COLORS["failed"], "dot", 1.4),
        ("cut or running", drawn[drawn.state.isin(["cut", "running"])], STATE_COLORS["cut"], "dash", 1.2),
        ("complete", drawn[drawn.state == "complete"], page.color(row.method), "solid", 1.3),
    ]
    if winner is not None:
        groups.append(("best", trials.loc[[winner.name]], page.color(row.method), "solid", 3.2))
    numbers = pd.Series(range(len(trials)), index=trials.uid)
    epochs = page.epochs[page.epochs.uid.isin(trials.uid)]
    charts = []
    for column, factor, label in (("knn_200", 100, "validation kNN k=200, %"), ("loss", 1, "training loss")):
        traces = []
        by_trial = {uid: part for uid, part in epochs[epochs[column].notna()].groupby("uid")}
        for name, part, color, dash, width in groups:
            pieces = [_thin(by_trial[uid].sort_values("epoch")) for uid in part.uid if uid in by_trial]
            if not pieces:
                continue
            gap = [np.nan]
            traces.append(
                go.Scatter(
                    x=small(np.concatenate([np.append(piece.epoch, gap) for piece in pieces])),
                    y=small(np.concatenate([np.append(factor * piece[column], gap) for piece in pieces])),
                    customdata=small(np.concatenate([np.repeat(numbers[p.uid.iloc[0]], len(p) + 1) for p in pieces])),
                    name=name,
                    mode="lines+markers" if max(map(len, pieces)) == 1 or name in ("best", "failed") else "lines",
                    opacity=1.0 if name == "best" else 0.6,
                    line={"color": color, "dash": dash, "width": width},
                    marker={"size": 5},
                    hovertemplate=f"trial %{{customdata}} ({name}), epoch %{{x}}: %{{y:.4~g}}<extra></extra>",
                )
            )
        if traces:
            charts.append(
                "<div>"
                + page.chart(
                    f"{column}-{place}",
                    traces,
                    f"{label} of every trial of {row.title}",
                    height=330,
                    showlegend=True,
                    legend=LEGEND_ABOVE,
                    margin={"l": 50, "r": 12, "t": 30, "b": 40},
                    xaxis={"title": {"text": "epoch"}} | _whole(page),
                    yaxis={"title": {"text": label}},
                )
                + "</div>"
            )
    if not charts:
        return empty("No trial of this method has reported an epoch.")
    note = f'<p class="lead">{len(drawn)} of {len(trials):,} trials are drawn.</p>' if len(drawn) < len(trials) else ""
    return f'<h3>Every trial\'s curve</h3>{note}<div class="grid">{"".join(charts)}</div>'


def _parallel(page: Page, place: int, row: Row, trials: pd.DataFrame, settings: pd.DataFrame, space: Mapping) -> str:
    drawn = _sample(trials[trials.validation_knn_200.notna()], MARKS)
    names = _searched(space, settings)
    title = "<h3>Parallel coordinates</h3>"
    if not names or not len(drawn):
        return title + empty("No trial of a searched hyper-parameter has reported an accuracy.")
    drawn = drawn.sort_values("validation_knn_200")
    dimensions = [_dimension(name, space[name], settings.loc[drawn.index, name]) for name in names]
    accuracy = 100 * drawn.validation_knn_200
    dimensions.append(_numbers("epochs reached", drawn.epoch, 0, max(1, int(drawn.epochs.max()))))
    dimensions.append(_numbers("validation, %", accuracy, accuracy.min(), max(accuracy.max(), accuracy.min() + 0.01)))
    heights = []  # a row per trial: where its line crosses each axis, from 0 to 1
    for dimension in dimensions:
        low, high = dimension["range"]
        heights.append((np.asarray(dimension["values"], dtype=float) - low) / (high - low))
    heights = np.stack(heights, 1)
    complete = (drawn.state == "complete").to_numpy()
    rank = np.zeros(len(drawn), dtype=int)
    rank[complete] = np.arange(complete.sum()) * len(LADDER) // max(1, complete.sum())
    groups = [(~complete, GREY, 1.0, 0.45)]
    groups += [(complete & (rank == step), color, 1.8, 0.85) for step, color in enumerate(LADDER)]
    if complete.any():  # rows are sorted by accuracy
        groups.append((np.arange(len(drawn)) == np.flatnonzero(complete)[-1], LADDER[-1], 3.5, 1.0))
    width = len(dimensions)
    numbers = pd.Series(range(len(trials)), index=trials.index)[drawn.index].to_numpy()
    told = small(np.stack([numbers, accuracy], 1))
    traces = [
        go.Scatter(
            x=small(np.tile([*range(width), np.nan], some.sum())),
            y=small(np.pad(heights[some], ((0, 0), (0, 1)), constant_values=np.nan).ravel()),
            customdata=np.repeat(told[some], width + 1, 0),
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.2f} %<extra></extra>",
            mode="lines",
            opacity=opacity,
            line={"color": color, "width": thickness},
        )
        for some, color, thickness, opacity in groups
        if some.any()
    ]
    ticks = [
        {
            "x": place,
            "y": (at - dimension["range"][0]) / (dimension["range"][1] - dimension["range"][0]),
            "text": label,
            "showarrow": False,
            "xanchor": "right",
            "xshift": -3,
        }
        for place, dimension in enumerate(dimensions)
        for at, label in zip(dimension["tickvals"], dimension["ticktext"], strict=True)
    ]
    chart = page.chart(
        f"parallel-{place}",
        traces,
        f"Parallel coordinates of the trials of {row.title}",
        height=330,
        margin={"l": 10, "r": 20, "t": 34, "b": 14},
        showlegend=False,
        annotations=ticks,
        shapes=[
            {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"width": 1.2}, "layer": "above"}
            for at in range(width)
        ],
        xaxis={
            "side": "top",
            "showgrid": False,
            "showline": False,
            "range": [-0.55, width - 0.85],
            "tickvals": list(range(width)),
            "ticktext": [dimension["label"] for dimension in dimensions],
        },
        yaxis={"visible": False, "range": [-0.04, 1.04]},
    )
    return (
        title + '<p class="lead">A line per trial, from blue to orange by the rank of its accuracy; grey ones did '
        "not finish, so their accuracy is that of an earlier epoch. Point at a line to see which trial it is.</p>"
        f'<div class="scroll"><div style="min-width:{105 * width}px">{chart}</div></div>'
    )


def _slices(
    page: Page,
    place: int,
    row: Row,
    trials: pd.DataFrame,
    settings: pd.DataFrame,
    space: Mapping,
    winner: pd.Series | None,
) -> str:
    drawn = _sample(trials[trials.validation_knn_200.notna()], MARKS)
    names = _searched(space, settings)
    if not names or not len(drawn):
        return ""
    color = page.color(row.method)
    charts = []
    for number, name in enumerate(names):
        entry = space[name]
        dimension = _dimension(name, entry, settings.loc[drawn.index, name])
        at = pd.Series(np.asarray(dimension["values"], dtype=float), index=drawn.index)
        groups = [("not finished", drawn[drawn.state != "complete"], STATE_COLORS["pruned"], "circle-open", 5)]
        groups.append(("complete", drawn[drawn.state == "complete"], color, "circle", 7))
        if winner is not None and winner.name in drawn.index:
            groups.append(("best", drawn.loc[[winner.name]], color, "star", 14))
        traces = [
            go.Scatter(
                x=small(at[part.index]),
                y=small(100 * part.validation_knn_200),
                customdata=[table.value_text(value) for value in settings.loc[part.index, name]],
                mode="markers",
                marker={"color": mark, "symbol": symbol, "size": size, "opacity": 0.85},
                hovertemplate=f"%{{customdata}}: %{{y:.2f}} % ({label})<extra></extra>",
            )
            for label, part, mark, symbol, size in groups
            if len(part)
        ]
        low, high = dimension["range"]
        pad = 0.06 * (high - low)
        of = {"dash": entry["default"], "dot": entry.get("published", entry["default"])}  # of equals the dots stay
        places = {dash: float(_dimension(name, entry, pd.Series([value]))["values"][0]) for dash, value in of.items()}
        recipes = {place: dash for dash, place in places.items() if low - pad <= place <= high + pad}
        flag = _edge(entry, settings[name][winner.name]) if winner is not None else ""
        charts.append(
            f'<div class="slice"><b>{text(name.replace("_", " "))}</b> <span class="flag">{flag}</span>'
            + page.chart(
                f"slice-{place}-{number}",
                traces,
                f"Validation accuracy by {name}",
                height=210,
                margin={"l": 36, "r": 8, "t": 6, "b": 30},
                showlegend=False,
                shapes=[
                    {
                        "type": "line",
                        "x0": recipe,
                        "x1": recipe,
                        "y0": 0,
                        "y1": 1,
                        "yref": "paper",
                        "line": {"dash": dash, "width": 1.2},
                    }
                    for recipe, dash in recipes.items()
                ],
                xaxis={
                    "range": [low - pad, high + pad],
                    "tickvals": dimension["tickvals"],
                    "ticktext": dimension["ticktext"],
                },
                yaxis={"nticks": 5},
            )
            + "</div>"
        )
    return (
        "<h3>Validation accuracy by hyper-parameter</h3>"
        '<p class="lead">The star is the best trial, the dotted line the published recipe and a dashed one ours where '
        "it is another one, as far as they lie in the range; open circles did not finish. A best value at the edge of "
        "its range says that the range may be too narrow.</p>"
        f'<div class="grid small">{"".join(charts)}</div>'
    )


def _importance(page: Page, place: int, row: Row, trials: pd.DataFrame, settings: pd.DataFrame) -> str:
    complete = trials[(trials.state == "complete") & trials.validation_knn_200.notna()]
    title = "<h3>Importance of the hyper-parameters</h3>"
    if len(complete) < ENOUGH_FOR_IMPORTANCE:
        return (
            f'{title}<p class="lead">Not shown: estimates are unreliable below {ENOUGH_FOR_IMPORTANCE} full trials, '
            f"and this method has {len(complete)}.</p>"
        )
    space = table.spaces(page.run).get(row.method, {})
    if not space.get("hyperparameters"):
        return f'{title}<p class="lead">Not shown: the run has no record of the ranges.</p>'
    found = importances(space, settings.loc[complete.index], complete.validation_knn_200)
    names = sorted(found, key=lambda name: found[name][0])
    middle = np.array([found[name][0] for name in names])
    trace = go.Bar(
        x=middle,
        y=[text(name.replace("_", " ")) for name in names],
        orientation="h",
        marker={"color": page.color(row.method)},
        error_x={
            "array": [found[name][2] - found[name][0] for name in names],
            "arrayminus": [found[name][0] - found[name][1] for name in names],
            "color": GREY,
            "thickness": 1.5,
        },
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    return (
        f'{title}<p class="lead">PED-ANOVA over {len(complete)} full trials; bars span {BOOTSTRAPS} bootstrap '
        f"resamples of {min(len(complete), RESAMPLED)}.</p>"
        + page.chart(
            f"importance-{place}",
            [trace],
            "Importance of the hyper-parameters",
            height=70 + 28 * len(names),
            bargap=0.4,
            xaxis={"range": [0, 1]},
            yaxis={"type": "category", "showgrid": False},
        )
    )


def importances(space: Mapping, settings: pd.DataFrame, accuracy: pd.Series) -> dict[str, tuple[float, float, float]]:
    """PED-ANOVA importance of each searched hyper-parameter: median, least and most over resamples."""
    import optuna

    from bench.search.space import SearchSpace

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = SearchSpace("", "", {}, dict(space["hyperparameters"]))
    distributions = search.distributions()
    trials = []
    for entry, value in zip(settings.to_dict("records"), accuracy, strict=True):
        if not search.proposes(entry):
            continue
        params = search.to_params(dict(entry))
        for name, distribution in distributions.items():
            if hasattr(distribution, "low"):  # 1 - (1 - x) may lie a rounding outside
                params[name] = min(max(params[name], distribution.low), distribution.high)
        trial = optuna.trial.create_trial(params=params, distributions=distributions, value=float(value))
        trials.append(trial)
    generator, size = np.random.default_rng(0), min(len(trials), RESAMPLED)
    samples: dict[str, list[float]] = {}
    for _ in range(BOOTSTRAPS):
        study = optuna.create_study(direction="maximize")
        study.add_trials([trials[at] for at in generator.integers(len(trials), size=size)])
        with warnings.catch_warnings():  # of trials that are as good as each other: shown as equal importances
            warnings.simplefilter("ignore", UserWarning)
            found = optuna.importance.get_param_importances(study)
        for name, value in found.items():
            samples.setdefault(name.removeprefix("one_minus_"), []).append(value)
    return {
        name: tuple(float(v) for v in np.quantile(np.pad(values, (0, BOOTSTRAPS - len(values))), [0.5, 0, 1]))
        for name, values in samples.items()
    }


def _numbers(label: str, values: pd.Series, low: float, high: float) -> dict:
    ticks = np.linspace(low, high, 5)
    return {
        "label": label,
        "values": small(values),
        "range": [low, high],
        "tickvals": ticks.tolist(),
        "ticktext": [f"{tick:.3g}" for tick in ticks],
    }


def _dimension(name: str, entry: Mapping, values: pd.Series) -> dict:
    label = text(name.replace("_", " "))
    if "choices" in entry:
        choices = [table.value_text(choice) for choice in entry["choices"]]
        places = [choices.index(value) if value in choices else -1 for value in map(table.value_text, values)]
        ticks = list(range(len(choices)))
        return {
            "label": label,
            "values": places,
            "tickvals": ticks,
            "ticktext": [text(c) for c in choices],
            "range": [0, max(1, len(choices) - 1)],
        }
    low, high = _scaled(entry, entry["low"]), _scaled(entry, entry["high"])
    vals, texts = _ticks(entry)
    return {
        "label": label,
        "values": small([_scaled(entry, v) for v in values]),
        "range": [low, high],
        "tickvals": vals,
        "ticktext": texts,
    }


def _sample(trials: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` trials: the best half of them, and the others at even distances."""
    if len(trials) <= most:
        return trials
    best = trials.validation_knn_200.nlargest(most // 2).index
    others = trials.index.difference(best)
    kept = others[np.linspace(0, len(others) - 1, most - len(best)).astype(int)]
    return trials.loc[best.union(kept)]


def _thin(curve: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS points of a curve, the first and last among them."""
    if len(curve) <= POINTS:
        return curve
    return curve.iloc[np.unique(np.linspace(0, len(curve) - 1, POINTS).astype(int))]


def _scaled(entry: Mapping, value: float) -> float:
    """Where a value lies on its axis: itself, its logarithm, or the falling logarithm of its distance from 1."""
    scale = entry.get("scale", "linear")
    value = float(value)
    if scale == "log":
        return float(np.log10(max(value, 1e-300)))
    if scale == "log1m":
        return float(-np.log10(max(1 - value, 1e-300)))
    return value


def _ticks(entry: Mapping) -> tuple[list[float], list[str]]:
    """About four round values of a range, and where they lie on its axis."""
    low, high = _scaled(entry, entry["low"]), _scaled(entry, entry["high"])
    if entry.get("scale", "linear") == "linear":
        values = np.linspace(entry["low"], entry["high"], 4)
    else:
        tens = (
            [factor * 10.0**power for power in range(-320, 20) for factor in (1, 2, 5)]
            if high - low < 1.6
            else [10.0**power for power in range(-320, 20)]
        )
        values = [1 - ten for ten in tens] if entry["scale"] == "log1m" else tens
    inside = [value for value in values if low - 1e-9 <= _scaled(entry, value) <= high + 1e-9]
    inside = inside[:: max(1, len(inside) // 4)] if len(inside) > 5 else inside
    return [_scaled(entry, value) for value in inside], [table.value_text(float(value)) for value in inside]


def _edge(entry: Mapping, value: object) -> str:
    """What to say of a best value that sits at an end of its range; empty if it does not."""
    if "choices" in entry:
        choices = entry["choices"]
        numeric = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
        if not numeric or len(choices) < 3 or value not in (min(choices), max(choices)):
            return ""
        return f"at the {'lower' if value == min(choices) else 'upper'} end of its range"
    if "low" not in entry:
        return ""
    low, high = _scaled(entry, entry["low"]), _scaled(entry, entry["high"])
    share = (_scaled(entry, value) - low) / (high - low)
    if EDGE < share < 1 - EDGE:
        return ""
    return f"at the {'lower' if share <= EDGE else 'upper'} end of its range"
