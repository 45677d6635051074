"""Encoders in other forms: each gives the features that the project gives, and what has no such form is told."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from algorithms.encoders import build_encoder
from algorithms.images.statistics import IMAGENET, Statistics
from bench.errors import UserError
from bench.execution import export as exporting
from bench.execution import networks, sources
from bench.execution.export import export
from tests.bench.commands.answering import answer_of, check_refusal


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def source_of(network: str, size: int) -> str:
    """A source with random weights in a file of the working directory."""
    torch.manual_seed(0)
    state = build_encoder(network, size).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, "weights.safetensors")
    return f"{network}=weights.safetensors"


@torch.no_grad()
def expected(source: str, images: torch.Tensor) -> torch.Tensor:
    """The features that the project has of images float32 [B, 3, S, S] of values 0 .. 1."""
    of, state = sources.find(source, Path("unused"), None, image_size=images.shape[-1], own_size=False)
    mean, std = (torch.tensor(each)[:, None, None] for each in (of.mean, of.std))
    return networks.frozen(of, Statistics(of.mean, of.std), state)((images - mean) / std)


@pytest.mark.slow
def test_onnx_gives_the_same_features_of_any_number_of_images(here):
    runtime = pytest.importorskip("onnxruntime")
    source = source_of("resnet8", 16)
    place = export(source, "onnx", image_size=16)
    assert place == Path("resnet8-weights-safetensors.onnx")
    session = runtime.InferenceSession(str(place))
    for count in (1, 5):
        images = torch.rand(count, 3, 16, 16)
        (features,) = session.run(["features"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(features), expected(source, images), rtol=0, atol=1e-4)


def test_a_program_gives_the_same_features_of_any_number_of_images(here):
    source = source_of("resnet8", 16)
    program = torch.export.load(export(source, "torch", Path("a.pt2"), 16)).module()
    for count in (1, 5):
        images = torch.rand(count, 3, 16, 16)
        torch.testing.assert_close(program(images), expected(source, images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "size"), [("resnet18", 72), ("torchvision:resnet18", 32), ("timm:vit_tiny_patch16_224", 32)]
)
def test_timm_loads_its_networks_with_their_preprocessing(here, network, size):
    timm = pytest.importorskip("timm")
    source, images = source_of(network, size), torch.rand(3, 3, size, size)
    folder = export(source, "timm", Path("made"), size)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data = timm.data.resolve_model_data_config(model)
    assert data["input_size"] == (3, size, size)
    mean, std = (torch.tensor(data[name])[:, None, None] for name in ("mean", "std"))
    assert (tuple(data["mean"]), tuple(data["std"])) == tuple(IMAGENET) or network.startswith("timm")
    torch.testing.assert_close(model((images - mean) / std), expected(source, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "size", "says"),
    [
        ("resnet8", 16, "timm has no network resnet8; --to onnx and --to torch hold any network"),
        ("resnet18", 32, "timm's resnet18 is another network, as its stem is that for images of up to 64 px"),
    ],
)
def test_what_timm_has_not_is_told_in_a_line_and_leaves_nothing(here, network, size, says):
    source = source_of(network, size)
    with pytest.raises(UserError, match=says):
        export(source, "timm", Path("made"), size)
    assert not Path("made").exists()


def test_a_missing_extra_is_told_in_a_line(here, monkeypatch):
    source = source_of("resnet8", 16)
    missing = {"onnxscript", "timm"}
    monkeypatch.setattr(
        exporting, "find_spec", lambda name: None if name in missing else importlib.util.find_spec(name)
    )
    with pytest.raises(UserError, match=r"pip install '\.\[onnx\]'"):
        export(source, "onnx", image_size=16)
    with pytest.raises(UserError, match=r"pip install '\.\[timm\]'"):
        export(source, "timm", image_size=16)


def test_what_is_there_is_not_replaced_unless_it_lies_beside_the_card(here):
    source = source_of("resnet8", 16)
    Path("mine.pt2").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.pt2 is there already; remove it, or give another --output"):
        export(source, "torch", Path("mine.pt2"), 16)
    assert Path("mine.pt2").read_text() == "mine"
    Path("folder").mkdir()
    assert export(source, "torch", Path("folder"), 16) == Path("folder/encoder.pt2")


def test_a_source_of_no_known_size_is_refused_until_one_is_given(here):
    source = source_of("resnet8", 16)
    with pytest.raises(UserError, match=r"does not say at which size it sees images; give --image-size"):
        export(source, "torch")
    told = {"asked": {"dataset": "leaves", "image_size": 16}, "facts": {"mean": [0.1] * 3, "std": [0.4] * 3}}
    Path("training.json").write_text(json.dumps(told))
    program = torch.export.load(export(source, "torch")).module()
    assert program(torch.rand(1, 3, 16, 16)).shape == (1, 64)
    with pytest.raises((AssertionError, RuntimeError)):  # as the version of PyTorch has it
        program(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "--to", "onnx"], "no weights of its own"),
        ([".", "--to", "torch"], r"has no card\.json"),
        (["resnet8=none.pt", "--to", "torch"], "there is no file"),
        (["resnet8=weights.safetensors", "--to", "torch", "--output", "a.onnx"], r"should end in \.pt2"),
        (["resnet18=weights.safetensors", "--to", "torch", "--image-size", "16"], "tensors fit"),
        (["resnet8=weights.safetensors", "--to", "coreml"], "coreml"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, words, says):
    source_of("resnet8", 16)
    before = sorted(here.iterdir())
    status, _, line = answer_of(["export", *words])
    check_refusal(status, line)
    assert re.search(says, line)
    assert sorted(here.iterdir()) == before
