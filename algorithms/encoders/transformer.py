"""Vision transformers."""

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders import ENCODERS, SMALL_IMAGE, EncoderFactory, build_encoder, check_encoder
from algorithms.encoders.encoder import Encoder


class Block(nn.TransformerEncoderLayer):
    """A pre-norm block. While it trains, each image passes over either of its two branches with the probability
    `drop_path`; what is left is scaled up as much (stochastic depth: Huang 2016, arXiv 1603.09382)."""

    drop_path = 0.0

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)

    def forward(self, src: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        if not self.training or self.drop_path == 0:
            return super().forward(src, *arguments, **keywords)
        tokens = src + self._kept(self._sa_block(self.norm1(src), None, None))
        return tokens + self._kept(self._ff_block(self.norm2(tokens)))

    def _kept(self, branch: Tensor) -> Tensor:
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


class VisionTransformer(Encoder):
    """ViT (Dosovitskiy 2020, arXiv 2010.11929), pre-norm, class token as feature; positions are interpolated for
    crops of another size (DINO). Patches are 4 px for small images, else 16 px."""

    def __init__(self, image_size: int, channels: int = 3, *, width: int, depth: int, heads: int):
        super().__init__()
        self.width = width
        self.patch = patch = 4 if image_size <= SMALL_IMAGE else 16
        self.side = image_size // patch
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        self.blocks = nn.TransformerEncoder(
            Block(width, heads), depth, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        for parameter in (self.token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)
        # Each block for itself: nn.TransformerEncoder copies one.
        for module in self.blocks.modules():
            if isinstance(module, nn.MultiheadAttention):
                nn.init.trunc_normal_(module.in_proj_weight, std=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images)[:, 0]

    def tokens(
        self, images: Tensor, *, kept: Tensor | None = None, masked: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """All tokens [B, 1 + T, width] of images, the class token first, then those of the T patches, row by row.

        Of the patches that are `kept`, int64 [B, K], alone, in that order, where given: [B, 1 + K, width] (MAE). Where
        `masked` bool [B, T] is true, the token `mask` [width] stands for what the patch shows (iBOT).
        """
        tokens = self.patches(images)
        positions: Tensor = self.positions
        if tokens.shape[2] != self.side or tokens.shape[3] != self.side:
            # By a matrix, since PyTorch's own gradient of this is not deterministic on CUDA.
            each = torch.eye(self.side**2, device=tokens.device).view(-1, 1, self.side, self.side)
            weight = F.interpolate(each, size=tokens.shape[2:], mode="bicubic", align_corners=False).flatten(1)
            positions = torch.cat([positions[:, :1], weight.T @ positions[:, 1:]], 1)
        tokens = tokens.flatten(2).transpose(1, 2)
        if masked is not None and mask is not None:
            tokens = torch.where(masked[..., None], mask.to(tokens.dtype), tokens)
        tokens = tokens + positions[:, 1:]
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, self.width))
        first = (self.token + positions[:, :1]).expand(tokens.shape[0], -1, -1)
        encoded: Tensor = self.blocks(torch.cat([first, tokens], 1))
        return encoded

    def drop_paths(self, rate: float) -> None:
        """Blocks drop paths with a probability that rises from 0 in the first to `rate` in the last (DINO, iBOT)."""
        for depth, block in enumerate(self.blocks.layers):
            block.drop_path = rate * depth / max(len(self.blocks.layers) - 1, 1)

    @torch.no_grad()
    def begin_as_mae(self) -> None:
        """Fixed sine-cosine positions and Glorot's uniform weights, as MAE's and MoCo v3's authors begin."""
        self.positions.copy_(sine_cosine(self.side, self.width)).requires_grad_(False)
        begin_by_glorot(self.blocks)
        nn.init.xavier_uniform_(self.patches.weight.flatten(1))
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)


@torch.no_grad()
def begin_by_glorot(network: nn.Module) -> None:
    """Draw the weights of all linear layers of `network` by Glorot's uniform law; their biases are zero."""
    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):
            for part in module.in_proj_weight.chunk(3):
                nn.init.xavier_uniform_(part)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def sine_cosine(side: int, width: int) -> Tensor:
    """Positions [1, 1 + side^2, width] of a square of patches, zero for the class token: a half tells the column, a
    half the row, each by sines and cosines of frequencies 1 to 1/10,000 (MoCo v3, arXiv 2104.02057, section 4.3.1).
    `width` is a multiple of 4."""
    frequencies = 10_000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (columns, rows)]
    places = torch.cat([turned for angle in angles for turned in (angle.sin(), angle.cos())], 1)
    return torch.cat([torch.zeros(1, width), places.float()])[None]


def own_transformer(encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> VisionTransformer:
    """The run's `encoder` where it is called by name and is a vision transformer of ours, else a tiny one, in place of
    `resnet8` the smaller: for a method that needs more of an encoder than its features (MAE, iBOT)."""
    check_encoder(encoder)
    ours = isinstance(encoder, str) and ENCODERS.get(encoder) == "transformer"
    name = encoder if ours else "vit_pico" if encoder == "resnet8" else "vit_tiny"
    return cast(VisionTransformer, build_encoder(name, image_size, channels))


vit_tiny = partial(VisionTransformer, width=192, depth=12, heads=3)
vit_pico = partial(VisionTransformer, width=64, depth=6, heads=2)
