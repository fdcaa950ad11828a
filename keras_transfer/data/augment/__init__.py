"""Augmentations. To add one: a class in a file of this package, and one line in the table below.

Every operation draws random numbers from the generator it is given and adds to a `Plan`, which is rendered with one
affine warp, one pass over the colours and the erasing. So a long list costs little more than a short one, and pixels
are interpolated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transfer.data.augment.base import (
    AUGMENTATIONS,
    WRAPPERS,
    Augmentation,
    BatchAugmentation,
    make_op,
)
from keras_transfer.data.augment.geometry import (
    Affine,
    CenterCrop,
    HorizontalFlip,
    PaddedRandomCrop,
    RandomCrop,
    RandomResizedCrop,
    ResizeTo,
    Rotation,
    VerticalFlip,
)
from keras_transfer.data.augment.keras_layer import KerasLayer, is_keras_layer
from keras_transfer.data.augment.mix import CutMix, MixUp
from keras_transfer.data.augment.photometric import ColorJitter, Cutout, Grayscale, RandomErasing
from keras_transfer.data.augment.randaugment import RandAugment
from keras_transfer.data.augment.transform import BatchTransform, Transform

__all__ = ["AUGMENTATIONS", "Augmentation", "BatchAugmentation", "BatchTransform", "Transform", "make_op", "transforms"]

_CLASSES: tuple[type[Augmentation] | type[BatchAugmentation], ...] = (
    ResizeTo,
    CenterCrop,
    RandomCrop,
    RandomResizedCrop,
    PaddedRandomCrop,
    HorizontalFlip,
    VerticalFlip,
    Rotation,
    Affine,
    ColorJitter,
    RandAugment,
    RandomErasing,
    Cutout,
    Grayscale,
    MixUp,
    CutMix,
)
AUGMENTATIONS.update({cls.name: cls for cls in _CLASSES})
WRAPPERS.append((is_keras_layer, KerasLayer))


def transforms(
    specs: Sequence[Any], image_size: tuple[int, int], resize: str = "squash", color: str = "rgb"
) -> tuple[Transform, BatchTransform | None]:
    """Make the transforms of training from augmentations of single images and of batches.

    Args:
        specs: augmentations: objects, names, `{"name": …}` mappings, or Keras layers, which follow the others.
        image_size: see `Transform`, as the following.
        resize: how the image is fitted.
        color: channels of the result.

    Returns:
        The transform, and the batch transform or None.
    """
    ops = [make_op(spec) for spec in specs]
    mixing = [op for op in ops if isinstance(op, BatchAugmentation)]
    single = [op for op in ops if isinstance(op, Augmentation)]
    return Transform(image_size, single, resize, color), BatchTransform(mixing) if mixing else None
