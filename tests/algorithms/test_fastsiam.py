"""FastSiam against a slow transcription, and beside SimSiam, which it is with two views."""

import copy

import pytest
import torch

from algorithms.encoders import build_encoder
from algorithms.fastsiam import FastSiam
from algorithms.method import Setting
from algorithms.simsiam import SimSiam
from algorithms.training.recipe import effective_hyperparameters
from bench.report.run import paper_link
from bench.search.space import load

HEADS = {"projector_hidden": 32, "projector_width": 16, "predictor_hidden": 8}
SETTING = Setting(images=64, image_size=16, batch_size=8, epochs=2)


def make(view_count: int) -> FastSiam:
    torch.manual_seed(0)
    return FastSiam(SETTING, build_encoder("resnet8", 16), view_count=view_count, **HEADS)


def crops(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 3, 16, 16, generator=generator) for _ in range(count)]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b) / float(a.norm() * b.norm())


@torch.no_grad()
def test_every_view_predicts_the_mean_of_all_others():
    method, views = make(4), crops(4)
    z = [method.projector(method.encoder(view)) for view in views]
    p = [method.predictor(each).double() for each in z]
    losses = []
    for i in range(4):
        for image in range(8):
            target = sum(z[j][image].double() for j in range(4) if j != i) / 3
            losses.append(-cosine(p[i][image], target))
    assert method.loss(views, torch.arange(8)).item() == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_two_views_are_simsiam():
    torch.manual_seed(0)
    simsiam = SimSiam(SETTING, build_encoder("resnet8", 16), **HEADS)
    ours, views = make(2), crops(2)
    assert ours.views == simsiam.views
    losses = [method.loss(views, torch.arange(8)) for method in (ours, simsiam)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for own, other in zip(ours.parameters(), simsiam.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_no_gradient_flows_through_the_targets():
    """The gradient equals that of a loss whose targets are another network with the same weights."""
    method, views = make(3), crops(3)
    other = copy.deepcopy(method)
    method.loss(views, torch.arange(8)).backward()
    found = [parameter.grad.clone() for parameter in method.parameters()]
    method.zero_grad()
    with torch.no_grad():
        z = [other.projector(other.encoder(view)) for view in views]
    p = [method.predictor(method.projector(method.encoder(view))) for view in views]
    targets = [(z[1] + z[2]) / 2, (z[0] + z[2]) / 2, (z[0] + z[1]) / 2]
    losses = [-torch.cosine_similarity(a, b, dim=1).mean() for a, b in zip(p, targets, strict=True)]
    (sum(losses) / 3).backward()
    for expected, parameter in zip(found, method.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-6)


def test_there_are_as_many_views_as_asked_for_all_of_one_kind():
    for count in (3, 4, 6):
        views = make(count).views
        assert len(views) == count
        assert len(set(views)) == 1


def test_the_predictor_keeps_its_learning_rate_and_is_a_bottleneck():
    assert FastSiam.constant_learning_rate == ("predictor",)
    found = effective_hyperparameters(FastSiam, load("fastsiam", 32).defaults, width=64, images=50_000)
    assert (found["projector_width"], found["predictor_hidden"], found["view_count"]) == (512, 256, 4)


def test_the_paper_which_is_not_on_arxiv_is_linked_by_its_doi():
    assert paper_link(load("fastsiam", 32).paper) == "https://doi.org/10.1007/978-3-031-16788-1_4"
