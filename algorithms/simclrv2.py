"""SimCLR v2: Chen, Kornblith, Swersky, Norouzi and Hinton 2020, arXiv 2006.10029."""

from torch import nn

from algorithms.encoders.encoder import Encoder
from algorithms.method import Setting
from algorithms.simclr import SimCLR


class SimCLRV2(SimCLR):
    """SimCLR with a projector of three layers (section 2), and judged by `features`: the "encoder", or the "hidden"
    first layer of the projector, from which the paper fine-tunes. Without the paper's memory of keys, which gains
    it about a point."""

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
