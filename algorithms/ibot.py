"""iBOT: Zhou, Wei, Wang, Shen, Xie, Yuille and Kong 2021, arXiv 2111.07832."""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.dino import DINO
from algorithms.encoders import EncoderFactory
from algorithms.encoders.encoder import Encoder
from algorithms.encoders.transformer import VisionTransformer, own_transformer
from algorithms.method import Setting
from algorithms.parts.heads import by_size
from algorithms.parts.losses import cross_view_entropy, koleo, sinkhorn
from algorithms.parts.precision import full_precision

MASKED = (0.1, 0.5)
"""The shares of a view's patches between which a mask hides (pred_ratio 0.3, pred_ratio_var 0.2)."""
ASPECT = 0.3
"""The least ratio of the sides of what is hidden (pred_aspect_ratio)."""
SINKHORN_ITERATIONS = 3
CENTRINGS = ("mean", "sinkhorn")


class IBOT(DINO):
    """A student learns to say of a picture what its own slow average, the teacher, says of it. It does so twice: of the
    whole picture from another view of it (DINO), and of each small part that was hidden from the student and shown to
    the teacher. So the parts of an image get features that mean something, too.

    L = L_cls, DINO's loss on class tokens, + L_MIM (eq. 2): the mean over hidden patches of H(P_t(x), P_s(x')), where
    the teacher sees the view x, and the student x', of which a block of patches is replaced by a learnt token. The head
    is shared by class and patch tokens; their centres are separate. Half of the views are masked, of each a tenth to a
    half of the patches. As in DINOv2 (arXiv 2304.07193, section 4), the teacher may be centred by Sinkhorn-Knopp, and
    KoLeo, -mean log of a feature's distance to the nearest in its batch, may spread the student's class tokens.

    Departures: a mask is one rectangle, where the authors unite several; the teacher's temperature is constant and the
    same for both kinds of tokens; the centre of patches is that of the hidden ones, as in DINOv2; there are no more
    prototypes than images.

    Choose it for a ViT on many images and long trainings, above all where patches are to be used, as in segmentation.
    On few small images, DINO alone costs less and may well be as good."""

    patch_weight: Tensor
    koleo_weight: Tensor
    patch_centre: Tensor

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        teacher_temperature: float,
        ema_momentum: float,
        centre_momentum: float,
        prototypes: int,
        projector_hidden: int,
        projector_width: int,
        local_crops: int,
        frozen_share: float,
        drop_path: float,
        patch_weight: float,
        koleo_weight: float,
        centring: str,
    ):
        if not isinstance(encoder, VisionTransformer):
            raise ValueError(f"iBOT needs a vision transformer of ours; '{encoder.name}' is none.")
        if centring not in CENTRINGS:
            raise ValueError(f"There is no centring '{centring}'; there are {', '.join(CENTRINGS)}.")
        super().__init__(
            setting,
            encoder,
            temperature=temperature,
            teacher_temperature=teacher_temperature,
            ema_momentum=ema_momentum,
            centre_momentum=centre_momentum,
            prototypes=prototypes,
            projector_hidden=projector_hidden,
            projector_width=projector_width,
            local_crops=local_crops,
            frozen_share=frozen_share,
            drop_path=drop_path,
        )
        self.scalar("patch_weight", patch_weight)
        self.scalar("koleo_weight", koleo_weight)
        self.centring, self.side = centring, encoder.side
        self.mask = nn.Parameter(torch.zeros(encoder.width))
        self.register_buffer("patch_centre", torch.zeros(prototypes))

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> Encoder:
        """The run's where that is a vision transformer of ours; else a tiny one, in place of `resnet8` a smaller."""
        return own_transformer(encoder, image_size, channels)

    @classmethod
    def effective(cls, hyperparameters: dict[str, Any], *, width: int, images: int, batch_size: int) -> dict[str, Any]:
        # They are scored for each hidden patch, which beside small images would be most of a step.
        found = super().effective(hyperparameters, width=width, images=images, batch_size=batch_size)
        return found | {"prototypes": min(found["prototypes"], images)}

    def loss(self, views: list[Tensor], index: Tensor) -> Tensor:
        encoder, head, prototypes = cast(Any, self.student)
        whole = torch.cat(views[:2])
        masked = block_masks(len(whole), self.side, whole.device)
        # As many places of each view as are hidden at most, the hidden ones first: shapes are always the same.
        place = masked.long().argsort(1, descending=True)[:, : most_masked(self.side)]
        hidden = masked.gather(1, place)
        tokens = encoder.tokens(whole, masked=masked, mask=self.mask)
        classes = torch.cat([tokens[:, 0], *by_size(encoder, views[2:])])
        student = prototypes(head(classes), frozen=self.frozen)
        student_patches = prototypes(head(at(tokens[:, 1:], place)), frozen=self.frozen)
        with torch.no_grad():
            encoder, head, prototypes = cast(Any, self.teacher)
            tokens = encoder.tokens(whole)
            everything = torch.ones(len(whole), dtype=torch.bool, device=whole.device)
            targets = self.targets(prototypes(head(tokens[:, 0])), everything, self.centre)
            patch_targets = self.targets(prototypes(head(at(tokens[:, 1:], place))), hidden, self.patch_centre)
        batch = (-1, len(index))
        loss = cross_view_entropy(student.unflatten(0, batch) / self.temperature, targets.unflatten(0, batch))
        patches = masked_entropy(student_patches / self.temperature, patch_targets, hidden)
        spread = koleo(classes[: len(index)]) + koleo(classes[len(index) : len(whole)])
        return loss + self.patch_weight * patches + self.koleo_weight * spread

    @full_precision
    def targets(self, scores: Tensor, counted: Tensor, centre: Tensor) -> Tensor:
        """What the teacher says, P_t [..., K], by its `scores` [..., K]. Those that are `counted` bool [...] alone move
        the `centre` [K], afterwards, or are shared out to the prototypes."""
        if self.centring == "sinkhorn":
            scores, rows = scores.masked_fill(~counted[..., None], -torch.inf).flatten(0, -2), scores.shape
            return sinkhorn(scores, self.teacher_temperature, SINKHORN_ITERATIONS).view(rows)
        targets = F.softmax((scores - centre) / self.teacher_temperature, dim=-1)
        mean = (scores * counted[..., None]).flatten(0, -2).sum(0) / counted.sum()
        centre.lerp_(mean, 1 - self.centre_momentum)
        return targets


