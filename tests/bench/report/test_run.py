"""What is read of the facts of a run."""

import pytest

from bench.report.run import compute_unit, paper_link


def test_paper_links_are_only_made_of_arxiv_numbers_and_https():
    assert paper_link("2006.07733") == "https://arxiv.org/abs/2006.07733"
    assert paper_link("https://example.org/paper.pdf") == "https://example.org/paper.pdf"
    for bad in (None, "", "javascript:alert(1)", "https://a.b/)<script>", "2006.07733 x"):
        assert paper_link(bad) is None


@pytest.mark.parametrize(
    ("device", "most", "unit"),
    [
        ("gpu", 90000, "GPU-hours"),
        ("gpu", 600, "GPU-minutes"),
        ("cpu", 1200, "core-minutes"),
        ("cpu", 5, "core-seconds"),
    ],
)
def test_compute_is_told_in_a_unit_that_reads_well(device, most, unit):
    assert compute_unit({"budget": {"device": device}}, most)[0] == unit
