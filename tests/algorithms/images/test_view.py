"""What is drawn for views against the laws of torchvision's transforms."""

import math

import pytest
import torch
from torchvision.transforms import ColorJitter, RandomResizedCrop

from algorithms.images.view import View, draw

MANY = 20_000


def ks_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Kolmogorov-Smirnov distance of two samples."""
    points = torch.cat([a, b]).unique()
    below = [torch.searchsorted(x.sort()[0], points, right=True) / len(x) for x in (a, b)]
    return (below[0] - below[1]).abs().max().item()


KS_LIMIT = 1.95 * math.sqrt(2 / MANY)  # exceeded by chance once in a thousand times


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.2, 0.6), (1 / 3, 3.0)), ((0.9, 1.0), (1 / 4, 4.0))],
    ids=["simclr", "wide", "often whole"],
)
def test_crops_follow_torchvisions_law(scale, ratio):
    torch.manual_seed(0)
    side = 32
    ours = draw([View(16, scale=scale, ratio=ratio)], MANY, side)
    blank = torch.empty(3, side, side)
    theirs = [RandomResizedCrop.get_params(blank, list(scale), list(ratio)) for _ in range(MANY)]
    for mine, other in zip((ours.top, ours.left, ours.height, ours.width), torch.tensor(theirs).float().T, strict=True):
        assert ks_distance(mine, other) < KS_LIMIT
    assert ks_distance(ours.height * ours.width, torch.tensor([t[2] * t[3] for t in theirs]).float()) < KS_LIMIT
    assert (ours.top + ours.height <= side).all()
    assert (ours.left + ours.width <= side).all()


def test_jitter_follows_torchvisions_law():
    torch.manual_seed(0)
    strengths = (0.8, 0.4, 1.2, 0.2)
    theirs = ColorJitter(*strengths)
    drawn = [
        ColorJitter.get_params(theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue) for _ in range(MANY)
    ]
    ours = draw([View(8, jitter=strengths)], MANY, 8).jitter
    for i, name in enumerate(("brightness", "contrast", "saturation", "hue"), start=1):
        assert ks_distance(getattr(ours, name), torch.tensor([d[i] for d in drawn])) < KS_LIMIT, name
    counts = torch.bincount(ours.order, minlength=24).double()
    expected = MANY / 24
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 49.7  # 23 degrees of freedom, one in a thousand


def test_operations_happen_as_often_as_each_view_says():
    torch.manual_seed(0)
    views = [
        View(8, flip=0.5, jitter_probability=0.8, grayscale=0.2, blur=1.0, solarize=0.0),
        View(8, flip=0.3, jitter_probability=1.0, grayscale=0.0, blur=0.1, solarize=0.2),
    ]
    choice = draw(views, MANY, 8)
    for name, setting in (
        ("flip", "flip"),
        ("jitter", "jitter_probability"),
        ("grayscale", "grayscale"),
        ("blur", "blur"),
        ("solarize", "solarize"),
    ):
        column = {"jitter": choice.jitter.on, "flip": choice.pose.flip}.get(name, getattr(choice, name, None))
        for rows, view in zip(column.view(MANY, 2).T, views, strict=True):
            p = getattr(view, setting)
            assert abs(rows.double().mean() - p) <= 3.3 * math.sqrt(p * (1 - p) / MANY), name
    assert ks_distance(choice.sigma[::2], torch.empty(MANY).uniform_(0.1 * 8 / 224, 2 * 8 / 224)) < KS_LIMIT
    drawn = [
        choice.jitter.on[::2],
        choice.pose.flip[::2],
        choice.grayscale[::2],
        choice.pose.flip[1::2],
        choice.solarize[1::2],
    ]
    off_diagonal = torch.corrcoef(torch.stack(drawn).double()) - torch.eye(5)
    assert off_diagonal.abs().max() < 3.9 / math.sqrt(MANY)


def test_translations_are_uniform_and_as_often_as_asked():
    torch.manual_seed(0)
    choice = draw([View(8, translate=2, translate_probability=0.8)], MANY, 8)
    for shift in (choice.top, choice.left):
        share = torch.bincount((shift + 2).long(), minlength=5) / MANY
        expected = torch.tensor([0.16, 0.16, 0.36, 0.16, 0.16])
        assert (share - expected).abs().max() < 4 * math.sqrt(0.36 * 0.64 / MANY)
    still = ((choice.top == 0) & (choice.left == 0)).float().mean()
    assert abs(still - (0.2 + 0.8 / 25)) < 4 * math.sqrt(0.23 * 0.77 / MANY)


def test_the_blur_of_any_view_is_the_papers_at_224_px_scaled_to_the_image():
    torch.manual_seed(0)
    for side, size in ((224, 224), (224, 96), (96, 96), (96, 41)):
        sigma = draw([View(size, blur=1.0)], 2000, side).sigma
        assert 0.1 * side / 224 <= sigma.min() < 0.12 * side / 224
        assert 1.98 * side / 224 < sigma.max() <= 2 * side / 224


@pytest.mark.parametrize(
    ("settings_", "what"),
    [({"ratio": (1.2, 1.5)}, "ratio"), ({"jitter": (0.4, 0.4, 0.4, 0.7)}, "hue")],
)
def test_impossible_views_are_named(settings_, what):
    with pytest.raises(ValueError, match=what):
        View(8, **settings_)
