"""SimCLR v2: Chen, Kornblith, Swersky, Norouzi and Hinton 2020, arXiv 2006.10029."""

from torch import nn

from algorithms.encoders.encoder import Encoder
from algorithms.method import Setting
from algorithms.simclr import SimCLR


class SimCLRV2(SimCLR):
    """SimCLR with a deeper projector. The deeper it is, the more of its first layers is still of use afterwards: the
    network may be cut behind the first one, instead of before it, where it is to be fine-tuned with few labels.

    The loss is SimCLR's (eq. 1), the projector has three layers (section 2). It is judged by `features`: the
    "encoder", or the "hidden" first layer of the projector, from which the paper fine-tunes.

    Departures: without the paper's memory of keys, which gains it about a point, and without its third part, the
    distillation, which `distill` is.

    Choose it in place of SimCLR where the encoder is large and is to be fine-tuned with few labels; on small networks
    the two are alike."""

    layers = 3

    def __init__(
        self,
        setting: Setting,
        encoder: Encoder,
        *,
        temperature: float,
        projector_width: int,
        features: str,
    ):
        if features not in ("encoder", "hidden"):
            raise ValueError(f"features is '{features}'; it must be encoder or hidden.")
        super().__init__(setting, encoder, temperature=temperature, projector_width=projector_width)
        self.reads_hidden = features == "hidden"

    @property
    def judged_encoder(self) -> nn.Module:
        # With the projector's first linear layer, batch norm and ReLU.
        return nn.Sequential(self.encoder, *self.projector[:3]) if self.reads_hidden else self.encoder
