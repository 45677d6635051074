import torch
from torch import nn

from algorithms.encoders import build_encoder
from algorithms.method import Setting
from algorithms.moco import MoCo
from algorithms.mocov2 import MoCoV2
from bench.search.space import load


def make(size=16) -> MoCoV2:
    setting = Setting(images=128, image_size=size, batch_size=16, epochs=2)
    return MoCoV2(
        setting,
        build_encoder("resnet8", size),
        temperature=0.1,
        ema_momentum=0.99,
        queue_length=32,
        projector_width=8,
        symmetric=True,
    )


def test_the_head_has_two_layers_as_wide_as_the_encoder_and_no_batch_norm():
    layers = list(make().online[1])
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]
    assert layers[0].weight.shape == (64, 64)
    assert layers[2].weight.shape == (8, 64)


def test_large_images_are_blurred_and_small_ones_are_not():
    assert [view.blur for view in make(16).views] == [0, 0]
    assert [view.blur for view in make(224).views] == [0.5, 0.5]


def test_what_differs_from_the_first_moco_is_the_head_the_views_and_the_recipe_alone():
    own = {name for name in vars(MoCoV2) if not name.startswith("_")}
    assert own == {"head", "augmentations"}
    assert MoCoV2.loss is MoCo.loss
    first, second = (load(name, 32).defaults for name in ("moco", "mocov2"))
    assert {name for name in first if first[name] != second[name]} == {"symmetric"}
    assert first.keys() == second.keys()


def test_a_step_gives_gradients_to_the_whole_online_network():
    torch.manual_seed(0)
    method = make()
    method.loss([torch.randn(16, 3, 16, 16), torch.randn(16, 3, 16, 16)], torch.arange(16)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.online.parameters() if parameter.ndim > 1)
