"""Base classes of augmentations, their table, and the checks of their parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from keras_transfer.data.augment.plan import Plan
from keras_transfer.errors import UserError, unknown


@dataclass(frozen=True)
class Augmentation:
    """An operation on one image: it draws random numbers and adds to the image's plan.

    Subclasses are frozen dataclasses; their fields are the parameters that a configuration may set.

    Attributes:
        name: name in configurations.
        random: whether it draws random numbers; evaluation transforms leave random operations out.
        sizes: whether it sets the size of the canvas; if no operation of a transform does, the image is fitted to the
            target size first.
    """

    name: ClassVar[str]
    random: ClassVar[bool] = True
    sizes: ClassVar[bool] = False

    def apply(self, plan: Plan, rng: np.random.Generator) -> None:
        """Add to the plan."""
        raise NotImplementedError


@dataclass(frozen=True)
class BatchAugmentation:
    """An operation on a batch of images and one-hot labels."""

    name: ClassVar[str]

    def apply(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mix uint8 images (b, h, w, c) and float32 labels (b, C); the inputs are not changed."""
        raise NotImplementedError


Spec = str | Mapping[str, Any]

AUGMENTATIONS: dict[str, type[Augmentation] | type[BatchAugmentation]] = {}
"""Name → class. :mod:`keras_transfer.data.augment` fills it; it is defined here so that the modules of that package can
use :func:`make_op`."""

WRAPPERS: list[tuple[Callable[[object], bool], Callable[[Any], Augmentation | BatchAugmentation]]] = []
"""Objects of other libraries that :func:`make_op` takes: how to know one, and what makes an augmentation of it."""


def make_op(spec: Spec | Augmentation | BatchAugmentation) -> Augmentation | BatchAugmentation:
    """Return an augmentation from its name or from `{"name": …, parameter: value}`; return an object unchanged.

    Raises:
        UserError: an unknown name or parameter, or a value out of range.
    """
    if isinstance(spec, (Augmentation, BatchAugmentation)):
        return spec
    for known, wrap in WRAPPERS:
        if known(spec):
            return wrap(spec)
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise UserError(f"an augmentation is a name or a mapping with the key 'name', received {spec!r}")
    name = spec["name"]
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS)
    fields = [field.name for field in dataclasses.fields(AUGMENTATIONS[name])]
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key != "name"}
    for key in options:
        if key not in fields:
            raise unknown(f"parameter of the augmentation {name!r}:", key, fields)
    return AUGMENTATIONS[name](**options)


def number(owner: str, name: str, value: Any, low: float, high: float = float("inf")) -> None:
    """Raise UserError unless `value` is a number in [low, high]."""
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        bounds = f"{low:g}..{high:g}" if np.isfinite(high) else f"at least {low:g}"
        raise UserError(f"{owner}: {name} must be a number ({bounds}), received {value!r}")


def whole(owner: str, name: str, value: Any, low: int, high: float = float("inf")) -> None:
    """Raise UserError unless `value` is a whole number in [low, high]."""
    number(owner, name, value, low, high)
    if value != int(value):
        raise UserError(f"{owner}: {name} must be a whole number, received {value!r}")


def span(owner: str, name: str, value: Any, low: float, high: float = float("inf")) -> None:
    """Raise UserError unless `value` is a pair (minimum, maximum) within [low, high]."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise UserError(f"{owner}: {name} must be a pair of numbers, received {value!r}")
    for part in value:
        number(owner, name, part, low, high)
    if value[0] > value[1]:
        raise UserError(f"{owner}: {name} must be (minimum, maximum), received {value!r}")


def check_fill(owner: str, fill: Any) -> None:
    """Raise UserError unless `fill` is a grey value, an RGB triple or "reflect"."""
    values = (fill,) if isinstance(fill, int) else fill
    good = isinstance(values, tuple) and len(values) in (1, 3) and not isinstance(fill, bool)
    if fill != "reflect" and not (good and all(isinstance(v, int) and 0 <= v <= 255 for v in values)):
        raise UserError(f"{owner}: fill must be 0..255, three such numbers or 'reflect', received {fill!r}")


def happens(rng: np.random.Generator, probability: float) -> bool:
    """Return True with this probability; always draws one number, so that later draws do not depend on the outcome."""
    return bool(rng.random() < probability)
