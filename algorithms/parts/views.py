"""The views that the papers take of an image: above SMALL_IMAGE px with their authors' numbers, up to it with those of
recipes for CIFAR."""

from dataclasses import replace
from typing import Any

from algorithms.encoders import SMALL_IMAGE
from algorithms.encoders.encoder import Encoder, whole_patches
from algorithms.encoders.patches import trunk_side
from algorithms.encoders.transformer import VisionTransformer
from algorithms.images.augmentation import distortion
from algorithms.images.view import Amount, View
from algorithms.method import Setting


def is_small(setting: Setting) -> bool:
    """Whether the images count as small ones."""
    return setting.image_size <= SMALL_IMAGE


def colour_view(setting: Setting, *, jitter: tuple[Amount, Amount, Amount, Amount], **changes: Any) -> View:
    """SimCLR's augmentation (appendix A) with a `jitter` of one's own: random resized crop, flip, jitter with
    probability 0.8, greyscale 0.2, and blur 0.5 where images are large (appendix B.9 leaves it out at 32 px).
    `changes` are fields of `View`."""
    fields: dict[str, Any] = {"size": setting.image_size, "jitter": jitter, "blur": 0.0 if is_small(setting) else 0.5}
    return View(**fields | changes)


def simclr_views(setting: Setting) -> tuple[View, View]:
    """SimCLR's pair: colours distorted at strength 1 (google-research/simclr, run.py), on CIFAR-10 at 0.5 (its README;
    appendix B.9)."""
    return (colour_view(setting, jitter=distortion(0.5 if is_small(setting) else 1.0)),) * 2


def moco_views(setting: Setting) -> tuple[View, View]:
    """MoCo's pair, never blurred: a fifth of the image or more, jitter (0.4, 0.4, 0.4, 0.4) always
    (facebookresearch/moco, main_moco.py); in the authors' CIFAR-10 notebook 0.08 or more, (0.4, 0.4, 0.4, 0.1) with
    probability 0.8."""
    if is_small(setting):
        view = colour_view(setting, jitter=(0.4, 0.4, 0.4, 0.1), blur=0.0)
    else:
        view = colour_view(setting, scale=(0.2, 1.0), jitter=(0.4,) * 4, jitter_probability=1.0, blur=0.0)
    return (view, view)


def mocov2_views(setting: Setting) -> tuple[View, View]:
    """MoCo v2's pair: a fifth of the image or more, jitter (0.4, 0.4, 0.4, 0.1) (main_moco.py, --aug-plus); in the
    authors' CIFAR-10 notebook 0.08 or more."""
    scale = (0.08 if is_small(setting) else 0.2, 1.0)
    return (colour_view(setting, scale=scale, jitter=(0.4, 0.4, 0.4, 0.1)),) * 2


def asymmetric_views(setting: Setting) -> tuple[View, View]:
    """BYOL's pair (arXiv 2006.07733, appendix B): jitter (0.4, 0.4, 0.2, 0.1); the second view is solarised with
    probability 0.2. Blur is for large images: always in the first view, 0.1 in the second."""
    large = not is_small(setting)
    jitter = (0.4, 0.4, 0.2, 0.1)
    return (
        colour_view(setting, jitter=jitter, blur=1.0 if large else 0.0),
        colour_view(setting, jitter=jitter, blur=0.1 if large else 0.0, solarize=0.2),
    )


def mocov3_views(setting: Setting, encoder: Encoder) -> tuple[View, View]:
    """BYOL's pair, on a ResNet of a fifth of the image or more (facebookresearch/moco-v3, CONFIG.md); on a ViT, and on
    CIFAR-10 (solo-learn), of 0.08 or more."""
    least = 0.08 if is_small(setting) or isinstance(encoder, VisionTransformer) else 0.2
    first, second = (replace(view, scale=(least, 1.0)) for view in asymmetric_views(setting))
    return first, second


