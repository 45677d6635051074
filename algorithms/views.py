"""The augmentations that the papers share, by strength."""

from algorithms.augment import View
from algorithms.encoders import SMALL_IMAGE, trunk_side
from algorithms.method import Setting


def colour_view(setting: Setting, *, strength: float = 0.5, size: int | None = None, **changes) -> View:
    """SimCLR's augmentation (arXiv 2002.05709, appendix A): random resized crop, flip, colour jitter of
    `strength` with probability 0.8, greyscale 0.2, and blur 0.5 where images are large (appendix B.9 leaves it out
    at 32 px). `changes` are fields of `View`."""
    fields = {
        "size": size or setting.image_size,
        "jitter": (0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength),
        "blur": 0.5 if setting.image_size > SMALL_IMAGE else 0.0,
    }
    return View(**fields | changes)


def asymmetric_views(setting: Setting) -> tuple[View, View]:
    """BYOL's pair (arXiv 2006.07733, appendix B): jitter (0.4, 0.4, 0.2, 0.1); the second view is solarised with
    probability 0.2. Blur is for large images: always in the first view, 0.1 in the second."""
    large = setting.image_size > SMALL_IMAGE
    jitter = (0.4, 0.4, 0.2, 0.1)
    return (
        colour_view(setting, jitter=jitter, blur=1.0 if large else 0.0),
        colour_view(setting, jitter=jitter, blur=0.1 if large else 0.0, solarize=0.2),
    )


def infomax_view(setting: Setting) -> View:
    """AMDIM's augmentation, and CPC's: flip, jitter (0.4, 0.4, 0.4, 0.2), greyscale 0.25, and up to 32 px a shift by an
    eighth and no crop. Above, a crop of at least 0.3 of the image, at the encoder's own side; hue 0.1 at 128 px."""
    size = setting.image_size
    if size <= 32:
        return View(size, translate=size // 8, jitter=(0.4, 0.4, 0.4, 0.2), grayscale=0.25)
    side = trunk_side(size)
    jitter = (0.4, 0.4, 0.4, 0.1 if side == 128 else 0.2)
    return View(side, scale=(0.3, 1.0), ratio=(0.7, 1.4), jitter=jitter, grayscale=0.25)
