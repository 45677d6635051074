"""Settings of augmentation that all methods share: they take the place of the paper's own where images are of another
kind than those that the paper had."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from algorithms.images.view import Amount, View

PAPER = "paper"
"""What the hyper-parameter `augment` is where a method has its paper's own views, whatever the settings are."""

LIMITS = {"least_crop": (1e-4, 1.0), "jitter_strength": (0.0, 2.5)}
"""The least and the most of the settings that are no probabilities; hue is shifted by half a turn at the most."""


def distortion(strength: Amount, *, colour: bool = True) -> tuple[Amount, Amount, Amount, Amount]:
    """SimCLR's jitter of brightness, contrast, saturation and hue (arXiv 2002.05709, appendix A); without `colour` of
    the first two alone."""
    return (0.8 * strength, 0.8 * strength, 0.8 * strength if colour else 0.0, 0.2 * strength if colour else 0.0)


@dataclass(frozen=True)
class Augmentation:
    """How views are made, whatever the method; by default nothing is done to them. What a method alone decides stays as
    it is: how many views there are, their sizes, shifts, and how often they are jittered.

    A number may be a tensor [], as of `View`. Raises ValueError for a number that is none of its kind."""

    least_crop: Amount = 1.0
    """The least share of an image's area that a crop holds; 1 crops nothing. Crops that never hold the whole image
    (the local ones of multi-crop) keep their scale, and views that are shifted or whole are not cropped."""
    jitter_strength: Amount = 0.0
    """`distortion`."""
    jitter_colour: bool = False
    """Whether saturation and hue are jittered, too."""
    grayscale_probability: Amount = 0.0
    blur_probability: Amount = 0.0
    solarize_probability: Amount = 0.0
    """Of all views but the first, as in BYOL (arXiv 2006.07733, appendix B)."""
    horizontal_flip_probability: Amount = 0.0
    vertical_flip_probability: Amount = 0.0
    quarter_turn_probability: Amount = 0.0
    """Of a turn by 0, 90, 180 or 270 degrees, each as likely."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                continue
            if name == "jitter_colour":
                if not isinstance(value, bool):
                    raise ValueError(f"{name} is {value!r}; it must be true or false.")
                continue
            least, most = LIMITS.get(name, (0.0, 1.0))
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError(f"{name} is {value!r}; it must be a number from {least:g} to {most:g}.")

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Any], device: torch.device | None = None) -> Self | None:
        """The settings among the hyper-parameters of a training; None where it has its paper's own views. With a
        `device`, the numbers that are given are tensors there, so that a compiled step serves every value of them."""
        if hyperparameters.get("augment", PAPER) == PAPER:
            return None
        given: dict[str, Any] = {name: hyperparameters[name] for name in SETTINGS if name in hyperparameters}
        found = cls(**given)
        if device is None:
            return found
        numbers = {name: value for name, value in given.items() if name != "jitter_colour"}
        return cls(**given | {name: torch.tensor(float(value), device=device) for name, value in numbers.items()})

    def view(self, own: View, *, first: bool) -> View:
        """A method's `own` view with these settings; `first` among its views."""
        scale = own.scale
        if scale is not None and scale[1] == 1 and not own.translate:
            whole = not isinstance(self.least_crop, Tensor) and self.least_crop == 1
            scale = None if whole else (self.least_crop, 1.0)
        return replace(
            own,
            scale=scale,
            flip=self.horizontal_flip_probability,
            vertical_flip=self.vertical_flip_probability,
            quarter_turn=self.quarter_turn_probability,
            jitter=distortion(self.jitter_strength, colour=self.jitter_colour),
            grayscale=self.grayscale_probability,
            blur=self.blur_probability,
            solarize=0.0 if first else self.solarize_probability,
        )


SETTINGS = tuple(field.name for field in fields(Augmentation))
OFF = Augmentation()
"""Every setting where it does nothing."""
