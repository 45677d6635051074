"""Weights in files, and how they fit a network."""

import argparse
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from torch import Tensor, nn

NESTED = (
    *("state_dict_ema", "model_ema", "ema", "teacher", "target", "student"),
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net"),
    *("encoder_state_dict", "encoder", "backbone", "trunk", "module", "params", "weights"),
)
"""Where a checkpoint keeps its network; the first of these that is there is taken. Averaged weights come first: timm's
checkpoints (`state_dict_ema`) and DINO's (`teacher`, arXiv 2104.14294, section 3.1) are meant to be used by them."""

LEAST = 0.9
"""The share of a network's tensors that must fit, for weights to be those of this network."""
DEEPEST = 4
"""How deep in a checkpoint a network is looked for."""


def read(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file, by name, on the CPU: of `.safetensors`, or of what `torch.save` wrote. In a checkpoint
    they are those of its network (`NESTED`), not of the optimiser beside it. The file runs no code.

    Raises ValueError where there is no such file, where it is broken or no file of weights, where it would run code,
    and where it has no tensors or those of several networks.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"There is no file {file}; weights are a .safetensors or a .pth file.")
    if file.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(file, device="cpu")
        except Exception as error:  # whatever a broken file raises
            why = str(error).partition("\n")[0]
            raise ValueError(f"{file} is no whole safetensors file ({why}); copy or download it again.") from error
    try:
        # The options of a training, names and values, run nothing. PyTorch warns of what is then refused or read.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file raises
        raise ValueError(_unreadable(file, error)) from error
    state = _network(found, file) if isinstance(found, Mapping) else {}
    if not state:
        raise ValueError(f"{file} has no tensors by name; it should hold a network's state_dict.")
    return state


def _unreadable(file: Path, error: Exception) -> str:
    said = str(error)
    if "TorchScript" in said:
        return f"{file} is a TorchScript program, which would run code; give the network's state_dict as safetensors."
    if isinstance(error, UnpicklingError) and "Unsupported operand" not in said:
        found = re.search(r"GLOBAL (\S+)", said)
        what = f"holds {found[1]} and would run code" if found else "would run code"
        return f"{file} {what} when it is read; give it as safetensors."
    return f"{file} is no file of weights, or not the whole of one; give a .safetensors file or what torch.save wrote."


def _network(found: Mapping[object, object], file: Path, depth: int = DEEPEST) -> dict[str, Tensor]:
    own = {name: value.detach() for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    nested = {
        name: value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, Mapping) and _tensors(value, depth - 1)
    }
    if len(own) >= max((_tensors(value, depth - 1) for value in nested.values()), default=0):
        return own
    known = [name for name in NESTED if name in nested] or list(nested)
    if len(known) > 1 and known[0] not in NESTED:
        raise ValueError(f"{file} has several networks, {', '.join(known)}; save the state_dict of one alone.")
    return _network(nested[known[0]], file, depth - 1)


def _tensors(found: Mapping[object, object], depth: int) -> int:
    """How many tensors have names, at any depth."""
    named = [value for name, value in found.items() if isinstance(name, str)]
    below = sum(_tensors(value, depth - 1) for value in named if isinstance(value, Mapping)) if depth else 0
    return below + sum(isinstance(value, Tensor) for value in named)


@dataclass(frozen=True)
class Fit:
    """What became of a file's weights in a network."""

    fitted: int
    """The network's tensors that were taken from the file."""
    of: int
    """All its parameters and buffers, but the counters of batch norm (`num_batches_tracked`)."""
    unfit: tuple[str, ...]
    """The others, each with what is wrong: `conv1.weight is [64, 3, 7, 7] there and [64, 3, 3, 3] here`."""
    unused: tuple[str, ...]
    """The file's names that the network has not, such as `fc.weight`."""
    prefix: str = ""
    """What stands before the network's names in the file, such as `module.encoder_q.`."""

    def __str__(self) -> str:
        parts = [f"{self.fitted} of {self.of} tensors fit" if self.unfit else f"all {self.of} tensors fit"]
        parts[0] += f", by the names after {self.prefix}" if self.prefix else ""
        if self.unfit:
            parts.append(_some(self.unfit))
        if self.unused:
            parts.append(f"not used: {_some(self.unused)}")
        return "; ".join(parts)


