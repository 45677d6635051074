"""SimCLR v2: the deeper projector and the layer that kNN reads."""

import pytest
import torch
import torch.nn.functional as F

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.parts.losses import nt_xent
from algorithms.simclrv2 import SimCLRV2


def simclrv2(features: str = "encoder") -> SimCLRV2:
    torch.manual_seed(0)
    return SimCLRV2(
        Setting(images=64, image_size=16, batch_size=8, epochs=4),
        build_encoder("resnet8", 16),
        temperature=0.5,
        projector_width=8,
        features=features,
    )


def test_the_projector_has_three_layers_as_wide_as_the_encoder_each_normed():
    layers = list(simclrv2().projector)
    assert [layer.weight.shape for layer in layers[::3]] == [(64, 64), (64, 64), (8, 64)]
    assert [type(layer) for layer in layers[1::3]] == [torch.nn.BatchNorm1d] * 3
    assert len(layers) == 8


def test_the_loss_is_nt_xent_of_its_projections():
    method = simclrv2()
    first, second = (torch.randn(8, 3, 16, 16) for _ in range(2))
    z = method.projector(method.encoder(torch.cat([first, second])))
    found = method.loss([first, second], torch.arange(8))
    torch.testing.assert_close(found, nt_xent(z[:8], z[8:], 0.5))
    found.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_knn_reads_the_encoder_by_default():
    method, images = simclrv2().eval(), torch.randn(4, 3, 16, 16)
    assert torch.equal(method.judged_encoder(images), method.encoder(images))


def test_knn_may_read_the_first_hidden_layer():
    method, images = simclrv2("hidden").eval(), torch.randn(4, 3, 16, 16)
    linear, norm = method.projector[0], method.projector[1]
    hidden = method.encoder(images) @ linear.weight.T
    hidden = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(method.judged_encoder(images), F.relu(hidden * norm.weight + norm.bias))


def test_another_layer_is_refused():
    with pytest.raises(ValueError, match="encoder or hidden"):
        simclrv2("projection")
