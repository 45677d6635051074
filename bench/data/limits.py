"""How large an image may be."""

from PIL import Image

MOST_CHANNELS = 16


def check_size(width: int, height: int, channels: int) -> None:
    """Raises where an image is to take more memory than the largest photograph that Pillow reads."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height * max(1.0, channels / 3) > most:
        raise Image.DecompressionBombError(f"{width} x {height} px of {channels} channels")
