"""The best configuration beside the recipes."""

import json
import re

from bench.report import report, results
from tests.bench import synthetic_run
from tests.bench.report.pages import TWO, charts, make


def test_best_and_recipe_are_shown_as_they_were_trained_to_be_tested(tmp_path):
    """A search has fewer images, which may ask for other values."""
    trials, epochs, run = synthetic_run.rows(("byol", "swav"), fitted={"swav": {"prototypes": 300}})
    for trial in trials:
        if trial["stage"] == "search" and trial["effective"]:
            trial["effective"] = trial["effective"].replace('"prototypes": 300', '"prototypes": 270')
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    asked = json.loads(next(t for t in trials if t["uid"] == run["winners"]["swav"])["hyperparameters"])["prototypes"]
    lines = re.findall(r"<tr><td>prototypes</td>(.*?)</tr>", page)
    assert len(lines) == 2
    assert sum("300" in line for line in lines) == 1
    line = next(line for line in lines if "300" in line)
    best, recipe = re.findall(r"<td[^>]*>(.*?)</td>", line)[:2]
    assert best.startswith(f'300 <span class="flag">asked for {asked}</span>')
    assert recipe == '300 <span class="flag">published: 512</span>'
    assert page.count("as they were trained") == 1


def test_both_recipes_are_on_the_page_with_their_source_and_how_they_are_adapted(tmp_path):
    _, page = make(tmp_path, ("byol", "simclr"), **TWO)
    assert "our recipe, %</button>" in page
    assert re.search(r'<td data-value="0\.7\d*">\d\d\.\d\d ± \d\.\d\d ‡</td>', page)
    assert "‡ The published recipe is adapted" in page
    assert "Published recipe: a repository&#x27;s byol.py; adapted: 8 &lt;parts&gt;." in page
    assert [trace.get("name") for trace in charts(page)["gain"]["data"]][1:] == [
        "published recipe",
        "tuned",
        "our recipe",
    ]
    places = {method: page.index(f"{method}</strong>") for method in ("byol", "simclr")}
    first, second = sorted(places, key=places.get)
    parts = {first: page[places[first] : places[second]], second: page[places[second] :]}
    heads = {method: re.findall(r"<th[^>]*>([^<]+)</th>", part)[:6] for method, part in parts.items()}
    assert heads["byol"] == ["hyper-parameter", "best", "published recipe", "our recipe", "searched", "source"]
    assert "our recipe" not in heads["simclr"]
    line = re.search(r"<tr><td>learning_rate</td>(.*?)</tr>", parts["byol"])[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", line)[1:3] == ["0.7", "0.06"]
    # A recipe beyond the range of its hyper-parameter has no place in its chart; ours is dashed there.
    place = 0 if first == "byol" else 1
    dashes = [[s["line"]["dash"] for s in charts(page)[f"slice-{place}-{n}"]["layout"]["shapes"]] for n in range(5)]
    assert dashes == [["dot"], ["dash"], ["dot"], ["dot"], ["dot"]]


def test_where_our_recipe_won_it_is_the_best_of_its_method_on_the_page(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",), baselines=False, trials=2, **TWO)
    run["winners"]["byol"] = next(t["uid"] for t in trials if t["our_recipe"] and t["stage"] == "search")
    results.save([t for t in trials if t["stage"] != "confirm"], epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    line = re.search(r"<tr><td>optimizer</td>(.*?)</tr>", page)[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", line)[:3] == ["sgd", "larc", "sgd"]
    assert "our recipe won" in page