def _some(texts: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def load(network: nn.Module, state: Mapping[str, Tensor], *, least: float = LEAST) -> Fit:
    """Copies what fits into the network and leaves the rest as it is. The names may stand behind a prefix in the file,
    such as `module.`, and in the network: taken are those behind which most of the network's tensors fit.

    Raises ValueError, and changes nothing, where less than a share `least` of the network's tensors fit, where weights
    are not finite, and where the file has more blocks than the network, which with the first of them alone would give
    features that nobody trained.
    """
    own = network.state_dict()
    prefix, here = _prefixes(own, state)
    counted = [name for name in own if not name.endswith("num_batches_tracked")]
    of_file = {name: prefix + name.removeprefix(here) for name in own if name.startswith(here)}
    wrong = {name: _misfit(name, own[name], state.get(of_file.get(name, ""))) for name in own}
    taken = {name: state[of_file[name]] for name in own if not wrong[name]}
    used = set(of_file.values())
    fit = Fit(
        fitted=sum(name in taken for name in counted),
        of=len(counted),
        unfit=tuple(wrong[name] for name in counted if wrong[name]),
        unused=tuple(name for name in state if name not in used),
        prefix=prefix,
    )
    same = "it should be of the same network"
    if fit.fitted < least * fit.of:
        raise ValueError(f"{fit.fitted} of the network's {fit.of} tensors fit the file: {_some(fit.unfit)}; {same}.")
    beside = {here + name.removeprefix(prefix): state[name] for name in fit.unused if name.startswith(prefix)}
    if more := _more_blocks(own, beside):
        raise ValueError(f"The file is of a larger network, which has {more} besides; {same}.")
    refuse_not_finite(taken)
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    return fit


def copied(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict to be written to a file: contiguous copies on the CPU, each by itself, as trainings have
    weights channels-last and a network may have one tensor by two names."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}


def by_its_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors by the network's names, as `load` finds them; its other names lose the prefix alone."""
    prefix, here = _prefixes(network.state_dict(), state)
    return {
        here + name.removeprefix(prefix) if name.startswith(prefix) else name: value for name, value in state.items()
    }


def refuse_not_finite(state: Mapping[str, Tensor]) -> None:
    """Raises ValueError where a tensor has a value that is no number."""
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"The weights {name} are not finite; the training that made them has diverged.")


def _misfit(name: str, here: Tensor, there: Tensor | None) -> str:
    if there is None:
        return f"{name} is not there"
    if here.shape != there.shape:
        return f"{name} is {list(there.shape)} there and {list(here.shape)} here"
    if here.is_floating_point() != there.is_floating_point():
        return f"{name} is {there.dtype} there and {here.dtype} here".replace("torch.", "")
    return ""


def _prefixes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[str, str]:
    """What stands before the names in the file and before those of the network, where most tensors are of one name and
    shape, else where most are of one name; the first such of the file, so that an encoder of MoCo's comes before its
    average."""
    shared = Counter(head for name in own for head, _ in _splits(name))
    mostly = [head for head, count in shared.items() if 2 * count > len(own)]  # "" and what wraps the whole network
    found: dict[tuple[str, str], list[int]] = {("", ""): [0, 0]}
    for name, value in state.items():
        for head, rest in _splits(name):
            for here in mostly:
                if (named := own.get(here + rest)) is not None:
                    counts = found.setdefault((head, here), [0, 0])
                    counts[0] += named.shape == value.shape
                    counts[1] += 1
    return max(found, key=lambda pair: found[pair])


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """`a.b.c` as `` and `a.b.c`, `a.` and `b.c`, `a.b.` and `c`."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _more_blocks(own: Mapping[str, Tensor], unused: Mapping[str, Tensor]) -> str:
    """The first unused tensor that is another of a numbered row that the network has, such as `layer1.2.conv1.weight`
    after `layer1.1.conv1.weight`."""
    rows = {(kind, value.shape) for name, value in own.items() for kind in _rows(name)}
    for name, value in unused.items():
        if any((kind, value.shape) in rows for kind in _rows(name)):
            return name
    return ""


def _rows(name: str) -> list[str]:
    """`layer1.2.conv1.weight` as `layer1.*.conv1.weight`, for each number in it that has a name before it."""
    parts = name.split(".")
    return [
        ".".join((*parts[:place], "*", *parts[place + 1 :]))
        for place, part in enumerate(parts[:-2])
        if place and part.isdecimal()
    ]


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """12 hexadecimal digits of the SHA-256 of all names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]
