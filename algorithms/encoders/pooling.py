"""How a row of features is made of what a network gives for an image: a row, a map or tokens."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
"""What networks call the parameter of their class token."""


class GlobalAveragePool(nn.Module):
    """The mean over all places of a map: [B, C, h, w] -> [B, C].

    PyTorch's own hands back gradients in another memory layout than the map's, and the layers before it then take
    several times as long on a CPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        places = maps.permute(0, 2, 3, 1).flatten(1, 2)
        return places.sum(1) / places.shape[1]


def class_token(tokens: Tensor) -> Tensor:
    """The first of the tokens [B, T, C]: [B, C]."""
    return tokens[:, 0]


def mean_token(tokens: Tensor, prefix: int = 0) -> Tensor:
    """The mean of the tokens [B, T, C] behind so many that stand for no place: [B, C]."""
    return tokens[:, prefix:].mean(1)


def pooling(network: nn.Module, found: Tensor) -> Callable[[Tensor], Tensor] | None:
    """What makes rows [B, D] of outputs such as `found`: rows stay, a map [B, C, h, w] is averaged, of tokens [B, T, C]
    the class token is taken or the mean. The network says which by `global_pool`, as timm's do ("token" or another
    word), and `num_prefix_tokens`; else by whether it has a class token. None for anything else."""
    if found.ndim == 2:
        return nn.Identity()
    if found.ndim == 4:
        return GlobalAveragePool()
    if found.ndim != 3:
        return None
    pool = getattr(network, "global_pool", None)
    has_class_token = any(getattr(network, name, None) is not None for name in CLASS_TOKENS)
    if pool == "token" or (not (isinstance(pool, str) and pool) and has_class_token):
        return class_token
    prefix = getattr(network, "num_prefix_tokens", int(has_class_token))
    return partial(mean_token, prefix=prefix if isinstance(prefix, int) else 0)
