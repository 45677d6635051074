"""Encoders by name: widths, stems, sizes of images."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from algorithms.encoders import ENCODERS, SMALL_IMAGE, build_encoder, check_encoder
from algorithms.encoders.pooling import GlobalAveragePool

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
}
SMALL = ("resnet8", "regnet_y_tiny", "vit_tiny")


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
    assert encoder.patch == (1 if name != "vit_tiny" else 4 if image_size == 32 else 16)


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


@pytest.mark.parametrize("name", [name for name in WIDTHS if name != "vit_tiny"])
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
