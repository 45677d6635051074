"""MAE against a slow transcription of its paper, and the traps of its kind."""

import pytest
import torch

from algorithms.encoders import build_encoder
from algorithms.encoders.transformer import VisionTransformer, sine_cosine
from algorithms.mae import MAE, pixel_error
from algorithms.method import Setting
from bench.search.space import load


def mae(image_size: int = 16, **changes) -> MAE:
    torch.manual_seed(0)
    hyperparameters = {"mask_ratio": 0.75, "decoder_width": 32, "decoder_depth": 2}
    encoder = MAE.build_encoder("resnet8", image_size)
    return MAE(Setting(images=64, image_size=image_size, batch_size=8, epochs=4), encoder, **hyperparameters | changes)


def drawn(method: MAE, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A loss, and the places of the patches that were kept and masked for it."""
    seen = {}

    def note(given, *, kept):
        seen["kept"] = kept
        return tokens(given, kept=kept)

    tokens, method.encoder.tokens = method.encoder.tokens, note
    loss = method.loss([images], torch.arange(len(images)))
    method.encoder.tokens = tokens
    everything = set(range(method.places))
    masked = [sorted(everything - set(row.tolist())) for row in seen["kept"]]
    return loss, seen["kept"], torch.tensor(masked)


def patch(image: torch.Tensor, place: int, side: int) -> torch.Tensor:
    row, column = 4 * (place // side), 4 * (place % side)
    return image[:, row : row + 4, column : column + 4]


def test_the_loss_is_the_mean_square_on_the_normalised_pixels_of_masked_patches_alone():
    method, images = mae().eval(), torch.randn(4, 3, 16, 16)
    loss, kept, masked = drawn(method, images)
    predicted = method.predict(images, kept, masked).double()
    errors = []
    for image, row, places in zip(images.double(), predicted, masked.tolist(), strict=True):
        for pixels, place in zip(row, places, strict=True):
            truth = patch(image, place, 4).flatten()
            mean = sum(truth.tolist()) / 48
            variance = sum((value - mean) ** 2 for value in truth.tolist()) / 47
            wanted = [(value - mean) / (variance + 1e-6) ** 0.5 for value in truth.tolist()]
            errors += [(p - w) ** 2 for p, w in zip(pixels.tolist(), wanted, strict=True)]
    assert len(errors) == 4 * 12 * 48
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_a_uniform_patch_has_a_finite_loss_and_gradient():
    predicted = torch.randn(2, 3, 48, requires_grad=True)
    loss = pixel_error(predicted, torch.ones(2, 3, 48))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(predicted.grad).all()


def test_the_loss_is_computed_in_full_precision():
    predicted, patches = torch.randn(2, 3, 48).bfloat16(), torch.randn(2, 3, 48)
    with torch.autocast("cpu", torch.bfloat16):
        found = pixel_error(predicted, patches)
    assert found.dtype == torch.float32
    assert found == pixel_error(predicted.float(), patches)


def test_the_encoder_never_sees_what_is_masked():
    method, images = mae().eval(), torch.randn(4, 3, 16, 16)
    _, kept, masked = drawn(method, images)
    before = method.predict(images, kept, masked)
    hidden, shown = images.clone(), images.clone()
    for i in range(4):
        for place in masked[i].tolist():
            patch(hidden[i], place, 4).fill_(7.0)
        patch(shown[i], int(kept[i, 0]), 4).fill_(7.0)
    assert torch.equal(method.predict(hidden, kept, masked), before)
    assert not torch.allclose(method.predict(shown, kept, masked), before)


def test_the_encoder_gets_a_quarter_of_the_patches_and_every_image_a_mask_of_its_own():
    method = mae(32)
    lengths = []
    method.encoder.blocks.register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape))
    _, kept, _ = drawn(method, torch.randn(8, 3, 32, 32))
    assert lengths == [(8, 1 + 16, 64)]
    assert len({tuple(sorted(row)) for row in kept.tolist()}) == 8
    assert all(len(set(row)) == 16 for row in kept.tolist())
    _, other, _ = drawn(method, torch.randn(8, 3, 32, 32))
    assert not torch.equal(kept, other)


def test_the_order_of_the_patches_that_are_kept_is_nothing_since_positions_go_with_them():
    method, images = mae().eval(), torch.randn(4, 3, 16, 16)
    kept, masked = torch.arange(4).expand(4, -1), torch.arange(4, 16).expand(4, -1)
    there = method.predict(images, kept, masked)
    torch.testing.assert_close(method.predict(images, kept.flip(1), masked), there, rtol=1e-4, atol=1e-5)
    turned = method.predict(images, kept, masked.flip(1)).flip(1)
    torch.testing.assert_close(turned, there, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(there[:, 0], there[:, 1])


def test_positions_of_both_networks_are_fixed_and_all_else_learns():
    method = mae()
    torch.testing.assert_close(method.encoder.positions, torch.nn.Parameter(sine_cosine(4, 64)))
    torch.testing.assert_close(method.positions, sine_cosine(4, 32))
    method.loss([torch.randn(8, 3, 16, 16)], torch.arange(8)).backward()
    assert {name for name, each in method.named_parameters() if each.grad is None} == {"encoder.positions"}
    assert all(each.grad.any() for name, each in method.named_parameters() if each.grad is not None)


def test_the_only_augmentation_is_a_crop_and_a_flip():
    (view,) = mae().views
    assert (view.flip, view.jitter, view.grayscale, view.blur, view.solarize) == (0.5, (0.0,) * 4, 0.0, 0.0, 0.0)
    assert (view.size, view.scale) == (16, (0.2, 1.0))  # main_pretrain.py


def test_an_edge_that_no_patch_covers_is_neither_seen_nor_predicted():
    method = mae(18)
    loss = method.loss([torch.randn(8, 3, 18, 18)], torch.arange(8))
    assert method.places == 16
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("asked", "built"),
    [("resnet8", "vit_pico"), ("resnet18", "vit_tiny"), ("vit_pico", "vit_pico"), (lambda: None, "vit_tiny")],
)
def test_it_brings_a_vision_transformer_unless_the_runs_is_one(asked, built):
    assert MAE.brings_encoder()
    found = MAE.build_encoder(asked, 32)
    assert isinstance(found, VisionTransformer)
    assert found.state_dict().keys() == build_encoder(built, 32).state_dict().keys()
    assert found.width == build_encoder(built, 32).width


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="resnet18"):
        MAE.build_encoder("resnet81", 32)


def test_a_network_that_is_no_vision_transformer_of_ours_is_refused():
    setting = Setting(images=64, image_size=16, batch_size=8, epochs=4)
    with pytest.raises(ValueError, match="needs a vision transformer"):
        MAE(setting, build_encoder("resnet8", 16), mask_ratio=0.75, decoder_width=32, decoder_depth=1)


def test_the_decoder_is_no_wider_than_the_encoder():
    given = load("mae", 224).defaults
    assert given["decoder_width"] == 512
    cut = MAE.effective(given, width=192, images=64, batch_size=8)
    assert cut == given | {"decoder_width": 192}


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_at_least_a_patch_is_kept_and_one_masked(ratio):
    loss = mae(mask_ratio=ratio).loss([torch.randn(8, 3, 16, 16)], torch.arange(8))
    assert torch.isfinite(loss)
