"""SEER: Goyal et al. 2021, arXiv 2103.01988."""

from algorithms.encoders import EncoderFactory, build_encoder, check_encoder
from algorithms.encoders.encoder import Encoder
from algorithms.swav import SwAV


class SEER(SwAV):
    """SwAV at scale: a large RegNet, trained on a stream of images that nobody has picked or cleaned. The method is
    SwAV's; the point of the paper is that it still works there.

    The loss is SwAV's (eq. 1-2 there), with ten Sinkhorn iterations and no queue (section 3).

    Departures: trunk and head are those of the authors' RegNetY of 400 MFLOP (VISSL), the head with two layers and
    batch norm; the paper's, on 256 GFLOP, has three and none. There activations are recomputed in the backward pass:
    that saves memory, which this trunk need not, and changes no result. The paper sees each image of an unlimited,
    unlabelled stream once. Here the stream is the training set (STL-10's unlabelled images included), passed over as
    often as there are epochs.

    Choose it where you want a RegNetY: it is SwAV with that encoder, so its row compares encoder and method at once."""

    @classmethod
    def build_encoder(cls, encoder: str | EncoderFactory, image_size: int, channels: int = 3) -> Encoder:
        """A RegNetY, whatever encoder is asked for: a tiny one in place of `resnet8`, else one of 400 MFLOP."""
        check_encoder(encoder)
        return build_encoder("regnet_y_tiny" if encoder == "resnet8" else "regnet_y_400mf", image_size, channels)
