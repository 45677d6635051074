"""Axes of hyper-parameters."""

import pytest

from bench.report.sections.method.axes import edge, scaled, ticks


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ({"low": 0.001, "high": 1.0, "scale": "log"}, 0.00101, "lower"),
        ({"low": 0.001, "high": 1.0, "scale": "log"}, 0.03, ""),
        ({"low": 0.001, "high": 1.0, "scale": "log"}, 0.99, "upper"),
        ({"low": 0.9, "high": 0.9999, "scale": "log1m"}, 0.99988, "upper"),
        ({"low": 0.9, "high": 0.9999, "scale": "log1m"}, 0.99, ""),
        ({"low": 0, "high": 100, "scale": "linear"}, 3, "lower"),
        ({"choices": [128, 256, 512]}, 512, "upper"),
        ({"choices": [128, 256, 512]}, 256, ""),
        ({"choices": ["sgd", "lars", "adamw"]}, "sgd", ""),
        ({"default": 1}, 1, ""),
    ],
)
def test_a_best_value_at_the_edge_of_its_range_is_flagged(entry, value, said):
    flag = edge(entry, value)
    assert flag == (f"at the {said} end of its range" if said else "")


@pytest.mark.parametrize("scale", [(0.05, 1.0, "log"), (0.9, 0.9999, "log1m"), (0.0, 2.0, "linear"), (0.1, 0.3, "log")])
def test_axes_have_a_few_ticks_inside_their_range(scale):
    entry = dict(zip(("low", "high", "scale"), scale, strict=True))
    places, labels = ticks(entry)
    low, high = (scaled(entry, end) for end in scale[:2])
    assert 2 <= len(places) == len(set(labels)) <= 8
    assert all(low - 1e-6 <= place <= high + 1e-6 for place in places)
