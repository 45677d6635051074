"""augment.py against torchvision: its operations for fixed choices, its laws for random ones."""

import math
import shutil
from itertools import permutations

import pytest
import torch
import torchvision.transforms.v2.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import ColorJitter, InterpolationMode, RandomResizedCrop

from algorithms.images.augment import augment, recoloured, render, unaugmented
from algorithms.images.colour import MEAN, STD, jitter_order
from algorithms.images.store import pack
from algorithms.images.view import SIGMA, Choice, View, draw

few = settings(max_examples=25)


def images(n: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth and noisy images, some nearly grey, some saturated: uint8 [n, 3, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic")
    noise = torch.rand(n, 3, side, side, generator=generator) - 0.5
    contrast = torch.linspace(0, 2, n)[:, None, None, None]
    return ((picture + 0.3 * noise - 0.5) * contrast * 255 + 128).clamp(0, 255).to(torch.uint8)


def choose(n: int, side: int, **changes) -> Choice:
    """n choices that leave an image of `side` pixels as it is, but for `changes`: numbers, or lists of n."""
    choice = Choice(0, 0, side, side, False, *[None] * 10)._replace(**changes)
    return Choice(*(None if x is None else torch.tensor(x if isinstance(x, list) else [x] * n) for x in choice))


def jitter(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, order=0, on=True) -> dict:
    return {
        "jitter": on,
        "brightness": brightness,
        "contrast": contrast,
        "saturation": saturation,
        "hue": hue,
        "order": order,
    }


def shown(output: torch.Tensor) -> torch.Tensor:
    """Without the normalisation: [n, 3, size, size] in 0 .. 1."""
    return output * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


def made(pictures: torch.Tensor, choice: Choice, size: int, translate: bool = False) -> torch.Tensor:
    return shown(render(pack(pictures), choice, size, translate)[0])


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------ fixed choices


@st.composite
def crops(draw):
    side, size = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    return (
        side,
        size,
        draw(st.integers(0, side - height)),
        draw(st.integers(0, side - width)),
        height,
        width,
        draw(st.booleans()),
    )


@few
@given(crops())
def test_crop_resize_and_flip_equal_torchvisions(crop):
    side, size, top, left, height, width, flip = crop
    pictures = images(3, side)
    choice = choose(
        3,
        side,
        top=float(top),
        left=float(left),
        height=float(height),
        width=float(width),
        flip=flip,
    )
    ours = made(pictures, choice, size)

    def theirs(picture):
        picture = F.resized_crop(picture, top, left, height, width, [size, size], antialias=True)
        return F.horizontal_flip(picture) if flip else picture

    assert_same(ours, theirs(pictures / 255))
    for mine, picture in zip(ours, pictures, strict=True):
        grey_levels = F.pil_to_tensor(theirs(Image.fromarray(picture.permute(1, 2, 0).numpy())))
        assert (mine * 255 - grey_levels).abs().max() <= 1 + 1e-3  # PIL rounds after each of two passes


@few
@given(
    side=st.integers(6, 20),
    down=st.integers(-4, 4),
    right=st.integers(-4, 4),
    flip=st.booleans(),
)
def test_translate_is_a_crop_of_the_reflect_padded_image(side, down, right, flip):
    pictures = images(3, side)
    choice = choose(3, side, top=float(down), left=float(right), flip=flip)
    padded = F.pad(pictures / 255, [4, 4, 4, 4], padding_mode="reflect")
    moved = padded[:, :, 4 + down : 4 + down + side, 4 + right : 4 + right + side]
    assert_same(made(pictures, choice, side, translate=True), moved.flip(-1) if flip else moved)


FACTOR = st.floats(0.0, 2.0)


@few
@given(FACTOR, FACTOR, FACTOR, st.floats(-0.5, 0.5), st.integers(0, 23))
def test_jitter_in_any_order_equals_torchvisions(brightness, contrast, saturation, hue, order):
    pictures = images(6, 9)
    theirs = pictures / 255
    for operation in jitter_order(order):
        if operation == 0:
            theirs = F.adjust_brightness(theirs, brightness)
        elif operation == 1:
            theirs = F.adjust_contrast(theirs, contrast)
        elif operation == 2:
            theirs = F.adjust_saturation(theirs, saturation)
        else:
            theirs = F.adjust_hue(theirs, hue)
    choice = choose(6, 9, **jitter(brightness, contrast, saturation, hue, order))
    assert_same(made(pictures, choice, 9), theirs)


def test_each_view_of_a_batch_is_jittered_in_its_own_order():
    pictures = images(24, 8)
    factors = {"brightness": 1.5, "contrast": 0.6, "saturation": 1.7, "hue": 0.2}
    together = made(pictures, choose(24, 8, **jitter(**factors, order=list(range(24)))), 8)
    for number in range(24):
        alone = made(pictures[number : number + 1], choose(1, 8, **jitter(**factors, order=number)), 8)
        assert_same(together[number : number + 1], alone)


def test_the_24_numbers_are_the_24_orders():
    assert sorted(tuple(jitter_order(number)) for number in range(24)) == sorted(permutations(range(4)))


def test_hue_leaves_every_grey_as_it_is():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    assert_same(made(grey, choose(1, 16, **jitter(hue=0.3)), 16), grey / 255, 1e-6)


@few
@given(st.integers(2, 20), st.floats(1e-3, 2.0))
def test_blur_equals_torchvisions_with_the_widest_kernel(side, sigma):
    pictures = images(3, side)
    theirs = F.gaussian_blur(pictures / 255, [2 * side - 1] * 2, [sigma] * 2)
    assert_same(made(pictures, choose(3, side, blur=True, sigma=sigma), side), theirs)


def test_the_least_blur_leaves_an_image_as_it_is():
    for side in (1, 2, 33, 96):
        pictures = images(2, side)
        (blurred,) = render(pack(pictures), choose(2, side, blur=True, sigma=SIGMA[0] * side), side)
        assert torch.equal(blurred, unaugmented(pack(pictures)))


def test_blur_grayscale_and_solarize_equal_torchvisions_where_they_are_on_and_do_nothing_elsewhere():
    pictures = images(7, 8)[1:]  # the first is flat
    on = [True, False, True, False, False, True]
    off = made(pictures, choose(6, 8), 8)
    assert_same(off, pictures / 255)
    rgb = pictures / 255
    for name, theirs in (
        ("blur", F.gaussian_blur(rgb, [15, 15], [1.3, 1.3])),
        ("grayscale", F.rgb_to_grayscale(rgb, num_output_channels=3)),
        ("solarize", F.solarize(rgb, 0.5)),
    ):
        ours = made(pictures, choose(6, 8, **{name: on}, sigma=1.3), 8)
        expected = torch.where(torch.tensor(on)[:, None, None, None], theirs, rgb)
        assert_same(ours, expected)
        assert (ours - off).flatten(1).abs().amax(1).gt(1e-3).tolist() == on


def test_solarize_inverts_the_grey_levels_that_it_inverts_in_pil():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    ours = made(grey, choose(1, 16, solarize=True), 16)
    theirs = F.pil_to_tensor(F.solarize(Image.fromarray(grey[0].permute(1, 2, 0).numpy()), 128))
    assert_same(ours[0], theirs / 255)


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
    (ours,) = render(pack(pictures), choice, 12)
    difference = (ours - F.normalize(theirs, MEAN, STD)).abs()
    assert difference[~near_threshold].max() < 5e-5
    assert near_threshold.float().mean() < 0.01


def test_unaugmented_is_the_image_normalised():
    pictures = images(5, 7)
    index = torch.tensor([3, 0, 3])
    ours = unaugmented(pack(pictures[index]))
    assert_same(ours, F.normalize(pictures[index] / 255, MEAN, STD))
    assert ours.is_contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------ random choices

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
    ours = draw([View(8, jitter=strengths)], MANY, 8)
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
        for rows, view in zip(getattr(choice, name).view(MANY, 2).T, views, strict=True):
            p = getattr(view, setting)
            assert abs(rows.double().mean() - p) <= 3.3 * math.sqrt(p * (1 - p) / MANY), name
    assert ks_distance(choice.sigma[::2], torch.empty(MANY).uniform_(0.1 * 8 / 224, 2 * 8 / 224)) < KS_LIMIT
    drawn = [choice.jitter[::2], choice.flip[::2], choice.grayscale[::2], choice.flip[1::2], choice.solarize[1::2]]
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


def test_every_image_and_every_view_gets_its_own_augmentation():
    torch.manual_seed(0)
    picture = images(3, 8)[1:2].repeat(40, 1, 1, 1)
    views = augment(pack(picture), [View(8), View(8)])
    rows = torch.cat(views).flatten(1)
    distance = torch.cdist(rows, rows) + torch.eye(len(rows)) * 1e9
    assert distance.min() > 1e-3


def test_a_batch_of_one_image_and_a_pixel_of_any_size():
    torch.manual_seed(0)
    for side, size in ((1, 1), (2, 5), (8, 4)):
        (view,) = augment(pack(images(1, side)), [View(size, blur=0.5, solarize=0.5)])
        assert view.shape == (1, 3, size, size)
        assert view.isfinite().all()


def test_views_of_several_sizes_come_in_the_order_asked():
    torch.manual_seed(0)
    sizes = [16, 8, 16, 8, 8]
    views = augment(pack(images(2, 16)), [View(size) for size in sizes])
    assert [tuple(view.shape) for view in views] == [(2, 3, size, size) for size in sizes]
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views)


def test_views_are_of_the_images_asked_for_and_keep_each_views_settings():
    """Rows are views of images in order: an image is known by its colour, a view by its grayscale."""
    colours = torch.tensor([[200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=torch.uint8)
    pictures = colours[:, :, None, None].repeat(1, 1, 8, 8)
    index = torch.tensor([2, 0])
    plain = View(8, jitter=(0, 0, 0, 0), grayscale=0.0)
    grey = View(8, jitter=(0, 0, 0, 0), grayscale=1.0)
    first, second, third = map(shown, augment(pack(pictures[index]), [plain, grey, plain]))
    assert_same(first, pictures[index] / 255)
    assert_same(third, first)
    assert_same(second, F.rgb_to_grayscale(first, num_output_channels=3))


def test_whole_images_where_scale_is_none():
    pictures = images(4, 12)
    view = {"scale": None, "flip": 0.0, "jitter": (0, 0, 0, 0), "grayscale": 0.0}
    same, small = augment(pack(pictures), [View(12, **view), View(5, **view)])
    assert_same(shown(same), pictures / 255)
    resized = F.resize(pictures / 255, [5, 5], InterpolationMode.BILINEAR, antialias=True)
    assert_same(shown(small), resized)


def test_shared_flip_flips_all_views_of_an_image_or_none():
    torch.manual_seed(0)
    ramp = torch.arange(8, dtype=torch.uint8).mul(30).expand(64, 3, 8, 8)
    settings_ = {"jitter": (0, 0, 0, 0), "grayscale": 0.0}
    kinds = [View(8, **settings_), View(8, translate=1, **settings_), View(4, **settings_)]

    def flipped(shared):
        views = augment(pack(ramp), kinds, shared_flip=shared)
        return torch.stack([view[:, 0, :, 0].mean(-1) > view[:, 0, :, -1].mean(-1) for view in views])

    together = flipped(True)
    assert (together == together[0]).all()
    assert 16 < together[0].sum() < 48
    assert not (flipped(False) == together[0]).all()


def test_the_blur_of_any_view_is_the_papers_at_224_px_scaled_to_the_image():
    torch.manual_seed(0)
    for side, size in ((224, 224), (224, 96), (96, 96), (96, 41)):
        sigma = draw([View(size, blur=1.0)], 2000, side).sigma
        assert 0.1 * side / 224 <= sigma.min() < 0.12 * side / 224
        assert 1.98 * side / 224 < sigma.max() <= 2 * side / 224


def test_a_seed_decides_the_views():
    pixels, views = pack(images(6, 8)), [View(8, blur=0.5), View(4, solarize=0.5)]

    def views_of(seed):
        torch.manual_seed(seed)
        return augment(pixels, views)

    again, other = views_of(1), views_of(2)
    for a, b, c in zip(views_of(1), again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_images_are_recoloured_as_whole_images_are_augmented():
    pictures = images(40, 12)
    for changes in ({}, {"jitter": (0.4, 0.4, 0.4, 0.2), "jitter_probability": 1.0}, {"blur": 0.5, "flip": 0.9}):
        view = View(12, scale=None, **changes)
        torch.manual_seed(1)
        (expected,) = augment(pack(pictures), [view])
        plain = unaugmented(pack(pictures))
        before = plain.clone()
        torch.manual_seed(1)
        found = recoloured(plain, view)
        assert_same(found, expected, 5e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(plain, before)
        assert (found - plain).abs().amax((1, 2, 3)).gt(0.1).float().mean() > 0.5


def test_other_dtypes_are_the_same_views_rounded():
    pixels = pack(images(6, 8))
    for dtype in (torch.bfloat16, torch.float16):
        torch.manual_seed(0)
        (full,) = augment(pixels, [View(8)])
        torch.manual_seed(0)
        (rounded,) = augment(pixels, [View(8)], dtype=dtype)
        assert rounded.dtype == dtype
        assert torch.equal(full.to(dtype), rounded)


def test_the_data_are_left_as_they_are():
    pixels = pack(images(4, 8))
    before = pixels.clone()
    augment(pixels, [View(8, blur=1.0, solarize=1.0)])
    unaugmented(pixels)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize(
    ("settings_", "what"),
    [({"ratio": (1.2, 1.5)}, "ratio"), ({"jitter": (0.4, 0.4, 0.4, 0.7)}, "hue")],
)
def test_impossible_views_are_named(settings_, what):
    with pytest.raises(ValueError, match=what):
        View(8, **settings_)


def test_translate_to_another_size_is_named():
    with pytest.raises(ValueError, match="translate keeps"):
        augment(pack(images(2, 8)), [View(6, translate=1)])


def test_to_recolour_by_a_view_that_crops_is_named():
    for view in (View(8), View(8, scale=None, translate=1)):
        with pytest.raises(ValueError, match="stay whole"):
            recoloured(torch.zeros(2, 3, 8, 8), view)


# ------------------------------------------------------------------------------ compiled

KINDS = {
    "simclr": [View(8), View(8)],
    "byol": [View(8, blur=1.0), View(8, blur=0.1, solarize=0.2)],
    "multi-crop": [View(8), View(8), View(4, scale=(0.05, 0.3)), View(4, scale=(0.05, 0.3))],
    "amdim": [View(8, translate=1), View(8, translate=1)],
    "plain": [View(8, jitter=(0, 0, 0, 0), grayscale=0.0)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_augment_is_one_graph_without_host_synchronisation(kind):
    """`fullgraph` and fake tensors admit no branch on data; the graph's results are those of the plain code."""
    pixels, views = pack(images(6, 8)), KINDS[kind]
    torch._dynamo.reset()
    graph = torch.compile(augment, backend="aot_eager", fullgraph=True, dynamic=False)
    shared_flip = kind == "amdim"
    torch.manual_seed(3)
    compiled = graph(pixels, views, shared_flip=shared_flip)
    torch.manual_seed(3)
    eager = augment(pixels, views, shared_flip=shared_flip)
    for a, b in zip(compiled, eager, strict=True):
        assert_same(a, b, 5e-5)
        assert a.is_contiguous(memory_format=torch.channels_last)


def test_recoloured_is_one_graph_without_host_synchronisation():
    patches, view = torch.randn(6, 3, 8, 8), View(8, scale=None, blur=0.5, solarize=0.2)
    torch._dynamo.reset()
    graph = torch.compile(recoloured, backend="aot_eager", fullgraph=True, dynamic=False)
    torch.manual_seed(3)
    compiled = graph(patches, view)
    torch.manual_seed(3)
    assert_same(compiled, recoloured(patches, view), 5e-5)


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_compiled_views_equal_eager_ones():
    torch.manual_seed(0)
    pixels = pack(images(6, 8))
    choice = draw([View(8, solarize=0.5), View(8)], 6, 8)
    torch._dynamo.reset()
    compiled = torch.compile(render, fullgraph=True, dynamic=False)(pixels, choice, 8)
    for ours, plain in zip(compiled, render(pixels, choice, 8), strict=True):
        assert_same(ours, plain, 5e-5)
