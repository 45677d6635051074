"""Encoders by name: widths, stems, sizes of images."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from algorithms.encoders import ENCODERS, SMALL_IMAGE, build_encoder, check_encoder
from algorithms.encoders.pooling import GlobalAveragePool
from algorithms.encoders.transformer import Block, sine_cosine

WIDTHS = {
    "resnet8": 64,
    "resnet18": 512,
    "resnet50": 2048,
    "resnext50": 2048,
    "resnext101": 2048,
    "wide_resnet50": 2048,
    "wide_resnet101": 2048,
    "regnet_y_tiny": 64,
    "regnet_y_400mf": 440,
    "vit_tiny": 192,
    "vit_pico": 64,
}
TRANSFORMERS = ("vit_tiny", "vit_pico")
SMALL = ("resnet8", "regnet_y_tiny", *TRANSFORMERS)


def map_before_pooling(encoder: torch.nn.Module, images: torch.Tensor) -> torch.Size:
    shapes = []
    (pool,) = [module for module in encoder.modules() if isinstance(module, GlobalAveragePool)]
    handle = pool.register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape))
    encoder(images)
    handle.remove()
    return shapes[0]


def test_every_encoder_has_a_width_here():
    assert set(WIDTHS) == set(ENCODERS)


@pytest.mark.parametrize("image_size", [32, 224])
@pytest.mark.parametrize("name", WIDTHS)
def test_an_encoder_gives_one_vector_of_its_width_for_an_image(name, image_size):
    with torch.device("meta"):
        encoder = build_encoder(name, image_size).eval()
        features = encoder(torch.empty(2, 3, image_size, image_size))
    assert features.shape == (2, WIDTHS[name])
    assert encoder.width == WIDTHS[name]
    assert encoder.name == name
    assert encoder.patch == (1 if name not in TRANSFORMERS else 4 if image_size == 32 else 16)


@pytest.mark.parametrize("image_size", [16, 32, 96])
@pytest.mark.parametrize("name", SMALL)
def test_small_encoders_compute_at_every_size_of_image(name, image_size):
    features = build_encoder(name, image_size)(torch.randn(2, 3, image_size, image_size))
    assert features.shape == (2, WIDTHS[name])
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(
    ("name", "image_size", "side"),
    [
        ("resnet18", 32, 4),
        ("resnet50", 32, 4),
        ("resnext101", 32, 4),
        ("resnet18", 16, 2),
        ("resnet18", SMALL_IMAGE, 8),
        ("resnet18", 96, 3),
        ("resnet18", 224, 7),
        ("resnet8", 32, 8),
        ("regnet_y_400mf", 32, 2),
        ("regnet_y_400mf", 224, 7),
    ],
)
def test_small_images_keep_their_resolution_in_the_stem(name, image_size, side):
    """With the stem of ImageNet a 32 px image would be 1x1 before pooling."""
    with torch.device("meta"):
        encoder = build_encoder(name, image_size).eval()
        assert map_before_pooling(encoder, torch.empty(2, 3, image_size, image_size))[2:] == (side, side)


@pytest.mark.parametrize(("image_size", "gflop"), [(SMALL_IMAGE, 10.4), (96, 1.5), (224, 8.2)])
def test_the_small_stem_costs_what_is_said_of_it(image_size, gflop):
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_encoder("resnet50", image_size).eval()(torch.empty(1, 3, image_size, image_size))
    assert round(counter.get_total_flops() / 1e9, 1) == gflop


@pytest.mark.parametrize("name", [name for name in WIDTHS if name not in TRANSFORMERS])
def test_a_convolutional_encoder_takes_local_crops_of_another_size(name):
    with torch.device("meta"):
        encoder = build_encoder(name, 32).eval()
        assert encoder(torch.empty(2, 3, 18, 18)).shape == (2, WIDTHS[name])


@pytest.mark.parametrize(("size", "side"), [(16, 4), (18, 4), (32, 8), (48, 12)])
def test_a_vit_interpolates_its_positions_for_crops_of_another_size(size, side):
    torch.manual_seed(0)
    encoder = build_encoder("vit_tiny", 32).eval()
    seen = []
    encoder.blocks.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        # Positions that grow from left to right by 1 a patch, the same in every row.
        encoder.positions[:, 1:] = torch.arange(8.0).repeat(8)[None, :, None]
        assert encoder(images).shape == (2, 192)
        patches = encoder.patches(images).flatten(2).transpose(1, 2)
    added = (seen[0][:, 1:] - patches).view(2, side, side, 192)
    expected = (torch.arange(side) + 0.5) * 8 / side - 0.5
    torch.testing.assert_close(added[0, 1, 2:-2, 5], expected[2:-2], atol=0.2, rtol=0)
    torch.testing.assert_close(added[0, 0], added[1, side - 1], atol=1e-4, rtol=0)


def test_every_block_of_a_vit_is_initialised_for_itself():
    first, *others = (list(block.parameters()) for block in build_encoder("vit_tiny", 16).blocks.layers)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert a.ndim == 1 or not torch.equal(a, b)
            assert a.ndim == 1 or 0.015 < b.std() < 0.025


def test_a_vit_uses_its_positions_as_they_are_at_its_own_size():
    encoder = build_encoder("vit_tiny", 16).eval()
    assert encoder.positions.shape == (1, 1 + 16, 192)
    images = torch.randn(2, 3, 16, 16)
    before = encoder(images)
    with torch.no_grad():
        encoder.positions[:, 3] += 1
    assert not torch.allclose(encoder(images), before)


def test_a_vit_gives_all_tokens_and_its_feature_is_that_of_the_class():
    encoder = build_encoder("vit_pico", 16).eval()
    images = torch.randn(2, 3, 16, 16)
    tokens = encoder.tokens(images)
    assert tokens.shape == (2, 1 + 16, 64)
    torch.testing.assert_close(encoder(images), tokens[:, 0])


def test_a_vit_that_keeps_all_patches_in_another_order_gives_their_tokens_in_that_order():
    encoder = build_encoder("vit_pico", 16).eval()
    images, order = torch.randn(2, 3, 16, 16), torch.stack([torch.randperm(16) for _ in range(2)])
    whole, kept = encoder.tokens(images), encoder.tokens(images, kept=order)
    torch.testing.assert_close(kept[:, 1:], whole[:, 1:].gather(1, order[..., None].expand(-1, -1, 64)))
    torch.testing.assert_close(kept[:, 0], whole[:, 0])


def test_a_vit_does_not_see_the_patches_that_it_does_not_keep():
    encoder = build_encoder("vit_pico", 16).eval()
    images, kept = torch.randn(2, 3, 16, 16), torch.tensor([[0, 1, 2], [0, 1, 2]])
    other = images.clone()
    other[:, :, 4:] += 1  # below the first row of patches
    torch.testing.assert_close(encoder.tokens(images, kept=kept), encoder.tokens(other, kept=kept))


def test_a_masked_patch_shows_a_vit_nothing_but_where_it_is():
    encoder = build_encoder("vit_pico", 16).eval()
    images, masked = torch.randn(2, 3, 16, 16), torch.zeros(2, 16, dtype=torch.bool)
    masked[:, 5] = True
    other = images.clone()
    other[:, :, 4:8, 4:8] += 1
    seen = [encoder.tokens(each, masked=masked, mask=torch.randn(64, generator=torch.Generator().manual_seed(0)))
            for each in (images, other)]  # fmt: skip
    torch.testing.assert_close(*seen)
    assert not torch.allclose(encoder.tokens(images), encoder.tokens(other))


def test_dropped_paths_leave_the_tokens_as_they_were_and_scale_what_is_kept():
    torch.manual_seed(0)
    block = Block(8, 2).train()
    tokens = torch.randn(4000, 3, 8)
    whole = block(tokens)
    block.drop_path = 0.25
    found = block(tokens)
    unchanged = (found == tokens).all(dim=(1, 2)).float().mean()
    assert unchanged == pytest.approx(0.25**2, abs=0.02)
    torch.testing.assert_close((found - tokens).mean(0), (whole - tokens).mean(0), atol=0.05, rtol=0)


def test_paths_are_dropped_more_often_the_deeper_the_block_and_never_in_eval_mode():
    encoder = build_encoder("vit_pico", 16)
    encoder.drop_paths(0.1)
    rates = [block.drop_path for block in encoder.blocks.layers]
    assert rates == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08, 0.1])
    images = torch.randn(2, 3, 16, 16)
    encoder.eval()
    torch.testing.assert_close(encoder(images), encoder(images), atol=0, rtol=0)


def test_sine_cosine_positions_are_those_of_moco_v3_and_tell_all_patches_apart():
    places = sine_cosine(3, 8)
    assert places.shape == (1, 10, 8)
    assert not places[0, 0].any()
    row, column = 2, 1
    angles = [column, column * 10_000**-0.5, row, row * 10_000**-0.5]
    expected = [f(a) for pair in (angles[:2], angles[2:]) for f in (math.sin, math.cos) for a in pair]
    torch.testing.assert_close(places[0, 1 + row * 3 + column], torch.tensor(expected))
    assert torch.cdist(places[0], places[0]).fill_diagonal_(1).min() > 0.1


def test_a_vit_that_begins_as_mae_keeps_its_positions_and_has_the_uniform_weights_of_glorot():
    encoder = build_encoder("vit_pico", 16)
    encoder.begin_as_mae()
    assert not encoder.positions.requires_grad
    torch.testing.assert_close(encoder.positions, sine_cosine(4, 64), atol=0, rtol=0)
    for weight, bound in (
        (encoder.blocks.layers[0].self_attn.in_proj_weight, (6 / 128) ** 0.5),
        (encoder.blocks.layers[3].linear1.weight, (6 / (64 + 256)) ** 0.5),
        (encoder.patches.weight, (6 / (64 + 48)) ** 0.5),
    ):
        assert 0.95 * bound < weight.abs().max() <= bound


def test_the_same_seed_builds_the_same_encoder():
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        built.append(build_encoder("resnet8", 32).state_dict())
    assert all(torch.equal(built[0][name], built[1][name]) for name in built[0])


def test_an_unknown_encoder_names_the_nearest_ones():
    with pytest.raises(ValueError, match="resnet18"):
        check_encoder("resnet81")
    with pytest.raises(ValueError, match="no encoder"):
        build_encoder("alexnet", 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_global_average_pool_is_pytorchs_and_its_gradient_keeps_the_maps_layout(dtype):
    torch.manual_seed(0)
    maps = torch.randn(4, 16, 5, 3, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(4, 16, dtype=dtype)
    gradients = []
    for pool in (GlobalAveragePool(), torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())):
        pooled = pool(maps.relu())
        gradients.append((pooled, *torch.autograd.grad((pooled * weight).sum(), maps)))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0][1].is_contiguous(memory_format=torch.channels_last)
