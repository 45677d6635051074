"""An encoder in a form that others load: `ssl-bench export`."""

import contextlib
import io
import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.export import ExportedProgram

from algorithms.encoders import ENCODERS, SMALL_IMAGE, libraries, weights
from algorithms.images.statistics import Statistics
from bench.errors import UserError, one_line
from bench.execution import card, graph, networks, sources
from bench.execution.configuration import FORMS
from bench.execution.pretrained import Pretrained, is_own
from bench.files import slug, write_atomically


def export(source: str, to: str, output: Path | None = None, image_size: int | None = None) -> Path:
    """Write the encoder that a source (`bench.execution.sources`) names in another form, one of `FORMS`; where it now
    is. None of `image_size` is that which the source says.

    Without an `output` it lies beside the card that the source is, where what was there is replaced, else in the
    working directory. Raises UserError, OSError.
    """
    sources.check(source)
    place = _place(source, to, output)
    if to == "onnx" and not (find_spec("onnx") and find_spec("onnxscript")):
        raise UserError("ONNX needs the packages onnx and onnxscript; install them by pip install '.[onnx]'")
    if to == "timm" and not find_spec("timm"):
        raise UserError("what timm loads is made with timm; install it by pip install '.[timm]'")
    size = image_size or sources.own_image_size(source)
    if size is None:
        raise UserError(f"{sources.short(source)} does not say at which size it sees images; give --image-size")
    of, state = sources.find(source, place.parent, None, image_size=size, own_size=image_size is None)
    statistics = Statistics(of.mean, of.std)
    try:
        network = networks.network(of, statistics.channels, state)
        if to == "timm":
            _to_timm(of, network, place)
        else:
            made = graph.program(network, statistics, of.image_size)
            write_atomically(place, graph.writer(made) if to == "torch" else _onnx(made))
    except ValueError as error:
        raise UserError(f"{of.name}: {error}") from None
    return place


def _place(source: str, to: str, output: Path | None) -> Path:
    """Where it will be. Raises UserError where something is there that is not ours to replace."""
    name, kept = FORMS[to], card.folder_of(source)
    if output is None and kept is not None:
        return kept / name
    if output is None:
        called = slug(sources.short(source))
        output = Path(f"{called}-{name}" if to == "timm" else f"{called}{Path(name).suffix}")
    elif output.is_dir() and to != "timm":
        output /= name
    if to == "torch" and output.suffix != Path(name).suffix:
        raise UserError(f"{output} should end in {Path(name).suffix}, which torch.export.load asks for")
    if output.exists() and not (to == "timm" and output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} is there already; remove it, or give another --output")
    return output


def _onnx(made: ExportedProgram) -> bytes:
    """The program as an ONNX model: `images` -> `features`. Raises ValueError where ONNX has no such operation."""
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            found = torch.onnx.export(made, input_names=["images"], output_names=["features"], dynamo=True)
        assert found is not None
        serialised: bytes = found.model_proto.SerializeToString()
        return serialised
    except Exception as error:  # whatever its many parts raise
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"PyTorch cannot write it as ONNX ({one_line(why)[:200]}).") from error


def _to_timm(of: Pretrained, network: nn.Module, folder: Path) -> None:
    """A folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads. Raises ValueError where timm has no
    network of the same weights and the same features."""
    import timm

    architecture = libraries.at_timm(of.network)
    instead = "--to onnx and --to torch hold any network"
    if of.method is not None or is_own(of.network) or not timm.is_model(architecture):
        raise ValueError(f"timm has no network {of.network}; {instead}.")
    channels, size = len(of.mean), of.image_size
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    images, state = torch.rand(2, channels, size, size), network.state_dict()
    try:
        own = timm.create_model(architecture, **arguments)
        if own.pretrained_cfg.get("fixed_input_size"):
            arguments["img_size"] = size
            own = timm.create_model(architecture, **arguments)
        own.load_state_dict(state)
        with torch.no_grad():
            same = torch.allclose(own.eval()(images), network.eval()(images), rtol=1e-3, atol=1e-4)
    except Exception as error:  # whatever a network of another kind raises
        raise ValueError(_unlike(of, architecture, instead)) from error
    if not same:
        raise ValueError(_unlike(of, architecture, instead))
    seen = {
        "input_size": [channels, size, size],
        "mean": of.mean,
        "std": of.std,
        "fixed_input_size": "img_size" in arguments,
    }
    told = {"interpolation": "bilinear", "crop_pct": 1.0, "num_classes": 0, "custom_load": False, "tag": "ssl_bench"}
    first, last = (own.pretrained_cfg.get(name) for name in ("first_conv", "classifier"))
    content = {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": of.width,
        "model_args": arguments,
        "pretrained_cfg": {**seen, **told, "first_conv": first, "classifier": last},
    }
    (folder / "config.json").unlink(missing_ok=True)
    write_atomically(folder / card.WEIGHTS, safetensors.torch.save(weights.copied(network), {"format": "pt"}))
    write_atomically(folder / "config.json", json.dumps(content, indent=1) + "\n")


def _unlike(of: Pretrained, architecture: str, instead: str) -> str:
    small = of.network in ENCODERS and of.image_size <= SMALL_IMAGE
    why = f", as its stem is that for images of up to {SMALL_IMAGE} px" if small else ""
    return f"timm's {architecture} is another network{why}; {instead}."
