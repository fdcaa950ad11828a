"""Geometric augmentations, all of which are combined into one affine warp."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from keras_transfer.data.augment.base import Augmentation, check_fill, happens, number, span, whole
from keras_transfer.data.augment.plan import Fill, Plan
from keras_transfer.errors import UserError, unknown


@dataclass(frozen=True)
class ResizeTo(Augmentation):
    """Resize, e.g. to somewhat more than the target size before a crop.

    Args:
        size: pixels: one number or (height, width); None: the target size.
        mode: "squash", "crop", "pad", or "shorter" (the shorter side becomes `size`, the aspect ratio stays); None: the
            transform's mode.
    """

    name, random, sizes = "resize", False, True
    size: int | tuple[int, int] | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            pair = isinstance(self.size, (tuple, list))
            if pair and len(self.size) != 2:  # type: ignore[arg-type]
                raise UserError(f"resize: size must be one number or (height, width), received {self.size!r}")
            for side in self.size if pair else (self.size,):  # type: ignore[union-attr]
                whole(self.name, "size", side, 1, 1 << 15)
        modes = ("squash", "crop", "pad", "shorter")
        if self.mode is not None and self.mode not in modes:
            raise unknown("mode of resize", self.mode, modes)
        if self.mode == "shorter" and not isinstance(self.size, int):
            raise UserError("resize: mode 'shorter' needs size as one number")

    def apply(self, plan: Plan, rng: np.random.Generator | None) -> None:
        """See `Augmentation`."""
        size = plan.target if self.size is None else self.size
        height, width = plan.size
        if self.mode == "shorter" and isinstance(size, int):
            scale = size / min(height, width)
            plan.fit((max(size, round(height * scale)), max(size, round(width * scale))), "squash")
        else:
            plan.fit((size, size) if isinstance(size, int) else (size[0], size[1]), self.mode or plan.resize)


@dataclass(frozen=True)
class CenterCrop(Augmentation):
    """Crop the centre and scale it to the target size.

    Args:
        fraction: share (0, 1] of the side of the largest centred box with the target's aspect ratio; 224 of 256 is
            0.875.
    """

    name, random, sizes = "center_crop", False, True
    fraction: float = 0.875

    def __post_init__(self) -> None:
        number(self.name, "fraction", self.fraction, 1e-3, 1)

    def apply(self, plan: Plan, rng: np.random.Generator | None) -> None:
        """See `Augmentation`."""
        (height, width), (out_height, out_width) = plan.size, plan.target
        step = min(height / out_height, width / out_width) * self.fraction
        box = (max(1, round(out_height * step)), max(1, round(out_width * step)))
        plan.box((height - box[0]) // 2, (width - box[1]) // 2, *box, plan.target)


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Crop a box of the target size at a random place, usually after `resize` to a somewhat larger size.

    A smaller image is enlarged to the target size first.
    """

    name, sizes = "random_crop", True

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        v, u = rng.random(2)
        height, width = plan.size
        scale = max(plan.target[0] / height, plan.target[1] / width, 1.0)
        if scale > 1:
            plan.fit((math.ceil(height * scale - 1e-9), math.ceil(width * scale - 1e-9)), "squash")
            height, width = plan.size
        y = math.floor(v * (height - plan.target[0] + 1))
        x = math.floor(u * (width - plan.target[1] + 1))
        plan.box(y, x, *plan.target, plan.target)


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """Crop a box of random area and aspect ratio and scale it to the target size (Szegedy et al., 2014).

    Args:
        scale: minimum and maximum area of the box as a share of the image's.
        ratio: minimum and maximum width / height of the box, relative to the target's; sampled on a log scale.
    """

    name, sizes = "random_resized_crop", True
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        span(self.name, "scale", self.scale, 1e-4, 1)
        span(self.name, "ratio", self.ratio, 1e-2, 100)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        height, width = plan.size
        draws = rng.random((10, 2))  # always the same number of draws
        v, u = rng.random(2)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = plan.target[1] / plan.target[0]
        box = None
        for a, b in draws.tolist():
            area = height * width * (self.scale[0] + a * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + b * (high - low)) * aspect
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                box = h, w
                break
        if box is None:  # the whole image, cropped to the nearest allowed ratio
            ratio = min(max(width / height, self.ratio[0] * aspect), self.ratio[1] * aspect)
            box = min(height, max(1, round(width / ratio))), min(width, max(1, round(height * ratio)))
        y, x = math.floor(v * (height - box[0] + 1)), math.floor(u * (width - box[1] + 1))
        plan.box(y, x, *box, plan.target)


