"""SEER: SwAV on a RegNetY, by its numbers."""

import pytest
import torch
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.seer import SEER
from algorithms.swav import SwAV
from bench.search.space import load


def hyperparameters(**changes) -> dict:
    given = {"temperature": 0.1, "prototypes": 12, "epsilon": 0.05, "sinkhorn_iterations": 10, "projector_hidden": 16}
    given |= {"projector_width": 8, "local_crops": 2, "queue_length": 0, "queue_start": 0.0, "frozen_share": 0.0}
    return given | changes


def seer(encoder: nn.Module) -> SEER:
    return SEER(Setting(images=64, image_size=16, batch_size=8, epochs=4), encoder, **hyperparameters())


@pytest.mark.parametrize(("asked", "built"), [("resnet8", "regnet_y_tiny"), ("resnet18", "regnet_y_400mf")])
def test_it_brings_a_regnet_and_says_so(asked, built):
    with torch.device("meta"):
        encoder = SEER.build_encoder(asked, 32)
    assert encoder.name == built


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="resnet18"):
        SEER.build_encoder("resnet81", 32)


def test_it_is_swav_but_for_the_encoder():
    assert {name for name in vars(SEER) if not name.startswith("_")} == {"build_encoder"}
    assert issubclass(SEER, SwAV)


def test_no_activation_is_computed_twice():
    method = seer(SEER.build_encoder("resnet8", 16))
    calls = []
    for block in [module for module in method.encoder.modules() if isinstance(module, nn.Conv2d)]:
        block.register_forward_hook(lambda block, inputs, output: calls.append(block))
    method.loss([torch.randn(8, 3, view.size, view.size) for view in method.views], torch.arange(8)).backward()
    assert all(calls.count(block) == 2 for block in set(calls))  # once for each size of crops


def test_its_loss_is_swavs_with_ten_sinkhorn_iterations():
    torch.manual_seed(0)
    encoder = SEER.build_encoder("resnet8", 16)
    method = seer(encoder)
    plain = SwAV(method.setting, build_encoder("regnet_y_tiny", 16), **hyperparameters())
    plain.load_state_dict(method.state_dict())
    views, index = [torch.randn(8, 3, view.size, view.size) for view in method.views], torch.arange(8)
    loss = method.loss(views, index)
    assert torch.equal(loss, plain.loss(views, index))
    fewer = SwAV(method.setting, build_encoder("regnet_y_tiny", 16), **hyperparameters(sinkhorn_iterations=1))
    fewer.load_state_dict(method.state_dict())
    assert not torch.equal(loss, fewer.loss(views, index))


def test_the_published_recipe_is_vissls_with_the_head_of_its_regnet_of_400_mflop():
    # configs/config/pretrain/seer/models/regnet10B.yaml over swav/swav_8node_resnet.yaml: each number; the head and the
    # prototypes are of swav/models/regnet400mf.yaml: dims [440, 440, 128], num_clusters [3000]. Prototypes are frozen
    # for 313 steps of one pass over a billion images, or of 400 over ImageNet, which is about 125,000 steps in either.
    wanted = {"temperature": 0.1, "epsilon": 0.03, "sinkhorn_iterations": 10, "learning_rate": 0.3}
    wanted |= {
        "weight_decay": 1e-5,
        "local_crops": 4,
        "queue_length": 0,
        "optimizer": "lars",
        "trust_coefficient": 1e-3,
    }
    wanted |= {"projector_hidden": 440, "projector_width": 128, "prototypes": 3000, "frozen_share": 0.0025}
    wanted |= {"warmup": 0.044}  # of 0.043648
    for size in (32, 224):
        assert load("seer", size).published.items() >= wanted.items()
    assert set(load("seer", 32).choices["local_crops"]) == {0, 2, 4}
