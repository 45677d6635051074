"""SimCLR v2: Chen, Kornblith, Swersky, Norouzi and Hinton 2020, arXiv 2006.10029."""

from torch import Tensor, nn

from algorithms.method import Setting
from algorithms.simclr import SimCLR


class SimCLRV2(SimCLR):
    """SimCLR with a projector of three layers (section 2), and kNN on `features`: the "encoder", or the "hidden"
    first layer of the projector, from which the paper fine-tunes. Without the paper's memory of keys, which gains
    it about a point."""

    layers = 3

    def __init__(
        self,
        setting: Setting,
        encoder: nn.Module,
        *,
        temperature: float,
        projector_width: int,
        features: str,
    ):
        if features not in ("encoder", "hidden"):
            raise ValueError(f"features is '{features}'; it must be encoder or hidden.")
        super().__init__(setting, encoder, temperature=temperature, projector_width=projector_width)
        self.reads_hidden = features == "hidden"

    def features(self, images: Tensor) -> Tensor:
        found = self.encoder(images)
        # Linear layer, batch norm and ReLU.
        return self.projector[:3](found) if self.reads_hidden else found
