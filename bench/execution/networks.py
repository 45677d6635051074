"""The networks of a run that users bring, made where trainings are: of a function behind a door, or with the weights
that the run keeps."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor, nn

from algorithms.encoders import EncoderFactory, build_encoder, made_by, weights
from algorithms.encoders.encoder import Encoder
from algorithms.encoders.frozen import Frozen
from algorithms.images.statistics import Statistics
from bench import doors
from bench.errors import UserError
from bench.execution import checkpoint
from bench.execution.pretrained import Pretrained, is_own


def load_factory(door: str) -> EncoderFactory:
    """What makes the network behind a door, under the name that tables have for it. Raises UserError, as does what it
    gives where the user's own code fails."""
    otherwise = "give package.module:function or file.py:function, which makes a torch.nn.Module"
    found = doors.load("encoder", door, otherwise)
    if isinstance(found, nn.Module) or not callable(found):
        raise UserError(f"the encoder {door!r} is no function; {otherwise}")

    def make(image_size: int, channels: int = 3) -> nn.Module:
        try:
            network = made_by(found, image_size, channels)
        except Exception as error:
            raise doors.refused("encoder", door, "be made", error, otherwise) from error
        if not isinstance(network, nn.Module):
            raise UserError(f"the encoder {door!r} gives {type(network).__name__}, not a torch.nn.Module; {otherwise}")
        return network

    make.__name__ = doors.short(door)
    return make


def maker(network: str) -> str | EncoderFactory:
    """The name of an encoder as it is; of a door what makes the network behind it. Raises UserError."""
    return load_factory(network) if is_own(network) else network


def save(state: Mapping[str, Tensor], place: str) -> None:
    """Keep weights where workers find them; nothing is written where they are already. Raises OSError."""
    path = Path(place)
    if not path.exists():
        checkpoint.write(path, dict(state))


@lru_cache(maxsize=8)
def state_of(place: str) -> Mapping[str, Tensor]:
    """The weights that `save` kept; in memory once for all trainings of a worker."""
    return checkpoint.read(Path(place))


def network(of: Pretrained, channels: int, state: Mapping[str, Tensor] | None = None) -> Encoder:
    """The network with its weights: those of `state`, else those that `save` kept. Raises ValueError or UserError."""
    made = build_encoder(maker(of.network), of.image_size, channels)
    weights.load(made, state_of(of.file) if state is None else state, least=1.0)
    made.name = of.name
    return made


def frozen(of: Pretrained, given: Statistics, state: Mapping[str, Tensor] | None = None) -> Frozen:
    """The network with its weights (`network`), for images normalised by the statistics `given`."""
    own = Statistics(of.mean, of.std)
    return Frozen(network(of, own.channels, state), of.image_size, own, given)


def warm(of: Pretrained, encoder: str | EncoderFactory, name: str) -> EncoderFactory:
    """What makes the encoder of a training, with these weights as far as they fit; called by this name."""

    def make(image_size: int, channels: int = 3) -> nn.Module:
        made = build_encoder(encoder, image_size, channels)
        weights.load(made, state_of(of.file))
        return made

    make.__name__ = name
    return make
