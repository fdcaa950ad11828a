"""Augmentations: a class each in its file, and a line in the table here.

Every operation draws its random numbers from the generator that it is given and adds to a `Plan`; the plan is carried
out with one affine warp, one pass over the colours and a bit of erasing. So a long list costs little more than a short
one, and pixels are interpolated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transfer.data.augment.base import Augmentation, BatchAugmentation, Spec, from_spec
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
from keras_transfer.data.augment.mix import CutMix, MixUp
from keras_transfer.data.augment.photometric import ColorJitter, Grayscale, RandomErasing
from keras_transfer.data.augment.randaugment import RandAugment
from keras_transfer.data.augment.transform import BatchTransform, Transform

__all__ = ["AUGMENTATIONS", "Augmentation", "BatchAugmentation", "BatchTransform", "Transform", "make_op", "transforms"]

AUGMENTATIONS: dict[str, type[Augmentation] | type[BatchAugmentation]] = {
    "resize": ResizeTo,
    "center_crop": CenterCrop,
    "random_crop": RandomCrop,
    "random_resized_crop": RandomResizedCrop,
    "padded_random_crop": PaddedRandomCrop,
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotation": Rotation,
    "affine": Affine,
    "color_jitter": ColorJitter,
    "rand_augment": RandAugment,
    "random_erasing": RandomErasing,
    "grayscale": Grayscale,
    "mixup": MixUp,
    "cutmix": CutMix,
}


def make_op(spec: Spec | Augmentation | BatchAugmentation) -> Augmentation | BatchAugmentation:
    """An augmentation from its name, from `{"name": …, parameter: value}`, or as it is.

    Raises:
        UserError: unknown name or parameter, value out of range.
    """
    return spec if isinstance(spec, (Augmentation, BatchAugmentation)) else from_spec(spec, AUGMENTATIONS)


def transforms(
    specs: Sequence[Any], image_size: tuple[int, int], resize: str = "squash", color: str = "rgb"
) -> tuple[Transform, BatchTransform | None]:
    """Sort a list of augmentations into those of single images and those of batches.

    Returns:
        The transform for training, and the batch transform or None.
    """
    ops = [make_op(spec) for spec in specs]
    mixing = [op for op in ops if isinstance(op, BatchAugmentation)]
    single = [op for op in ops if isinstance(op, Augmentation)]
    return Transform(image_size, single, resize, color), BatchTransform(mixing) if mixing else None
