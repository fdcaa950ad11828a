"""Colour augmentations and erasing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keras_transfer.data.augment import color
from keras_transfer.data.augment.base import Augmentation, happens, number, span, whole
from keras_transfer.data.augment.plan import Plan
from keras_transfer.errors import UserError


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Randomly change brightness, contrast, saturation and hue, in this order.

    Args:
        brightness: the factor is uniform in [1 - brightness, 1 + brightness].
        contrast: likewise, about the mean grey value.
        saturation: likewise, about the pixel's own grey value.
        hue: maximum rotation of the hue, as a fraction of the full circle, 0..0.5 (in YIQ, where it is linear).
    """

    name = "color_jitter"
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            number(self.name, name, getattr(self, name), 0, 1)
        number(self.name, "hue", self.hue, 0, 0.5)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """Add to the plan."""
        a, b, c, d = (2 * rng.random(4) - 1).tolist()
        if self.brightness:
            plan.colors.append(color.brightness(1 + a * self.brightness))
        if self.contrast:
            plan.colors.append(color.contrast(1 + b * self.contrast))
        if self.saturation:
            plan.colors.append(color.saturation(1 + c * self.saturation))
        if self.hue:
            plan.colors.append(color.hue(d * self.hue))


@dataclass(frozen=True)
class Grayscale(Augmentation):
    """Remove colour with probability `p`, keeping the number of channels."""

    name = "grayscale"
    p: float = 0.1

    def __post_init__(self) -> None:
        number(self.name, "p", self.p, 0, 1)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """Add to the plan."""
        if happens(rng, self.p):
            plan.colors.append(color.saturation(0.0))


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Overwrite a square anywhere, also beyond the border (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552).

    Args:
        size: side of the square, as a fraction of the result's shorter side.
        p: probability.
        fill: a grey value 0..255.
    """

    name = "cutout"
    size: float = 0.5
    p: float = 1.0
    fill: int = 128

    def __post_init__(self) -> None:
        number(self.name, "size", self.size, 0.01, 1)
        number(self.name, "p", self.p, 0, 1)
        whole(self.name, "fill", self.fill, 0, 255)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """Add to the plan."""
        touched = happens(rng, self.p)
        v, u = rng.random(2).tolist()
        if not touched:
            return
        height, width = plan.target
        side = max(1, round(self.size * min(height, width)))
        # The centre is anywhere in the image, so that on average a part of the square lies outside.
        top, left = math.floor(v * height) - side // 2, math.floor(u * width) - side // 2
        y, x = max(0, top), max(0, left)
        plan.erase.append((y, x, min(height, top + side) - y, min(width, left + side) - x, int(self.fill), 0))


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """Overwrite random boxes (Zhong et al., "Random erasing data augmentation", 2017).

    Args:
        p: probability of erasing.
        count: number of boxes.
        scale: range of the area of a box as a fraction of the result's.
        ratio: range of width / height; log-uniform.
        fill: a grey value 0..255, or "noise".
    """

    name = "random_erasing"
    p: float = 0.25
    count: int = 1
    scale: tuple[float, float] = (0.02, 0.2)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: int | Literal["noise"] = "noise"

    def __post_init__(self) -> None:
        number(self.name, "p", self.p, 0, 1)
        whole(self.name, "count", self.count, 1, 100)
        span(self.name, "scale", self.scale, 0, 1)
        span(self.name, "ratio", self.ratio, 1e-2, 100)
        if self.fill != "noise":
            if isinstance(self.fill, str):
                raise UserError(f"{self.name}: fill must be 0..255 or 'noise', received {self.fill!r}")
            whole(self.name, "fill", self.fill, 0, 255)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """Add to the plan."""
        touched = happens(rng, self.p)
        draws = rng.random((self.count, 4))
        seeds = rng.integers(0, 1 << 62, self.count)
        if not touched:
            return
        height, width = plan.target
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for (a, b, v, u), seed in zip(draws.tolist(), seeds.tolist()):
            area = height * width * (self.scale[0] + a * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + b * (high - low))
            h, w = min(height, round(math.sqrt(area / ratio))), min(width, round(math.sqrt(area * ratio)))
            y, x = math.floor(v * (height - h + 1)), math.floor(u * (width - w + 1))
            plan.erase.append((y, x, h, w, None if self.fill == "noise" else int(self.fill), seed))
