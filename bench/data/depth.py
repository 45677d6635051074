"""What is black and what is white in images of more than 8 bits: all of a data set are shown alike, and only all of
them tell what their range is."""

import numpy as np
from numpy.typing import NDArray

Scale = NDArray[np.float64]
"""[2, C]: the values that are black, and those that are white, in each channel."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits of a pixel that cameras and scanners have."""
RARE = 1.0
"""Percentile of the images beyond which values are cut: one hot pixel makes nothing else black."""


def scale_of(values: NDArray[np.float64], whole: NDArray[np.bool_]) -> tuple[Scale, str]:
    """Of the least and the greatest `values` [N, 2, C] of each image, and whether they are `whole` numbers [N]: the
    scale, and in words what is black and white.

    Whole numbers are from 0 to 2^bits - 1, of the fewest of `DEPTHS` that hold the brightest of all channels. Others,
    and what is negative, in each channel by itself: from 0 to 1 or to 255 where all are, else from the low end of the
    images' least values to the high end of their greatest.
    """
    low, high = values[:, 0], values[:, 1]
    channels = values.shape[2]
    brightest = float(high.max())
    if whole.all() and low.min() >= 0:
        bits = int(brightest).bit_length()
        white = 2.0 ** next((depth for depth in DEPTHS if depth >= bits), bits) - 1
        scale = np.stack([np.zeros(channels), np.full(channels, white)])
        return scale, f"values are up to {brightest:,.0f}: 0 is taken as black and {white:,.0f} as white"
    scale = np.stack([_percentile(low, RARE), _percentile(high, 100 - RARE)])
    for channel in range(channels):
        for white in (1.0, 255.0):
            if low[:, channel].min() >= 0 and high[:, channel].max() <= white:
                scale[:, channel] = 0.0, white
                break
    shown = [f"{black:,.4g} is taken as black and {white:,.4g} as white" for black, white in scale.T]
    named = shown[0] if len(set(shown)) == 1 else "; ".join(f"channel {n}: {each}" for n, each in enumerate(shown, 1))
    return scale, f"values are from {float(low.min()):,.4g} to {brightest:,.4g}: {named}"


def _percentile(values: NDArray[np.float64], percent: float) -> NDArray[np.float64]:
    """Of each column, between those that occur: of a few images the outermost is the least or the greatest."""
    found: NDArray[np.float64] = np.percentile(values, percent, axis=0, method="lower" if percent > 50 else "higher")
    return found if len(values) >= 100 else (values.max(0) if percent > 50 else values.min(0))


def shown(values: NDArray[np.float32], scale: Scale) -> NDArray[np.uint8]:
    """`values` [H, W, C] as 0 to 255."""
    black, white = scale.astype(np.float32)
    span = np.where(white > black, white - black, 1)
    levels = ((values - black) * (255 / span)).clip(0, 255)
    return np.asarray(levels + 0.5, dtype=np.uint8)
