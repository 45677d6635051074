"""Views by the size of the images: the numbers of the authors' code, written out with their places."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts import views
from bench.search.space import load

SIZES = (32, 64, 65, 224)
SMALL = (32, 64)


def setting(image_size: int) -> Setting:
    return Setting(images=64, image_size=image_size, batch_size=8, epochs=4)


def encoder(name: str, image_size: int) -> nn.Module:
    with torch.device("meta"):
        return build_encoder(name, image_size)


def colours(view) -> tuple:
    return (*view.jitter, view.jitter_probability, view.grayscale, view.blur, view.solarize)


@pytest.mark.parametrize("size", SIZES)
def test_simclr_distorts_colours_at_half_strength_on_small_images_alone(size):
    # google-research/simclr, run.py: color_jitter_strength 1.0; README, CIFAR-10: 0.5 and no blur.
    expected = (0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.0, 0.0) if size in SMALL else (0.8, 0.8, 0.8, 0.2, 0.8, 0.2, 0.5, 0.0)
    for view in views.simclr_views(setting(size)):
        assert colours(view) == pytest.approx(expected)
        assert view.scale == (0.08, 1.0)


@pytest.mark.parametrize("size", SIZES)
def test_moco_crops_and_jitters_as_its_authors_do(size):
    for view in views.moco_views(setting(size)):
        if size in SMALL:  # facebookresearch/moco, colab-notebook: RandomResizedCrop(32), jitter with probability 0.8
            assert colours(view) == (0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.0, 0.0)
            assert view.scale == (0.08, 1.0)
        else:  # main_moco.py: RandomResizedCrop(224, scale=(0.2, 1.)), ColorJitter(0.4, 0.4, 0.4, 0.4), always
            assert colours(view) == (0.4, 0.4, 0.4, 0.4, 1.0, 0.2, 0.0, 0.0)
            assert view.scale == (0.2, 1.0)


@pytest.mark.parametrize("size", SIZES)
def test_mocov2_crops_a_fifth_or_more_of_large_images(size):
    # main_moco.py, --aug-plus; the notebook on CIFAR-10
    for view in views.mocov2_views(setting(size)):
        assert colours(view) == (0.4, 0.4, 0.4, 0.1, 0.8, 0.2, 0.0 if size in SMALL else 0.5, 0.0)
        assert view.scale == ((0.08 if size in SMALL else 0.2), 1.0)


@pytest.mark.parametrize(
    ("name", "size", "least"), [("resnet18", 32, 0.08), ("resnet18", 224, 0.2), ("vit_tiny", 224, 0.08)]
)
def test_mocov3_crops_a_fifth_or_more_for_a_resnet(name, size, least):
    # facebookresearch/moco-v3, CONFIG.md: --crop-min=.2 for ResNet-50; main_moco.py: 0.08
    pair = views.mocov3_views(setting(size), encoder(name, size))
    assert [view.scale for view in pair] == [(least, 1.0)] * 2
    assert [view.solarize for view in pair] == [0.0, 0.2]
    assert [view.blur for view in pair] == ([0.0, 0.0] if size in SMALL else [1.0, 0.1])


@pytest.mark.parametrize(
    ("method", "name", "size", "local", "whole", "part", "side"),
    [
        # solo-learn scripts/pretrain/cifar-multicrop/augmentations/swav.yaml
        ("swav", "resnet18", 32, 0, (0.2, 1.0), None, None),
        ("swav", "resnet18", 32, 6, (0.2, 1.0), (0.08, 0.5), 18),
        # facebookresearch/swav scripts/swav_400ep_2x224_pretrain.sh; swav_400ep_pretrain.sh
        ("swav", "resnet18", 224, 0, (0.08, 1.0), None, None),
        ("swav", "resnet18", 224, 6, (0.14, 1.0), (0.05, 0.14), 96),
        # lightly cifar10_benchmark.py, DINOTransform(n_local_views=0); solo-learn's local crops
        ("dino", "resnet18", 32, 0, (0.4, 1.0), None, None),
        ("dino", "resnet18", 32, 6, (0.4, 1.0), (0.08, 0.5), 18),
        ("dino", "vit_tiny", 32, 6, (0.4, 1.0), (0.08, 0.5), 16),
        # facebookresearch/dino main_dino.py, help of --local_crops_number; README, ResNet-50; main_dino.py, for a ViT
        ("dino", "resnet18", 224, 0, (0.14, 1.0), None, None),
        ("dino", "resnet18", 224, 6, (0.14, 1.0), (0.05, 0.14), 96),
        ("dino", "vit_tiny", 224, 0, (0.14, 1.0), None, None),
        ("dino", "vit_tiny", 224, 6, (0.4, 1.0), (0.05, 0.4), 96),
    ],
)
def test_crops_have_the_scales_and_sides_of_their_papers(method, name, size, local, whole, part, side):
    made = {"swav": views.swav_views, "dino": views.dino_views}[method](setting(size), encoder(name, size), local)
    assert [(view.size, view.scale) for view in made[:2]] == [(size, whole)] * 2
    assert [(view.size, view.scale) for view in made[2:]] == [(side, part)] * local


def test_local_crops_have_the_colours_of_the_papers():
    # facebookresearch/swav src/multicropdataset.py: all crops alike; main_dino.py: blur 0.5, never solarised
    whole, _, part = views.swav_views(setting(224), encoder("resnet18", 224), 1)
    assert colours(part) == colours(whole) == pytest.approx((0.8, 0.8, 0.8, 0.2, 0.8, 0.2, 0.5, 0.0))
    *pair, part = views.dino_views(setting(224), encoder("resnet18", 224), 1)
    assert [colours(view)[-2:] for view in (*pair, part)] == [(1.0, 0.0), (0.1, 0.2), (0.5, 0.0)]
    assert part.jitter == (0.4, 0.4, 0.2, 0.1)


@given(st.integers(8, 512), st.sampled_from(["resnet8", "vit_tiny"]))
def test_local_crops_are_smaller_than_images_and_leave_no_part_of_a_patch(size, name):
    patch = 1 if name == "resnet8" else 4 if size <= 64 else 16
    part = views.swav_views(setting(size), encoder(name, size), 1)[2]
    assert 0 < part.size < size
    assert part.size % patch == 0
    assert abs(part.size - size * (18 / 32 if size <= 64 else 96 / 224)) <= patch / 2


def test_a_strength_of_colours_is_always_asked_for():
    with pytest.raises(TypeError, match="jitter"):
        views.colour_view(setting(32))


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", ["swav", "seer", "dino"])
def test_the_recipes_have_local_crops_where_images_are_large_alone(name, size):
    space = load(name, size)
    assert (space.defaults["local_crops"] > 0) is (size > 64)
    assert "local_crops" in space.searched
    assert {0, space.defaults["local_crops"]} <= set(space.choices["local_crops"])
