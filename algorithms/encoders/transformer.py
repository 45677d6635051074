"""Vision transformers."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders import SMALL_IMAGE
from algorithms.encoders.encoder import Encoder


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
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
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
        tokens = self.patches(images)
        positions: Tensor = self.positions
        if tokens.shape[2] != self.side or tokens.shape[3] != self.side:
            # By a matrix, since PyTorch's own gradient of this is not deterministic on CUDA.
            each = torch.eye(self.side**2, device=tokens.device).view(-1, 1, self.side, self.side)
            weight = F.interpolate(each, size=tokens.shape[2:], mode="bicubic", align_corners=False).flatten(1)
            positions = torch.cat([positions[:, :1], weight.T @ positions[:, 1:]], 1)
        tokens = tokens.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1) + positions
        features: Tensor = self.blocks(tokens)[:, 0]
        return features


vit_tiny = partial(VisionTransformer, width=192, depth=12, heads=3)
