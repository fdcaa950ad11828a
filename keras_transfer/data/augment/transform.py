"""From an image of any size to the model's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from keras_transfer.data.augment.base import Augmentation, BatchAugmentation, make_op
from keras_transfer.data.augment.keras_layer import KerasLayer
from keras_transfer.data.augment.plan import Plan
from keras_transfer.data.augment.render import render
from keras_transfer.data.images.store import ArrayImage
from keras_transfer.errors import UserError, unknown
from keras_transfer.options import Color, Resize

if TYPE_CHECKING:
    from keras_transfer.data.images.store import Image


class Transform:
    """Fit an image to the model's input and, given random numbers, augment it.

    Args:
        image_size: (height, width) of the result.
        ops: augmentations in order: objects, names or `{"name": …}` mappings. If none of them settles the size, the
            image is fitted before the first.
        resize: "squash", "crop" or "pad".
        color: "rgb" (3 channels) or "grey" (1).

    Calling it with an image and a generator gives uint8 (height, width, channels). With `None` instead of a generator
    the random operations are left out: the transform for evaluation.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        ops: Sequence[Any] = (),
        resize: str = "squash",
        color: str = "rgb",
    ):
        for name, value, values in (("resize", resize, get_args(Resize)), ("color", color, get_args(Color))):
            if value not in values:
                raise unknown(name, value, values)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.resize, self.color = resize, color
        self.ops: list[Augmentation] = []
        for spec in ops:
            op = make_op(spec)
            if isinstance(op, BatchAugmentation):
                raise UserError(f"{op.name} works on batches: give it to BatchTransform")
            self.ops.append(op)
        self.random = any(op.random for op in self.ops)

    @property
    def channels(self) -> int:
        """3 or 1."""
        return 3 if self.color == "rgb" else 1

    def plan(self, height: int, width: int, rng: np.random.Generator | None) -> Plan:
        """Draw all random numbers for an image of this size."""
        plan = Plan((height, width), self.image_size, self.resize)
        ops = self.ops if rng is not None else [op for op in self.ops if not op.random]
        if not any(op.sizes for op in ops):
            plan.fit(self.image_size, self.resize)
        for op in ops:
            op.apply(plan, rng)  # type: ignore[arg-type]  # those that need a generator have one
        if plan.size != self.image_size:
            plan.fit(self.image_size, self.resize)
        return plan

    def __call__(
        self, image: np.ndarray | Image, rng: np.random.Generator | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Transform one image.

        Args:
            image: uint8 (h, w), (h, w, 1) or (h, w, 3) RGB, or a `Image` that is not decoded yet: it is decoded at
                half, a quarter or an eighth of its size if the result needs no more.
            rng: source of random numbers, or None for evaluation.
            out: uint8 (height, width, 3 or 1), contiguous: where to put the result.

        Returns:
            uint8 (height, width, 3 or 1); `out` if it was given.
        """
        if isinstance(image, np.ndarray):
            image = ArrayImage(_checked(image))
        plan = self.plan(image.height, image.width, rng)
        pixels, to_pixels = image.reduced(min(plan.scale()) + 1e-4)
        return render(pixels, plan, self.color == "grey", to_pixels, out)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Transform({height} x {width}, {self.color}, {self.resize}, ops={self.ops})"


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise UserError(f"expected a uint8 image (h, w) or (h, w, 1 or 3), received {image.dtype} {image.shape}")
    return image if image.ndim == 3 else image[..., None]


class BatchTransform:
    """Apply Keras layers to a batch, in order, then mix its images; with several ways of mixing, one is drawn for each batch.

    Args:
        ops: MixUp or CutMix: objects, names or `{"name": …}` mappings; and Keras layers.
    """

    def __init__(self, ops: Sequence[Any]):
        self.ops: list[BatchAugmentation] = []
        self.layers: list[KerasLayer] = []
        for spec in ops:
            op = make_op(spec)
            if isinstance(op, KerasLayer):
                self.layers.append(op)
                continue
            if not isinstance(op, BatchAugmentation):
                raise UserError(f"{op.name} works on single images, not on batches")
            self.ops.append(op)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (b, h, w, c) and float32 (b, C) in and out; the inputs are not changed."""
        for layer in self.layers:
            images, labels = layer.apply(images, labels, rng)
        if not self.ops:
            return images, labels
        op = self.ops[int(rng.random() * len(self.ops))]
        return op.apply(images, labels, rng)

    def __repr__(self) -> str:
        return f"BatchTransform({[*self.layers, *self.ops]})"