def swav_views(setting: Setting, encoder: Encoder, local_crops: int) -> tuple[View, ...]:
    """SwAV's crops (arXiv 2006.09882, section 3.3; facebookresearch/swav, scripts of 400 epochs, with and without
    local crops). Small images: scales of solo-learn's cifar-multicrop recipe, also without local crops, since a
    twentieth of one shows nothing, and half the strength of colours (facebookresearch/swav, issue 23), with which the
    loss does not stay at log K."""
    small = is_small(setting)
    view = colour_view(setting, jitter=distortion(0.5 if small else 1.0))
    return multi_crop(
        setting,
        encoder,
        (view, view),
        (view,) * local_crops,
        alone=(0.2 if small else 0.08, 1.0),
        whole=(0.2 if small else 0.14, 1.0),
        part=(0.08, 0.5) if small else (0.05, 0.14),
    )


def dino_views(setting: Setting, encoder: Encoder, local_crops: int) -> tuple[View, ...]:
    """DINO's crops, with BYOL's colours (arXiv 2104.14294, section 3.2; facebookresearch/dino, main_dino.py, whose
    README has other scales for ResNet-50). Small images: lightly's pair for CIFAR-10, and local crops as in
    `swav_views`."""
    small, vit = is_small(setting), isinstance(encoder, VisionTransformer)
    first, second = asymmetric_views(setting)
    return multi_crop(
        setting,
        encoder,
        (first, second),
        (replace(first, blur=first.blur / 2),) * local_crops,
        alone=(0.4 if small else 0.14, 1.0),
        whole=(0.4 if small or vit else 0.14, 1.0),
        part=(0.08, 0.5) if small else (0.05, 0.4 if vit else 0.14),
    )


def lejepa_views(setting: Setting, encoder: Encoder, global_crops: int, local_crops: int) -> tuple[View, ...]:
    """LeJEPA's crops, all with the same colours (rbalestr-lab/lejepa, README.md; MINIMAL.md, without local crops, on
    Imagenette). On small images a local crop shows 0.08 of it or more, as in `swav_views`."""
    view = colour_view(setting, jitter=(0.4, 0.4, 0.2, 0.1), solarize=0.2)
    return multi_crop(
        setting,
        encoder,
        (view,) * global_crops,
        (view,) * local_crops,
        alone=(0.08, 1.0),
        whole=(0.3, 1.0),
        part=(0.08 if is_small(setting) else 0.05, 0.3),
    )


def multi_crop(
    setting: Setting,
    encoder: Encoder,
    large: tuple[View, ...],
    local: tuple[View, ...],
    *,
    alone: tuple[float, float],
    whole: tuple[float, float],
    part: tuple[float, float],
) -> tuple[View, ...]:
    """`large` with crops of scale `whole`, or `alone` where there is no `local` view; then `local` with crops of scale
    `part`. A local view's side is 96 px of 224 (SwAV, section 5.1), of small images 18 px of 32 (solo-learn's
    cifar-multicrop recipe); on a ViT the nearest whole number of patches."""
    share = 18 / 32 if is_small(setting) else 96 / 224
    side = whole_patches(setting.image_size * share, encoder)
    globals_ = [replace(view, scale=whole if local else alone) for view in large]
    return (*globals_, *(replace(view, size=side, scale=part) for view in local))


def is_shifted(image_size: int) -> bool:
    """Whether `infomax_view` is shifted, not cropped."""
    return image_size <= 32


def infomax_view(setting: Setting) -> View:
    """AMDIM's augmentation, and CPC's: flip, jitter (0.4, 0.4, 0.4, 0.2), greyscale 0.25, and up to 32 px a shift by an
    eighth and no crop. Above, a crop of at least 0.3 of the image, at the encoder's own side; hue 0.1 at 128 px."""
    size = setting.image_size
    if is_shifted(size):
        return View(size, translate=size // 8, jitter=(0.4, 0.4, 0.4, 0.2), grayscale=0.25)
    side = trunk_side(size)
    jitter = (0.4, 0.4, 0.4, 0.1 if side == 128 else 0.2)
    return View(side, scale=(0.3, 1.0), ratio=(0.7, 1.4), jitter=jitter, grayscale=0.25)
