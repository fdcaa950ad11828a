"""How a model of transformers wants its pixels: ``preprocessor_config.json``, and what its image processor does without saying so there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_transfer.errors import UserError

Three = tuple[float, float, float]

_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# What each kind was published with, for a folder that does not say.
_OF_CLIP = ("clip", "metaclip", "chinese_clip", "altclip", "blip")
_OF_HALVES = ("vit_hybrid", "beit", "data2vec", "siglip", "mobilenet", "bit")


def scaling(stated: Mapping[str, Any], architecture: str, where: str) -> tuple[Three, Three, bool]:
    """Return mean and deviation of pixels 0..1, and whether the channels are blue, green, red.

    Args:
        stated: ``preprocessor_config.json``; empty: there is none.
        architecture: ``model_type``.
        where: its path, for errors.

    Raises:
        UserError: numbers that cannot be.
    """
    mobilevit = architecture.startswith("mobilevit")  # whose processor has no mean
    usual = _usual(architecture)
    mean = three(stated.get("image_mean") or usual[0], "image_mean", where)
    std = three(stated.get("image_std") or usual[1], "image_std", where, positive=True)
    # That of EfficientNet divides by the deviation a second time.
    twice = architecture == "efficientnet" and stated.get("include_top", True)
    if not stated.get("do_normalize", not mobilevit):
        mean, std = (0.0, 0.0, 0.0), (std if twice else (1.0, 1.0, 1.0))
    elif twice:
        std = (std[0] ** 2, std[1] ** 2, std[2] ** 2)
    factor = stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 1.0
    if not isinstance(factor, (int, float)) or not 0 < factor < 1e6:
        raise UserError(f"{where!r}: rescale_factor: expected a number above 0, got {str(factor)[:80]}")
    factor = 1.0 if abs(255 * factor - 1) < 1e-6 else 255 * factor
    offset = 1.0 if stated.get("rescale_offset") else 0.0
    red, green, blue = ((m + offset) / factor for m in mean)
    return (
        (red, green, blue),
        (std[0] / factor, std[1] / factor, std[2] / factor),
        bool(stated.get("do_flip_channel_order", mobilevit)),
    )


def _usual(architecture: str) -> tuple[Three, Three]:
    if architecture.startswith(_OF_CLIP):
        return _CLIP
    if architecture == "efficientnet":
        return _IMAGENET[0], tuple(value**0.5 for value in _IMAGENET[1])  # type: ignore[return-value]
    return _HALF if architecture == "vit" or architecture.startswith(_OF_HALVES) else _IMAGENET


def three(value: object, key: str, where: str, positive: bool = False) -> Three:
    """Return three numbers.

    Raises:
        UserError: it is something else, or one is not positive where all have to be.
    """
    if isinstance(value, (list, tuple)) and len(value) == 3 and all(isinstance(v, (int, float)) for v in value):
        red, green, blue = (float(v) for v in value)
        if all(abs(v) < 1e6 and (v > 0 or not positive) for v in (red, green, blue)):
            return red, green, blue
    raise UserError(f"{where!r}: {key}: expected three {'positive ' if positive else ''}numbers, got {str(value)[:80]}")
