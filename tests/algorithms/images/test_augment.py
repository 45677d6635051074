"""Views of a batch as a whole: in order, of the images asked for, by their seed, and compiled."""

import shutil

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torchvision.transforms import InterpolationMode

from algorithms.images.augment import augment, recoloured, render, unaugmented
from algorithms.images.colour import jitter_order
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import pack
from algorithms.images.view import View, draw
from tests.algorithms.images.pictures import NORMALISER, assert_same, choose, images, jitter, shown


def test_operations_follow_each_other_as_in_the_papers():
    """Crop and flip, jitter, grayscale, blur, solarization, normalisation."""
    pictures = images(4, 12)
    choice = choose(
        4,
        12,
        top=2.0,
        left=1.0,
        height=7.0,
        width=9.0,
        flip=True,
        **jitter(1.4, 0.5, 1.6, -0.2, order=9),
        grayscale=[False, True, False, True],
        blur=True,
        sigma=0.8,
        solarize=True,
    )
    theirs = F.horizontal_flip(F.resized_crop(pictures / 255, 2, 1, 7, 9, [12, 12]))
    adjust = (
        lambda x: F.adjust_brightness(x, 1.4),
        lambda x: F.adjust_contrast(x, 0.5),
        lambda x: F.adjust_saturation(x, 1.6),
        lambda x: F.adjust_hue(x, -0.2),
    )
    for operation in jitter_order(9):
        theirs = adjust[operation](theirs)
    theirs[1::2] = F.rgb_to_grayscale(theirs[1::2], num_output_channels=3)
    blurred = F.gaussian_blur(theirs, [23, 23], [0.8, 0.8])
    theirs = F.solarize(blurred, 0.5)
    near_threshold = (blurred - 0.5).abs() < 1e-5  # rounding decides there
    (ours,) = render(pack(pictures), choice, 12, NORMALISER)
    difference = (ours - F.normalize(theirs, *IMAGENET)).abs()
    assert difference[~near_threshold].max() < 5e-5
    assert near_threshold.float().mean() < 0.01


def test_unaugmented_is_the_image_normalised():
    pictures = images(5, 7)
    index = torch.tensor([3, 0, 3])
    ours = unaugmented(pack(pictures[index]), NORMALISER)
    assert_same(ours, F.normalize(pictures[index] / 255, *IMAGENET))
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_every_image_and_every_view_gets_its_own_augmentation():
    torch.manual_seed(0)
    picture = images(3, 8)[1:2].repeat(40, 1, 1, 1)
    views = augment(pack(picture), [View(8), View(8)], NORMALISER)
    rows = torch.cat(views).flatten(1)
    distance = torch.cdist(rows, rows) + torch.eye(len(rows)) * 1e9
    assert distance.min() > 1e-3


def test_a_batch_of_one_image_and_a_pixel_of_any_size():
    torch.manual_seed(0)
    for side, size in ((1, 1), (2, 5), (8, 4)):
        (view,) = augment(pack(images(1, side)), [View(size, blur=0.5, solarize=0.5)], NORMALISER)
        assert view.shape == (1, 3, size, size)
        assert view.isfinite().all()


def test_views_of_several_sizes_come_in_the_order_asked():
    torch.manual_seed(0)
    sizes = [16, 8, 16, 8, 8]
    views = augment(pack(images(2, 16)), [View(size) for size in sizes], NORMALISER)
    assert [tuple(view.shape) for view in views] == [(2, 3, size, size) for size in sizes]
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views)


