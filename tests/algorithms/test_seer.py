"""SEER: SwAV on a RegNet whose activations are computed twice and count once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.losses import sinkhorn
from algorithms.method import Setting
from algorithms.seer import SEER, CheckpointedBlock
from algorithms.swav import SwAV


def encoders() -> tuple[nn.Module, nn.Module]:
    """The same trunk with and without checkpoints."""
    checkpointed, plain = SEER.build_encoder("resnet8", 16), build_encoder("regnet_y_tiny", 16)
    plain.load_state_dict(checkpointed.state_dict())
    return checkpointed, plain


@pytest.mark.parametrize(("asked", "built"), [("resnet8", "regnet_y_tiny"), ("resnet18", "regnet_y_400mf")])
def test_it_brings_a_regnet_and_says_so(asked, built):
    with torch.device("meta"):
        encoder = SEER.build_encoder(asked, 32)
    assert encoder.name == built
    assert any(isinstance(module, CheckpointedBlock) for module in encoder.modules())


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="resnet18"):
        SEER.build_encoder("resnet81", 32)


def test_checkpoints_change_no_output_gradient_or_running_statistic():
    checkpointed, plain = encoders()
    images = torch.randn(8, 3, 16, 16)
    results = []
    for encoder in (checkpointed, plain):
        # Two passes in one step, as for crops of two sizes.
        output = torch.cat([encoder(images), encoder(images[..., :8, :8])])
        gradients = torch.autograd.grad(output.square().sum(), list(encoder.parameters()))
        results.append((output, gradients, encoder.state_dict()))
    (output, gradients, state), (expected, expected_gradients, expected_state) = results
    assert torch.equal(output, expected)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected_gradients, strict=True))
    assert all(torch.equal(state[name], expected_state[name]) for name in expected_state)
    assert state["stem.1.num_batches_tracked"] == 2


def test_checkpointed_blocks_keep_less_for_the_backward_pass():
    sizes = []
    for encoder in encoders():
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(torch.randn(8, 3, 16, 16))
        sizes.append(kept)
    assert sizes[0] < 0.5 * sizes[1]


def test_norms_update_again_after_the_backward_pass():
    encoder, _ = encoders()
    encoder(torch.randn(8, 3, 16, 16)).sum().backward()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(torch.randn(8, 3, 16, 16))
    for name, value in encoder.named_buffers():
        assert not torch.equal(value, before[name]), name


def seer() -> SEER:
    torch.manual_seed(0)
    return SEER(
        Setting(images=64, image_size=16, batch_size=8, epochs=4),
        SEER.build_encoder("resnet8", 16),
        temperature=0.1,
        prototypes=12,
        epsilon=0.05,
        sinkhorn_iterations=10,
        projector_hidden=16,
        projector_width=8,
        local_crops=2,
        queue_length=0,
        queue_start=0.0,
        frozen_share=0.0,
    )


def test_the_head_has_three_layers():
    widths = [layer.weight.shape for layer in seer().projector if isinstance(layer, nn.Linear)]
    assert widths == [(16, 64), (16, 16), (8, 16)]


def test_the_loss_is_swavs_with_its_own_sinkhorn_iterations():
    method = seer()
    views = [torch.randn(8, 3, view.size, view.size) for view in method.views]
    with torch.no_grad():
        found = torch.cat([method.encoder(torch.cat(views[:2])), method.encoder(torch.cat(views[2:]))])
        z = F.normalize(method.projector(found), dim=1).unflatten(0, (4, 8))
        scores = z @ F.normalize(method.prototypes.weight, dim=1).T
    codes = [sinkhorn(scores[view], 0.05, 10) for view in (0, 1)]
    terms = [
        -(codes[target] * F.log_softmax(scores[view] / 0.1, dim=1)).sum(1).mean()
        for target in (0, 1)
        for view in range(4)
        if view != target
    ]
    torch.testing.assert_close(method.loss(views, torch.arange(8)), torch.stack(terms).mean())
    assert isinstance(method, SwAV)