@dataclass(frozen=True)
class PaddedRandomCrop(Augmentation):
    """Fit the image, add a border and crop a box of the target size: the usual augmentation for CIFAR.

    Args:
        padding: width of the border, in pixels of the target.
        fill: value of the border: 0..255, an RGB triple or "reflect".
    """

    name, sizes = "padded_random_crop", True
    padding: int = 4
    fill: Fill = 0

    def __post_init__(self) -> None:
        whole(self.name, "padding", self.padding, 1, 1 << 12)
        check_fill(self.name, self.fill)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        plan.fit(plan.target, plan.resize)
        y, x = (rng.integers(0, 2 * self.padding + 1, 2) - self.padding).tolist()
        plan.box(y, x, *plan.target, plan.target)
        plan.fill = self.fill


@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Flip horizontally with probability `p`."""

    name = "horizontal_flip"
    p: float = 0.5

    def __post_init__(self) -> None:
        number(self.name, "p", self.p, 0, 1)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        if happens(rng, self.p):
            plan.flip(horizontal=True)


@dataclass(frozen=True)
class VerticalFlip(Augmentation):
    """Flip vertically with probability `p`."""

    name = "vertical_flip"
    p: float = 0.5

    def __post_init__(self) -> None:
        number(self.name, "p", self.p, 0, 1)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        if happens(rng, self.p):
            plan.flip(horizontal=False)


def turned(degrees: float) -> np.ndarray:
    """Return the map (2, 2), output to input, of a counter-clockwise rotation as seen on the screen."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


@dataclass(frozen=True)
class Rotation(Augmentation):
    """Rotate about the centre by a random angle.

    Args:
        degrees: the angle is uniform in [-degrees, degrees].
        fill: values outside the image: 0..255, an RGB triple or "reflect".
    """

    name = "rotation"
    degrees: float = 15.0
    fill: Fill = 0

    def __post_init__(self) -> None:
        number(self.name, "degrees", self.degrees, 0, 180)
        check_fill(self.name, self.fill)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        plan.about_center(turned(rng.uniform(-self.degrees, self.degrees)))
        plan.fill = self.fill


@dataclass(frozen=True)
class Affine(Augmentation):
    """Rotate, shift, scale and shear about the centre.

    Args:
        degrees: maximum angle of the rotation.
        translate: maximum shift, as a share of width and height.
        scale: minimum and maximum enlargement, sampled on a log scale.
        shear: maximum angle of the shear along x and along y, in degrees.
        fill: values outside the image: 0..255, an RGB triple or "reflect".
    """

    name = "affine"
    degrees: float = 0.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.9, 1.1)
    shear: float = 0.0
    fill: Fill = 0

    def __post_init__(self) -> None:
        number(self.name, "degrees", self.degrees, 0, 180)
        number(self.name, "translate", self.translate, 0, 1)
        span(self.name, "scale", self.scale, 0.05, 20)
        number(self.name, "shear", self.shear, 0, 60)
        check_fill(self.name, self.fill)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        angle, dx, dy, size, shear_x, shear_y = (2 * rng.random(6) - 1).tolist()
        low, high = math.log(self.scale[0]), math.log(self.scale[1])
        enlargement = math.exp((low + high) / 2 + size * (high - low) / 2)
        shear = np.array(
            [[1, math.tan(math.radians(shear_x * self.shear))], [math.tan(math.radians(shear_y * self.shear)), 1]]
        )
        if abs(np.linalg.det(shear)) < 0.1:  # two shears of nearly 45 degrees would map the image to a line
            shear[1, 0] = 0.0
        shift = (dx * self.translate * plan.size[1], dy * self.translate * plan.size[0])
        plan.about_center(turned(angle * self.degrees) @ shear / enlargement, shift)
        plan.fill = self.fill
