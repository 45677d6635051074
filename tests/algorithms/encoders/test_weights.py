"""State dicts from files: read without running code, and how they fit a network."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from algorithms.encoders import weights


def network(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Sequential(nn.Conv2d(width, 2, 1)))


def equal(one: nn.Module, other: nn.Module) -> bool:
    there = other.state_dict()
    return all(torch.equal(tensor, there[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w", "w.safetensors"])
def test_a_state_dict_is_read_from_whichever_file_it_is_in(name, tmp_path):
    state = network().state_dict()
    (save_file if name.endswith(".safetensors") else torch.save)(state, tmp_path / name)
    found = weights.read(tmp_path / name)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}, "param_groups": [1]}},
        lambda state: {"asked": {"method": "byol"}, "trainer": {"epoch": 2, "method": state}},
        lambda state: {**state, "version": 1},
    ],
)
def test_the_state_dict_of_a_checkpoint_is_found(wrapped, tmp_path):
    state = network().state_dict()
    torch.save(wrapped(dict(state)), tmp_path / "w.pt")
    assert weights.read(tmp_path / "w.pt").keys() == state.keys()


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Evil()}, tmp_path / "torch.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"weight": Evil()}))
    torch.save(network(), tmp_path / "whole.pt")
    for name in ("torch.pt", "plain.pkl", "whole.pt"):
        with pytest.raises(ValueError, match=r"it could run code.*save the state dict alone") as refused:
            weights.read(tmp_path / name)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused_in_one_line(name, part, tmp_path):
    (save_file if name.endswith(".safetensors") else torch.save)(network().state_dict(), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=name) as refused:
        weights.read(tmp_path / name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.zeros(3), {"a": {"b": {"c": 1}}}])
def test_a_file_without_weights_by_name_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="no weights by name; it must be a state dict"):
        weights.read(tmp_path / "w.pt")


PREFIXES = st.sampled_from(["", "module.", "module.encoder_q.", "backbone.", "encoder.", "model.net.", "0."])


@settings(deadline=None, max_examples=40)
@given(prefix=PREFIXES, of_network=st.sampled_from(["", "backbone."]), others=st.booleans())
def test_names_may_have_a_prefix_or_lack_one(prefix, of_network, others):
    source, plain = network(), network()
    target = nn.ModuleDict({"backbone": plain}) if of_network else plain
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    if others:
        state |= {f"{prefix}fc.weight": torch.zeros(5, 2), "module.encoder_k.1.weight": torch.zeros(4)}
    fit = weights.load(target, state, least=1.0)
    assert (fit.fitted, fit.of, fit.unfit) == (8, 8, ())
    assert all(torch.equal(plain.state_dict()[name], tensor) for name, tensor in source.state_dict().items()
               if not name.endswith(weights.COUNTERS))  # fmt: skip


def test_what_does_not_fit_is_told_and_left_as_it_was():
    source, target = network(), network()
    before = copy.deepcopy(target.state_dict())
    state = dict(source.state_dict())
    state["0.weight"] = torch.zeros(4, 1, 3, 3)
    del state["2.0.bias"]
    state["fc.weight"] = torch.zeros(10, 2)
    fit = weights.load(target, state, least=0.7)
    assert str(fit) == (
        "6 of 8 tensors fit; not 0.weight, which is [4, 1, 3, 3] there and [4, 3, 3, 3] here, 2.0.bias, which is not "
        "there; left over are fc.weight"
    )
    after = target.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert torch.equal(after["2.0.weight"], source.state_dict()["2.0.weight"])


def test_weights_of_another_network_are_refused_and_change_nothing():
    target = network()
    before = copy.deepcopy(target)
    with pytest.raises(ValueError, match=r"of another network: 1 of 8 tensors fit; not 0\.weight, .* and 4 more"):
        weights.load(target, network(5).state_dict())
    with pytest.raises(ValueError, match="0 of 8"):
        weights.load(target, {})
    assert equal(target, before)


def test_weights_that_are_not_finite_are_refused_and_change_nothing():
    target, state = network(), dict(network().state_dict())
    before = copy.deepcopy(target)
    state["0.bias"] = torch.full((4,), float("nan"))
    with pytest.raises(ValueError, match=r"not finite: 0\.bias"):
        weights.load(target, state)
    assert equal(target, before)


def test_weights_of_half_precision_are_taken():
    source, target = network(), network()
    weights.load(target, {name: tensor.bfloat16() for name, tensor in source.state_dict().items()}, least=1.0)
    torch.testing.assert_close(target[0].weight, source[0].weight.bfloat16().float())


@given(change=st.sampled_from(["value", "name", "shape", "kind"]))
def test_a_fingerprint_is_of_names_kinds_shapes_and_values_in_any_order(change):
    state = {"a": torch.arange(6.0), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.tensor(3)}
    found = weights.fingerprint(state)
    assert len(found) == 12
    assert weights.fingerprint(dict(reversed(state.items()))) == found
    changed = {
        "value": {**state, "a": torch.arange(6.0) + 1},
        "name": {("z" if name == "a" else name): tensor for name, tensor in state.items()},
        "shape": {**state, "a": torch.arange(6.0).view(2, 3)},
        "kind": {**state, "b": torch.ones(2, dtype=torch.float16)},
    }[change]
    assert weights.fingerprint(changed) != found