def test_views_are_of_the_images_asked_for_and_keep_each_views_settings():
    """Rows are views of images in order: an image is known by its colour, a view by its grayscale."""
    colours = torch.tensor([[200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=torch.uint8)
    pictures = colours[:, :, None, None].repeat(1, 1, 8, 8)
    index = torch.tensor([2, 0])
    plain = View(8, jitter=(0, 0, 0, 0), grayscale=0.0)
    grey = View(8, jitter=(0, 0, 0, 0), grayscale=1.0)
    first, second, third = map(shown, augment(pack(pictures[index]), [plain, grey, plain], NORMALISER))
    assert_same(first, pictures[index] / 255)
    assert_same(third, first)
    assert_same(second, F.rgb_to_grayscale(first, num_output_channels=3))


def test_whole_images_where_scale_is_none():
    pictures = images(4, 12)
    view = {"scale": None, "flip": 0.0, "jitter": (0, 0, 0, 0), "grayscale": 0.0}
    same, small = augment(pack(pictures), [View(12, **view), View(5, **view)], NORMALISER)
    assert_same(shown(same), pictures / 255)
    resized = F.resize(pictures / 255, [5, 5], InterpolationMode.BILINEAR, antialias=True)
    assert_same(shown(small), resized)


def test_shared_flip_flips_all_views_of_an_image_or_none():
    torch.manual_seed(0)
    ramp = torch.arange(8, dtype=torch.uint8).mul(30).expand(64, 3, 8, 8)
    settings_ = {"jitter": (0, 0, 0, 0), "grayscale": 0.0}
    kinds = [View(8, **settings_), View(8, translate=1, **settings_), View(4, **settings_)]

    def flipped(shared):
        views = augment(pack(ramp), kinds, NORMALISER, shared_flip=shared)
        return torch.stack([view[:, 0, :, 0].mean(-1) > view[:, 0, :, -1].mean(-1) for view in views])

    together = flipped(True)
    assert (together == together[0]).all()
    assert 16 < together[0].sum() < 48
    assert not (flipped(False) == together[0]).all()


def test_a_seed_decides_the_views():
    pixels, views = pack(images(6, 8)), [View(8, blur=0.5), View(4, solarize=0.5)]

    def views_of(seed):
        torch.manual_seed(seed)
        return augment(pixels, views, NORMALISER)

    again, other = views_of(1), views_of(2)
    for a, b, c in zip(views_of(1), again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_images_are_recoloured_as_whole_images_are_augmented():
    pictures = images(40, 12)
    for changes in ({}, {"jitter": (0.4, 0.4, 0.4, 0.2), "jitter_probability": 1.0}, {"blur": 0.5, "flip": 0.9}):
        view = View(12, scale=None, **changes)
        torch.manual_seed(1)
        (expected,) = augment(pack(pictures), [view], NORMALISER)
        plain = unaugmented(pack(pictures), NORMALISER)
        before = plain.clone()
        torch.manual_seed(1)
        found = recoloured(plain, view, NORMALISER)
        assert_same(found, expected, 5e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(plain, before)
        assert (found - plain).abs().amax((1, 2, 3)).gt(0.1).float().mean() > 0.5


def test_other_dtypes_are_the_same_views_rounded():
    pixels = pack(images(6, 8))
    for dtype in (torch.bfloat16, torch.float16):
        torch.manual_seed(0)
        (full,) = augment(pixels, [View(8)], NORMALISER)
        torch.manual_seed(0)
        (rounded,) = augment(pixels, [View(8)], NORMALISER, dtype=dtype)
        assert rounded.dtype == dtype
        assert torch.equal(full.to(dtype), rounded)


def test_the_data_are_left_as_they_are():
    pixels = pack(images(4, 8))
    before = pixels.clone()
    augment(pixels, [View(8, blur=1.0, solarize=1.0)], NORMALISER)
    unaugmented(pixels, NORMALISER)
    assert torch.equal(pixels, before)


def test_translate_to_another_size_is_named():
    with pytest.raises(ValueError, match="translate keeps"):
        augment(pack(images(2, 8)), [View(6, translate=1)], NORMALISER)


def test_to_recolour_by_a_view_that_crops_is_named():
    for view in (View(8), View(8, scale=None, translate=1)):
        with pytest.raises(ValueError, match="stay whole"):
            recoloured(torch.zeros(2, 3, 8, 8), view, NORMALISER)


# ------------------------------------------------------------------------------ compiled

KINDS = {
    "simclr": [View(8), View(8)],
    "byol": [View(8, blur=1.0), View(8, blur=0.1, solarize=0.2)],
    "multi-crop": [View(8), View(8), View(4, scale=(0.05, 0.3)), View(4, scale=(0.05, 0.3))],
    "amdim": [View(8, translate=1), View(8, translate=1)],
    "plain": [View(8, jitter=(0, 0, 0, 0), grayscale=0.0)],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_augment_is_one_graph_without_host_synchronisation(kind):
    """`fullgraph` and fake tensors admit no branch on data; the graph's results are those of the plain code."""
    pixels, views = pack(images(6, 8)), KINDS[kind]
    torch._dynamo.reset()
    graph = torch.compile(augment, backend="aot_eager", fullgraph=True, dynamic=False)
    shared_flip = kind == "amdim"
    torch.manual_seed(3)
    compiled = graph(pixels, views, NORMALISER, shared_flip=shared_flip)
    torch.manual_seed(3)
    eager = augment(pixels, views, NORMALISER, shared_flip=shared_flip)
    for a, b in zip(compiled, eager, strict=True):
        assert_same(a, b, 5e-5)
        assert a.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_recoloured_is_one_graph_without_host_synchronisation():
    patches, view = torch.randn(6, 3, 8, 8), View(8, scale=None, blur=0.5, solarize=0.2)
    torch._dynamo.reset()
    graph = torch.compile(recoloured, backend="aot_eager", fullgraph=True, dynamic=False)
    torch.manual_seed(3)
    compiled = graph(patches, view, NORMALISER)
    torch.manual_seed(3)
    assert_same(compiled, recoloured(patches, view, NORMALISER), 5e-5)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_compiled_views_equal_eager_ones():
    torch.manual_seed(0)
    pixels = pack(images(6, 8))
    choice = draw([View(8, solarize=0.5), View(8)], 6, 8)
    torch._dynamo.reset()
    compiled = torch.compile(render, fullgraph=True, dynamic=False)(pixels, choice, 8, NORMALISER)
    for ours, plain in zip(compiled, render(pixels, choice, 8, NORMALISER), strict=True):
        assert_same(ours, plain, 5e-5)
