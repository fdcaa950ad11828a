"""RandAugment (Cubuk et al., "RandAugment: practical automated data augmentation", 2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_transfer.data.augment import color
from keras_transfer.data.augment.base import Augmentation, check_fill, number, whole
from keras_transfer.data.augment.geometry import turned
from keras_transfer.data.augment.plan import Fill, Plan

# Takes a strength in 0..1 and a sign; the maxima are those of torchvision.transforms.RandAugment.
Operation = Callable[[Plan, float, float], None]


def _shear(along_x: bool) -> Operation:
    def apply(plan: Plan, strength: float, sign: float) -> None:
        linear = np.eye(2)
        linear[(0, 1) if along_x else (1, 0)] = sign * strength * 0.3
        plan.about_center(linear)

    return apply


def _translate(along_x: bool) -> Operation:
    def apply(plan: Plan, strength: float, sign: float) -> None:
        length = sign * strength * 150 / 331
        plan.about_center(np.eye(2), (length * plan.size[1], 0.0) if along_x else (0.0, length * plan.size[0]))

    return apply


def _rotate(plan: Plan, strength: float, sign: float) -> None:
    plan.about_center(turned(sign * strength * 30))


def _enhance(operation: Callable[[float], tuple]) -> Operation:
    def apply(plan: Plan, strength: float, sign: float) -> None:
        plan.colors.append(operation(1 + sign * strength * 0.9))

    return apply


OPERATIONS: dict[str, Operation] = {
    "identity": lambda plan, strength, sign: None,
    "shear_x": _shear(True),
    "shear_y": _shear(False),
    "translate_x": _translate(True),
    "translate_y": _translate(False),
    "rotate": _rotate,
    "brightness": _enhance(color.brightness),
    "saturation": _enhance(color.saturation),
    "contrast": _enhance(color.contrast),
    "sharpness": _enhance(color.sharpness),
    "posterize": lambda plan, strength, sign: plan.colors.append(color.posterize(8 - round(4 * strength))),
    "solarize": lambda plan, strength, sign: plan.colors.append(color.solarize(256 - 256 * strength)),
    "autocontrast": lambda plan, strength, sign: plan.colors.append(color.autocontrast()),
    "equalize": lambda plan, strength, sign: plan.colors.append(color.equalize()),
}


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Apply random operations from the paper's fourteen, all of the same strength.

    Geometric operations are part of the image's one warp, so they act before colour operations.

    Args:
        count: operations per image.
        magnitude: strength, 0..30.
        fill: values outside the image: 0..255, an RGB triple or "reflect".
    """

    name = "rand_augment"
    count: int = 2
    magnitude: float = 9.0
    fill: Fill = 0

    def __post_init__(self) -> None:
        whole(self.name, "count", self.count, 1, 14)
        number(self.name, "magnitude", self.magnitude, 0, 30)
        check_fill(self.name, self.fill)

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """See `Augmentation`."""
        names = list(OPERATIONS)
        before = plan.matrix
        for choice, sign in zip(rng.integers(0, len(names), self.count), rng.random(self.count)):
            OPERATIONS[names[choice]](plan, self.magnitude / 30, 1.0 if sign < 0.5 else -1.0)
        if plan.matrix is not before:
            plan.fill = self.fill
