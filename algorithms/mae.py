"""MAE: He, Chen, Xie, Li, Dollar and Girshick 2021, arXiv 2111.06377."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.encoders import EncoderFactory
from algorithms.encoders.encoder import Encoder
from algorithms.encoders.transformer import Block, VisionTransformer, begin_by_glorot, own_transformer, sine_cosine
from algorithms.method import Method, Setting
from algorithms.parts.precision import full_precision
from algorithms.parts.views import colour_view

HEAD_WIDTH = 32
"""Features of an attention head of the decoder, as in the authors' (512 in 16 heads)."""


class MAE(Method):
    """Most patches of an image are hidden, and the network paints them from the few that are left. To guess the rest of
    a dog, it must know what dogs look like. No second view is needed, and nothing to tell images apart.

    The encoder, a ViT, sees the patches that are kept alone (section 3). A light decoder gets what it says of them,
    one learnt token in every hidden patch's place, and fixed sine-cosine positions; it predicts the hidden patches'
    pixels. L = the mean over hidden patches i of |d_i - n(x_i)|^2 / P, where n takes out the mean and the deviation of
    the P numbers of a patch ("Reconstruction target"). Each image has a random mask of its own. Crops, of a fifth
    of the image or more, and flips are the only augmentation (table 1e; main_pretrain.py).

    Departures: the decoder is at most as wide as the encoder, where the paper's has 512 features beside 1024; for small
    images it has one block, where the paper's has eight.

    Choose it for long trainings of a larger ViT on many images, to be fine-tuned afterwards. Its features are hard to
    use as they are: nearest neighbours and linear probes rank it below methods that compare views."""

    positions: Tensor

    def __init__(
        self, setting: Setting, encoder: Encoder, *, mask_ratio: float, decoder_width: int, decoder_depth: int
    ):
        if not isinstance(encoder, VisionTransformer):
            raise ValueError(f"MAE needs a vision transformer of ours; '{encoder.name}' is none.")
        super().__init__(setting, encoder)
        self.encoder: VisionTransformer
        self.places = encoder.side**2
        self.kept = min(max(round(self.places * (1 - mask_ratio)), 1), self.places - 1)
        width = decoder_width
        self.embedding = nn.Linear(encoder.width, width)
        self.mask = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.register_buffer("positions", sine_cosine(encoder.side, width))
        self.decoder = nn.TransformerEncoder(
            Block(width, max(width // HEAD_WIDTH, 1)),
            decoder_depth,
            norm=nn.LayerNorm(width),
            enable_nested_tensor=False,
        )
        self.pixels = nn.Linear(width, encoder.patches.in_channels * encoder.patch**2)
        for part in (self.embedding, self.decoder, self.pixels):
            begin_by_glorot(part)
        self.views = (colour_view(setting, scale=(0.2, 1.0), jitter=(0.0,) * 4, grayscale=0.0, blur=0.0),)

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> Encoder:
        """The run's where that is a vision transformer of ours; else a tiny one, in place of `resnet8` a smaller."""
        network = own_transformer(encoder, image_size, channels)
        network.begin_as_mae()
        return network

    @classmethod
    def unaffected_by(cls, image_size: int) -> frozenset[str]:
        # There is no second view, which would be solarised.
        return frozenset({"solarize_probability"})

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        return hyperparameters | {"decoder_width": min(hyperparameters["decoder_width"], width)}

    def predict(self, images: Tensor, kept: Tensor, masked: Tensor) -> Tensor:
        """The pixels [B, M, P] of the patches `masked` int64 [B, M], from those that are `kept` int64 [B, K]."""
        tokens: Tensor = self.embedding(self.encoder.tokens(images, kept=kept))
        places = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1, masked + 1], 1)
        hidden = self.mask.to(tokens.dtype).expand(*masked.shape, -1)
        decoded = self.decoder(torch.cat([tokens, hidden], 1) + self.positions[0, places])
        pixels: Tensor = self.pixels(decoded[:, -masked.shape[1] :])
        return pixels

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        (images,) = views
        order = torch.rand(len(images), self.places, device=images.device).argsort(1)
        kept, masked = order[:, : self.kept], order[:, self.kept :]
        patches = F.unfold(images, self.encoder.patch, stride=self.encoder.patch).transpose(1, 2)
        target = patches.gather(1, masked[..., None].expand(-1, -1, patches.shape[2]))
        return pixel_error(self.predict(images, kept, masked), target)


@full_precision
def pixel_error(predicted: Tensor, patches: Tensor) -> Tensor:
    """The mean square [] of what `predicted` [B, M, P] is off from the pixels of `patches` [B, M, P], of which each is
    normalised by its own mean and deviation."""
    deviation, mean = torch.std_mean(patches, 2, keepdim=True)
    return F.mse_loss(predicted, (patches - mean) / (deviation**2 + 1e-6).sqrt())