def at(tokens: Tensor, place: Tensor) -> Tensor:
    """The tokens [B, M, D] of `tokens` [B, T, D] at `place` int64 [B, M]."""
    return tokens.gather(1, place[..., None].expand(-1, -1, tokens.shape[2]))


def most_masked(side: int) -> int:
    """The most patches that `block_masks` hides of a square of patches."""
    return max(math.floor(MASKED[1] * side**2), side)


def block_masks(count: int, side: int, device: torch.device) -> Tensor:
    """Which patches are hidden of `count` views, bool [count, side^2]: of half of the views, in a random choice, a
    rectangle of a random share, shape and place."""
    area, shape, row, column = torch.rand(4, count, 1, device=device)
    area = side**2 * (MASKED[0] + (MASKED[1] - MASKED[0]) * area)
    shape = torch.exp((2 * shape - 1) * math.log(ASPECT))
    height = (area * shape).sqrt().round().clamp(1, side)
    width = (area / height).floor().clamp(1, side)
    top, left = ((side + 1 - length) * start for length, start in ((height, row), (width, column)))
    places = torch.arange(side, device=device)
    rows, columns = (
        (places >= start.floor()) & (places < start.floor() + length)
        for start, length in ((top, height), (left, width))
    )
    chosen = torch.rand(count, device=device).argsort() < (count + 1) // 2
    masked: Tensor = (rows[:, :, None] & columns[:, None, :]).flatten(1) & chosen[:, None]
    return masked


@full_precision
def masked_entropy(logits: Tensor, targets: Tensor, hidden: Tensor) -> Tensor:
    """-sum_k target_k log softmax(logits)_k, both [B, M, K]: the mean over the patches that are `hidden` bool [B, M] of
    each view, and over all views, of which those without a mask count as 0 (the authors' iBOTLoss), []."""
    entropies = -(targets * F.log_softmax(logits, dim=2)).sum(2)
    return ((entropies * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean()
