"""What is black and what is white in images of more than 8 bits: all of a data set are shown alike, and only all of
them tell what their range is."""

import numpy as np
from numpy.typing import NDArray

Scale = NDArray[np.float64]
"""[2, C]: the values that are black, and those that are white, in each channel."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits of a pixel that cameras and scanners have."""
RARE = 1.0
"""Per cent of the images whose extremes are cut: one hot pixel makes nothing else black."""
FAR = 10
"""Times the range of all others."""


def scale_of(values: NDArray[np.float64], whole: NDArray[np.bool_]) -> tuple[Scale, str]:
    """Of the least and the greatest `values` [N, 2, C] of each image, and whether they are `whole` numbers [N]: the
    scale, and in words what is black and white.

    Whole numbers of which none is below 0 are from 0 to 2^bits - 1, of the fewest of `DEPTHS` that hold the brightest
    of all channels. Others in each channel by itself: from 0 to 1 or to 255 where all are, else between `_ends`.
    """
    low, high = values[:, 0], values[:, 1]
    channels = values.shape[2]
    brightest = float(high.max())
    if whole.all() and low.min() >= 0:
        bits = int(brightest).bit_length()
        white = 2.0 ** next((depth for depth in DEPTHS if depth >= bits), bits) - 1
        scale = np.stack([np.zeros(channels), np.full(channels, white)])
        return scale, f"values are up to {brightest:,.0f}: 0 is taken as black and {white:,.0f} as white"
    scale = _ends(low, high)
    for channel in range(channels):
        for white in (1.0, 255.0):
            if low[:, channel].min() >= 0 and high[:, channel].max() <= white:
                scale[:, channel] = 0.0, white
                break
    shown = [f"{black:,.4g} is taken as black and {white:,.4g} as white" for black, white in scale.T]
    named = shown[0] if len(set(shown)) == 1 else "; ".join(f"channel {n}: {each}" for n, each in enumerate(shown, 1))
    return scale, f"values are from {float(low.min()):,.4g} to {brightest:,.4g}: {named}"


def _ends(low: NDArray[np.float64], high: NDArray[np.float64]) -> Scale:
    """The percentile `RARE` of the least values, and that from above of the greatest. Of fewer than 100 images, where
    one is more than that, the least and the greatest unless they are `FAR` from those of all others."""
    if len(low) < 3:
        return np.stack([low.min(0), high.max(0)])
    black = np.percentile(low, RARE, axis=0, method="higher")
    white = np.percentile(high, 100 - RARE, axis=0, method="lower")
    if len(low) < 100:
        most = FAR * (white - black)
        black, white = (
            np.where(black - low.min(0) > most, black, low.min(0)),
            np.where(high.max(0) - white > most, white, high.max(0)),
        )
    return np.stack([black, white])


def shown(values: NDArray[np.float32], scale: Scale) -> NDArray[np.uint8]:
    """`values` [H, W, C] as 0 to 255."""
    black, white = scale
    levels = (values - black) / np.where(white > black, white - black, 1) * 255
    return np.asarray(levels.clip(0, 255) + 0.5, dtype=np.uint8)
