"""What the sections are made with."""

from bench.report import results
from bench.report.page import ORDER, Page
from bench.report.rows import rows


def test_a_method_has_the_same_colour_in_every_run(usual):
    one = Page(results.load(usual[0].parent), rows(results.load(usual[0].parent)))
    assert one.color("byol") == Page(one.results, one.rows[:1]).color("byol")
    looks = {(one.color(method), one.shape(method)) for method in ORDER}
    assert len(looks) == len({one.color(method) for method in ORDER}) == len(ORDER)
