"""Nearest rows against a sort of all of them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algorithms.evaluation.neighbours import largest, neighbours


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 5),
    columns=st.integers(1, 700),
    k=st.integers(1, 30),
    ties=st.booleans(),
)
def test_the_largest_are_those_that_topk_finds(seed: int, rows: int, columns: int, k: int, ties: bool):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randn(rows, columns, generator=generator)
    if ties:
        similarity = similarity.round()
    k = min(k, columns)
    found, place = largest(similarity, k)
    assert torch.equal(found, similarity.topk(k, dim=1).values)
    assert torch.equal(similarity.gather(1, place), found)
    assert all(len(set(row)) == k for row in place.tolist())
    unordered, place = largest(similarity, k, ordered=False)
    assert torch.equal(unordered.sort(dim=1, descending=True).values, found)
    assert torch.equal(similarity.gather(1, place), unordered)


KINDS = ("spread", "one direction", "clusters", "tight clusters", "one point far off", "few distinct", "one point")


def features(kind: str, count: int, width: int, generator: torch.Generator) -> Tensor:
    """Rows of length 1 as networks give them, and as broken ones do."""
    noise = torch.randn(count, width, generator=generator)
    if kind == "one direction":
        noise = 3 + noise / 10
    elif kind in ("clusters", "tight clusters"):
        radius = 0.3 if kind == "clusters" else 1e-4
        noise = radius * noise + torch.randn(7, width, generator=generator)[torch.arange(count) % 7]
    elif kind == "one point far off":
        noise = 3 + noise / 10
        noise[0] = -3
    elif kind == "few distinct":
        noise = noise[torch.arange(count) % 5]
    elif kind == "one point":
        noise = noise[:1].expand(count, width)
    return F.normalize(noise, dim=1)


def assert_nearest(found: Tensor, place: Tensor, queries: Tensor, bank: Tensor, k: int, itself: Tensor | None):
    """Different rows, with the cosines that are said, which are the k largest but for the error of float32."""
    similarity = queries.double() @ bank.double().T
    if itself is not None:
        similarity.scatter_(1, itself[:, None], float("-inf"))
    torch.testing.assert_close(found.double(), similarity.topk(k).values, rtol=0, atol=2e-6)
    torch.testing.assert_close(similarity.gather(1, place), found.double(), rtol=0, atol=2e-6)
    assert all(len(set(row)) == k for row in place.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_exact_in_blocks_of_any_size(kind: str):
    generator = torch.Generator().manual_seed(1)
    bank, queries = features(kind, 400, 300, generator), features(kind, 50, 300, generator)
    for part, itself in ((queries, None), (bank, torch.arange(400))):
        for rows in (1, 17, 400):
            blocks = list(neighbours(part, bank, 9, own=itself, memory=rows * 4 * 400))
            assert [start for start, _, _ in blocks] == list(range(0, len(part), rows))
            found, place = (torch.cat(column) for column in list(zip(*blocks, strict=True))[1:])
            assert_nearest(found, place, part, bank, 9, itself)


@pytest.mark.parametrize(("rows", "among"), [(1, True), (1, False), (60, True)])
def test_a_search_for_no_neighbours_finds_none(rows: int, among: bool):
    bank = F.normalize(torch.randn(rows, 4), dim=1)
    ((start, cosines, places),) = neighbours(bank, bank, 0, own=torch.arange(rows) if among else None)
    assert (start, cosines.shape, places.shape) == (0, (rows, 0), (rows, 0))


@pytest.mark.parametrize("rows", [1, 17, 60])
def test_no_row_is_a_neighbour_of_another_one_of_its_group(rows: int):
    generator = torch.Generator().manual_seed(2)
    bank = features("clusters", 60, 20, generator)
    groups = torch.randint(0, 9, (60,), generator=generator)
    own = torch.randperm(60, generator=generator)[:40]
    similarity = (bank[own].double() @ bank.double().T).masked_fill(groups[own, None] == groups, float("-inf"))
    blocks = [*neighbours(bank[own], bank, 45, own=own, groups=groups, memory=rows * 4 * 60)]
    found, place = (torch.cat(column) for column in list(zip(*blocks, strict=True))[1:])
    torch.testing.assert_close(found.double(), similarity.topk(45).values, rtol=0, atol=2e-6)
    told = found.isfinite()
    assert (groups[place] != groups[own, None])[told].all()
    assert told.sum(1).tolist() == [min(45, int((groups != groups[row]).sum())) for row in own]
