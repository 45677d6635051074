import math

import pytest
import torch

from algorithms.amdim import AMDIM, multiscale_nce
from algorithms.images.augment import augment
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import pack
from algorithms.method import Setting


def make(size=16, **changes) -> AMDIM:
    torch.manual_seed(0)
    setting = Setting(images=64, image_size=size, batch_size=8, epochs=2)
    return AMDIM(setting, AMDIM.build_encoder("resnet8", size), **{"score_clip": 20.0, "score_weight": 0.05} | changes)


def slow(sources, targets, clip):
    """Eq. 2 and section 3.2, place by place."""
    batch, width, places = targets.shape
    loss = square = 0.0

    def score(i, j, place):
        return float(sources[i] @ targets[j, :, place]) / math.sqrt(width)

    for i in range(batch):
        negatives = [
            math.exp(clip * math.tanh(score(i, j, place) / clip))
            for j in range(batch)
            for place in range(places)
            if j != i
        ]
        for place in range(places):
            positive = math.exp(clip * math.tanh(score(i, i, place) / clip))
            loss -= math.log(positive / (positive + sum(negatives))) / (batch * places)
        square += sum(score(i, j, place) ** 2 for j in range(batch) for place in range(places))
    return loss, square / (batch * batch * places)


@pytest.mark.parametrize("clip", [20.0, 1.5])
def test_loss_is_equation_2_with_clipped_scores_and_without_the_own_image_in_the_negatives(clip):
    generator = torch.Generator().manual_seed(0)
    sources = 3 * torch.randn(4, 5, dtype=torch.float64, generator=generator)
    targets = torch.randn(4, 5, 3, dtype=torch.float64, generator=generator)
    loss, square = multiscale_nce(sources, targets, clip)
    assert (loss.item(), square.item()) == pytest.approx(slow(sources, targets, clip), abs=1e-5)
    assert torch.autograd.gradcheck(
        lambda s, t: sum(multiscale_nce(s, t, clip)), (sources.requires_grad_(), targets.requires_grad_())
    )


def test_loss_is_finite_and_float32_for_half_precision_features():
    sources, targets = 200 * torch.ones(3, 8, dtype=torch.bfloat16), torch.ones(3, 8, 4, dtype=torch.bfloat16)
    loss, square = multiscale_nce(sources * 100, targets * 100, 20.0)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(square)


@pytest.mark.parametrize(("size", "patch"), [(16, 4), (32, 8), (64, 16)])
def test_a_local_feature_has_seen_its_patch_and_no_more(size, patch):
    encoder = make(size).encoder.eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 0.1)  # every path carries a gradient
    image = torch.rand(1, 3, size, size, requires_grad=True)
    one, five, seven = encoder.maps(image)
    stride = patch // 2
    for feature, row, column, side in ((seven, 2, 5, patch), (five, 2, 3, 2 * patch)):
        (gradient,) = torch.autograd.grad(feature[0, :, row, column].sum(), image, retain_graph=True)
        seen = gradient[0].abs().sum(0) > 0
        expected = torch.zeros(size, size, dtype=torch.bool)
        expected[row * stride : row * stride + side, column * stride : column * stride + side] = True
        assert torch.equal(seen, expected)
    (gradient,) = torch.autograd.grad(one.sum(), image)
    assert bool((gradient != 0).all())


@pytest.mark.parametrize("size", [16, 28, 32, 48, 96, 224])
def test_any_image_size_gives_maps_of_7_5_and_1(size):
    one, five, seven = make(size).encoder.eval().maps(torch.rand(1, 3, size, size))
    assert (one.shape[1:], five.shape[2:], seven.shape[2:]) == ((128,), (5, 5), (7, 7))


@pytest.mark.parametrize(
    ("size", "side", "hue"),
    [(28, 28, 0.2), (32, 32, 0.2), (48, 64, 0.2), (64, 64, 0.2), (96, 128, 0.1), (224, 128, 0.1)],
)
def test_views_above_32_px_have_the_side_that_the_encoder_computes_at_and_hue_is_as_the_authors_have_it(
    size, side, hue
):
    method = make(size)
    for view in method.views:
        assert (view.size, view.jitter[3]) == (side, hue)
        assert size <= 32 or view.size == method.encoder.trunk.image_side


def test_trunk_has_no_batch_norm_no_padding_and_starts_as_a_chain_of_means():
    method = make()
    norms = [name for name, m in method.encoder.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 1
    assert norms[0].startswith("to_1")
    convolutions = [m for m in method.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.padding == (0, 0) for m in convolutions)
    residual = [m for m in method.encoder.modules() if hasattr(m, "second")]
    assert residual
    assert all(bool((m.second.weight == 0).all()) for m in residual)


def test_loss_sums_three_tasks_over_both_directions(monkeypatch):
    calls = []

    def record(sources, targets, clip):
        calls.append((sources, targets))
        return sources.sum() * 0 + len(calls), sources.sum() * 0 + 100

    monkeypatch.setattr("algorithms.amdim.multiscale_nce", record)
    method = make().eval()
    views = [torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)]
    loss = method.loss(views, torch.arange(4))
    assert loss.item() == pytest.approx(sum(range(1, 7)) / 2 + 0.05 * 300)
    maps = [method.maps(view) for view in views]
    for direction, (source, target) in enumerate(((0, 1), (1, 0))):
        (one, to_five), (again, to_seven), (local, to_five_again) = calls[3 * direction : 3 * direction + 3]
        torch.testing.assert_close(one, maps[source][0])
        torch.testing.assert_close(again, maps[source][0])
        torch.testing.assert_close(to_five, maps[target][1])
        torch.testing.assert_close(to_seven, maps[target][2])
        torch.testing.assert_close(to_five_again, maps[target][1])
        distance = (maps[source][1] - local[:, :, None]).abs().amax(1)
        assert (distance.amin(1) < 1e-5).all()  # each is one of its image's 25 places


def test_a_local_source_comes_from_a_random_place_of_each_image(monkeypatch):
    places = []

    def record(sources, targets, clip):
        if len(sources) == 32:
            places.append(sources)
        return sources.sum() * 0, sources.sum() * 0

    monkeypatch.setattr("algorithms.amdim.multiscale_nce", record)
    method = make().eval()
    image = torch.rand(1, 3, 16, 16).expand(32, -1, -1, -1)
    method.loss([image, image], torch.arange(32))
    local = places[2]
    assert len(torch.unique(local.round(decimals=4), dim=0)) > 5


def test_both_views_share_one_flip_and_nothing_else():
    torch.manual_seed(0)
    method = make()
    ramp = torch.arange(16).expand(64, 3, 16, 16).to(torch.uint8) * 15
    first, second = augment(pack(ramp), method.views, IMAGENET.on("cpu"), shared_flip=method.shared_flip)

    def flipped(view):
        return (view[..., :4].mean((1, 2, 3)) - view[..., -4:].mean((1, 2, 3))) > 0

    assert torch.equal(flipped(first), flipped(second))
    assert 10 < int(flipped(first).sum()) < 54
    assert not torch.allclose(first, second)


def test_the_encoder_follows_the_asked_one_in_size_and_refuses_unknown_names():
    small, large = (AMDIM.build_encoder(name, 32) for name in ("resnet8", "resnet18"))
    assert (small.width, large.width) == (128, 1024)
    assert small.name != large.name
    with pytest.raises(ValueError, match="resnet18"):
        AMDIM.build_encoder("resnet81", 32)
