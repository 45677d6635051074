"""Weights in files: what is read and refused, and how it fits a network."""

import argparse
import io
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from algorithms.encoders import build_encoder
from algorithms.encoders.weights import NESTED, by_its_names, fingerprint, load, read


def small(seed: int = 0, width: int = 4, blocks: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential()
    network.stem = nn.Conv2d(3, width, 3)
    network.norm = nn.BatchNorm2d(width)
    network.stages = nn.Sequential(*(nn.Sequential(nn.Conv2d(width, width, 3)) for _ in range(blocks)))
    network.norm.running_mean.normal_()
    return network


def saved(tmp_path: Path, value: object, name: str = "weights.pth", **options: object) -> Path:
    torch.save(value, tmp_path / name, **options)
    return tmp_path / name


def same(network: nn.Module, state: dict[str, Tensor]) -> bool:
    own = network.state_dict()
    return own.keys() <= state.keys() and all(torch.equal(own[name], state[name]) for name in own)


class Touches:
    """A pickle that makes a file when it is read carelessly."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# What is read


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a"])
def test_what_torch_saved_is_read_under_any_name(tmp_path, name, zipped):
    state = small().state_dict()
    path = saved(tmp_path, state, name, _use_new_zipfile_serialization=zipped)
    assert same(small(1), read(path)) is False
    assert same(small(), read(path))


def test_safetensors_are_read(tmp_path):
    safetensors.torch.save_file(small().state_dict(), tmp_path / "a.safetensors")
    assert same(small(), read(tmp_path / "a.safetensors"))
    assert same(small(), read(str(tmp_path / "a.safetensors")))


@pytest.mark.parametrize("key", [*NESTED, "anything"])
def test_the_network_of_a_checkpoint_is_read_and_not_its_optimiser_nor_its_loss(tmp_path, key):
    network = small()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.stem(torch.randn(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "optimizer": optimizer.state_dict(),
        key: network.state_dict(),
        "loss": torch.tensor(0.5),
    }
    assert same(network, read(saved(tmp_path, checkpoint)))


def test_a_network_two_levels_deep_is_read(tmp_path):
    assert same(small(), read(saved(tmp_path, {"model": {"state_dict": small().state_dict()}, "epoch": 1})))


@pytest.mark.parametrize(
    ("better", "other"), [("teacher", "student"), ("state_dict_ema", "state_dict"), ("model_ema", "model")]
)
def test_averaged_weights_are_preferred_where_both_are_there(tmp_path, better, other):
    checkpoint = {other: small(1).state_dict(), better: small(2).state_dict()}
    assert same(small(2), read(saved(tmp_path, checkpoint)))


def test_several_networks_of_unknown_names_are_refused_by_their_names(tmp_path):
    path = saved(tmp_path, {"generator": small(1).state_dict(), "critic": small(2).state_dict()})
    with pytest.raises(ValueError, match="several networks, generator, critic; save"):
        read(path)


# What is refused


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("as_torch", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, as_torch, protocol):
    touched = tmp_path / "touched"
    value = {"state_dict": small().state_dict(), "more": Touches(touched)}
    path = tmp_path / "weights.pth"
    if as_torch:
        torch.save(value, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(Touches(touched), protocol=protocol))
    with pytest.raises(ValueError, match=r"weights\.pth") as raised:
        read(path)
    assert "safetensors" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not touched.exists()
    torch.load(path, weights_only=False) if as_torch else pickle.loads(path.read_bytes())
    assert touched.exists(), "the file of this test does nothing"


def test_a_whole_network_saved_as_a_pickle_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds .* and would run code when it is read; give it as safetensors"):
        read(saved(tmp_path, small()))


def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="TorchScript program, which would run code; give the network's state_dict"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("cut", [0, 5, 40, 700, 1500, -3])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_broken_file_of_torch_is_refused(tmp_path, zipped, cut):
    path = saved(tmp_path, small().state_dict(), _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"weights\.pth is no file of weights, or not the whole of one; give"):
        read(path)


@pytest.mark.parametrize("cut", [0, 5, 100, -3])
def test_a_broken_file_of_safetensors_is_refused(tmp_path, cut):
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.torch.save(small().state_dict())[:cut])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        read(path)


def test_whatever_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        read(tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="There is no file"):
        read(tmp_path)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("notes.txt", "nothing")
    for content in (b"version https://git-lfs.github.com/spec/v1\n", b"<html>404", archive.getvalue()):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(ValueError, match="no file of weights"):
            read(tmp_path / "a.pth")
    for value in ({"epoch": 3}, [torch.zeros(2)], {0: torch.zeros(2)}, {}):
        with pytest.raises(ValueError, match="no tensors by name"):
            read(saved(tmp_path, value))


# How it fits


PREFIXES = ("", "module.", "module.encoder_q.", "backbone.", "encoder.", "model.", "_orig_mod.", "student.backbone.")


@given(there=st.sampled_from(PREFIXES), here=st.sampled_from(PREFIXES), head=st.booleans(), twin=st.booleans())
def test_names_fit_behind_any_usual_prefix_in_the_file_and_in_the_network(there, here, head, twin):
    state = {there + name: value for name, value in small(1).state_dict().items()}
    if head:
        state[f"{there}fc.weight"] = torch.zeros(10, 4)
    if twin:  # MoCo's average of the same names, which comes after it
        state |= {f"momentum_encoder.{name}": value for name, value in small(2).state_dict().items()}
    network = small(3)
    whole: nn.Module = network
    for name in reversed(here.split(".")[:-1]):
        outer = nn.Module()
        outer.add_module(name, whole)
        whole = outer
    fit = load(whole, state, least=1.0)
    assert (fit.fitted, fit.of, fit.unfit) == (10, 10, ())
    assert same(network, small(1).state_dict())
    assert [name for name in fit.unused if not name.startswith("momentum")] == [f"{there}fc.weight"] * head
    assert same(whole, by_its_names(whole, state))


def test_what_does_not_fit_is_said_and_left_as_it_is():
    network, state = small(0), small(1).state_dict()
    state["stem.weight"] = torch.zeros(4, 3, 7, 7)
    state["norm.weight"] = torch.ones(4, dtype=torch.int8)
    state["fc.weight"] = torch.zeros(2, 4)
    before = network.stem.weight.clone()
    del state["stages.1.0.bias"]
    fit = load(network, state, least=0.5)
    assert fit.unfit == (
        "stem.weight is [4, 3, 7, 7] there and [4, 3, 3, 3] here",
        "norm.weight is int8 there and float32 here",
        "stages.1.0.bias is not there",
    )
    assert fit.unused == ("fc.weight",)
    assert (fit.fitted, fit.of) == (7, 10)
    assert torch.equal(network.stem.weight, before)
    assert torch.equal(network.stem.bias, state["stem.bias"])
    assert str(fit) == f"7 of 10 tensors fit; {', '.join(fit.unfit)}; not used: fc.weight"


def test_a_fit_says_in_one_line_what_became_of_the_file():
    state = {f"module.encoder_q.{name}": value for name, value in small(1).state_dict().items()}
    assert str(load(small(), small(1).state_dict())) == "all 10 tensors fit"
    assert str(load(small(), state | {"queue": torch.zeros(1)})) == (
        "all 10 tensors fit, by the names after module.encoder_q.; not used: queue"
    )


def test_too_few_that_fit_are_refused_and_nothing_is_changed():
    network, state = small(0), small(1, width=5).state_dict()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"0 of the network's 10 tensors fit the file: stem.weight is \[5, 3, 3, 3\]"):
        load(network, state)
    assert same(network, before)
    with pytest.raises(ValueError, match=r"stages\.1\.0\.bias is not there"):
        load(network, {name: value for name, value in small(1).state_dict().items() if "1.0.bias" not in name}, least=1)
    assert same(network, before)


def test_the_first_blocks_of_a_larger_network_are_refused():
    with pytest.raises(ValueError, match=r"larger network, which has stages\.2\.0\.weight besides"):
        load(small(blocks=2), {f"module.{name}": value for name, value in small(blocks=3).state_dict().items()})
    larger = torchvision.models.resnet34().state_dict()
    with pytest.raises(ValueError, match=r"larger network, which has layer1\.2"):
        load(build_encoder("resnet18", 224), larger)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_and_nothing_is_changed(value):
    network, state = small(0), small(1).state_dict()
    state["stages.1.0.bias"][2] = value
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"stages\.1\.0\.bias are not finite"):
        load(network, state)
    assert same(network, before)


def test_half_precision_is_taken_in_the_networks_own():
    network, state = small(0), {name: value.bfloat16() for name, value in small(1).state_dict().items()}
    state["norm.num_batches_tracked"] = torch.tensor(7)
    load(network, state, least=1.0)
    assert network.stem.weight.dtype == torch.float32
    assert torch.equal(network.stem.weight, state["stem.weight"].float())
    assert network.norm.num_batches_tracked == 7


# Fingerprints


def test_a_fingerprint_follows_from_names_types_shapes_and_bytes_alone():
    state = {"b": torch.arange(6.0), "a": torch.zeros(2, 3), "c": torch.tensor(3)}
    first = fingerprint(state)
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert fingerprint(dict(reversed(state.items()))) == first
    assert fingerprint(state | {"b": torch.arange(12.0)[::2] / 2}) == first  # another layout of the same
    others = [
        state | {"b": torch.arange(6.0) + 1e-3},
        state | {"b": torch.arange(6.0).view(2, 3)},
        state | {"b": torch.arange(6)},
        state | {"b": torch.arange(6.0).bfloat16()},
        {"B" if name == "b" else name: value for name, value in state.items()},
        state | {"d": torch.zeros(0)},
    ]
    assert len({first, *map(fingerprint, others)}) == 7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int64, torch.float8_e4m3fn])
def test_a_fingerprint_is_of_any_type(dtype):
    assert len(fingerprint({"a": torch.ones(3, 2).to(dtype), "b": torch.ones(()).to(dtype)})) == 12
