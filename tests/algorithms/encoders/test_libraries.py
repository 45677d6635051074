"""Networks of timm and torchvision: as their library makes them, with weights from files, and what is refused."""

import importlib.util
import socket

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from algorithms.encoders import build_encoder, check_encoder, is_library, libraries, weights

TIMM = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv3_small_050", "convnext_atto")
TORCHVISION = ("resnet18", "mobilenet_v3_small", "convnext_tiny", "squeezenet1_1", "shufflenet_v2_x0_5", "swin_t")


def test_a_librarys_name_is_known_from_a_door_of_ones_own():
    assert is_library("timm:resnet18")
    assert is_library("torchvision:resnet18")
    for other in ("resnet18", "torchvision.models:resnet18", "mine.py:timm", "timm", torch.nn.Identity()):
        assert not is_library(other)


@pytest.mark.parametrize("name", TIMM)
def test_with_weights_from_a_file_features_are_timms_own(name, tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model(name).eval()
    for module in whole.modules():  # as if it had been trained
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    size = libraries.inputs(f"timm:{name}").image_size
    own = timm.create_model(name, num_classes=0).eval()
    own.load_state_dict({key: value for key, value in whole.state_dict().items() if key in own.state_dict()})
    ours = libraries.pretrained(f"timm:{name}", size, 3, weights.read(tmp_path / "w.safetensors")).eval()
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(ours(images), own(images), atol=1e-5, rtol=1e-5)
    assert ours.state_dict().keys() == own.state_dict().keys()


@pytest.mark.parametrize("prefix", ["", "module.encoder_q."])
def test_timms_weights_are_fitted_to_another_size_and_other_channels(prefix):
    state = {prefix + name: tensor for name, tensor in timm.create_model("test_vit").state_dict().items()}
    if prefix:  # timm does not know such names, and then nothing is fitted
        with pytest.raises(ValueError, match=r"of another network: \d+ of \d+ tensors fit; not pos_embed"):
            libraries.pretrained("timm:test_vit", 32, 3, state)
        assert libraries.pretrained("timm:test_vit", 160, 3, state)
    else:
        assert libraries.pretrained("timm:test_vit", 32, 5, state)(torch.zeros(2, 5, 32, 32)).shape == (2, 64)


@pytest.mark.parametrize("name", TORCHVISION)
def test_with_weights_from_a_file_features_are_torchvisions_before_its_classifier(name):
    torch.manual_seed(1)
    whole = torchvision.models.get_model(name, weights=None).eval()
    ours = libraries.pretrained(f"torchvision:{name}", 64, 3, whole.state_dict()).eval()
    images, seen = torch.randn(2, 3, 64, 64), []
    pool = {"swin_t": "flatten", "convnext_tiny": "classifier.1", "shufflenet_v2_x0_5": "conv5"}.get(name, "avgpool")
    pool = "features" if name == "squeezenet1_1" else pool
    whole.get_submodule(pool).register_forward_hook(lambda module, given, made: seen.append(made))
    whole(images)
    (expected,) = seen
    expected = expected.mean((2, 3)) if expected.ndim == 4 else expected
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 5])
def test_torchvisions_first_convolution_is_fitted_to_other_channels(channels):
    state = torchvision.models.resnet18(weights=None).state_dict()
    ours = libraries.pretrained("torchvision:resnet18", 32, channels, state)
    if channels == 1:
        expected = state["conv1.weight"].sum(1, keepdim=True)
    else:
        expected = state["conv1.weight"][:, [0, 1, 2, 0, 1]] * 3 / 5
    torch.testing.assert_close(ours.conv1.weight, expected)


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "torchvision:resnet18", "torchvision:vit_b_16"])
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 5)])
def test_a_network_of_a_library_is_an_encoder_of_any_size_and_channels(name, size, channels):
    encoder = build_encoder(name, size, channels)
    assert encoder(torch.zeros(2, channels, size, size)).shape == (2, encoder.width)
    assert encoder.name == name
    torch.manual_seed(1)
    one = build_encoder(name, size, channels).state_dict()
    torch.manual_seed(1)
    other = build_encoder(name, size, channels).state_dict()
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_a_vit_of_timm_takes_local_crops_and_tells_its_patch():
    encoder = build_encoder("timm:test_vit", 64)
    assert encoder.patch == 16
    assert encoder(torch.zeros(2, 3, 32, 32)).shape == (2, 64)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:resnet81", "timm has no network 'resnet81'; did you mean .*resnet"),
        ("timm:resnet18.none", "timm has no weights 'none' of resnet18; it has a1_in1k"),
        ("torchvision:resnet81", "torchvision has no network 'resnet81'; did you mean resnet18"),
        ("torchvision:inception_v3", "torchvision has no network 'inception_v3'"),
        ("timm:", "timm has no network ''"),
    ],
)
def test_an_unknown_network_is_refused_with_the_nearest_names(name, says):
    with pytest.raises(ValueError, match=says):
        check_encoder(name)


def test_without_timm_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install '\.\[timm\]'"):
        check_encoder("timm:resnet18")
    assert all(name.startswith("torchvision:") for name in libraries.default_references("cuda"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_default_references_have_weights(device):
    for name in libraries.default_references(device):
        check_encoder(name)
        assert libraries.inputs(name).image_size >= 224


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("timm:resnet18", r"bring those of timm/resnet18\.a1_in1k and give them as timm:resnet18=model\.safetensors"),
        (
            "torchvision:resnet18",
            r"bring resnet18-f37072fd\.pth and give it as torchvision:resnet18=resnet18-f37072fd\.pth",
        ),
    ],
)
def test_without_a_connection_the_file_is_named_that_would_do(name, file, monkeypatch, tmp_path):
    def unreachable(*asked, **more):
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *asked: None)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(ValueError, match=rf"cannot be downloaded \(.*not known.*\); {file}") as refused:
        libraries.pretrained(name, 32, 3)
    assert "\n" not in str(refused.value)


def test_a_network_of_which_there_are_no_weights_asks_for_a_file():
    with pytest.raises(ValueError, match=r"timm has no weights of test_mambaout; give a file"):
        libraries.pretrained("timm:test_mambaout", 32, 3)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_weights_of_another_network_say_how_many_fit_and_the_first_that_do_not(name):
    with pytest.raises(ValueError, match=r"of another network: \d+ of 100 tensors fit; not conv1\.weight"):
        libraries.pretrained(name, 32, 3, timm.create_model("test_resnet").state_dict())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm:resnet18.a1_in1k", "ImageNet-1k"),
        ("timm:convnext_tiny.in12k_ft_in1k", "ImageNet-12k, ImageNet-1k"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "LVD-142M"),
        ("torchvision:vit_b_16", "ImageNet-1k"),
    ],
)
def test_what_a_network_was_trained_on_is_said_in_words(name, expected):
    assert libraries.inputs(name).trained_on == expected
