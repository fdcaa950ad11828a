"""Heat map colours, and heat maps drawn over their images."""

from __future__ import annotations

import matplotlib
import numpy as np

from keras_transfer.errors import UserError

_COLOURS = "inferno"  # perceptually uniform, also in greyscale and for colour-blind readers
_STRENGTH = 0.75  # opacity at the maximum of the map: the image stays visible


def heat(values: np.ndarray) -> np.ndarray:
    """Colour a map; low values are transparent.

    Args:
        values: (h, w), any range; negative values count as 0, and the maximum as 1.

    Returns:
        uint8 (h, w, 4) RGBA.
    """
    values = np.asarray(values, np.float32)
    if not np.isfinite(values).all():
        raise UserError("the map to draw is not finite: the model's outputs or gradients are not numbers")
    values = np.maximum(values, 0)
    values = values / (values.max(initial=0) or 1)
    colours = matplotlib.colormaps[_COLOURS](0.25 + 0.7 * values)  # the ends of the colour map are too dark or too pale
    colours[..., 3] = _STRENGTH * np.sqrt(values)
    return np.round(colours * 255).astype(np.uint8)


def overlay(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Blend a map into an image.

    Args:
        image: uint8 (h, w, 3) or (h, w, 1).
        values: (h, w), as in :func:`heat`.

    Returns:
        uint8 (h, w, 3).
    """
    colours = heat(values).astype(np.float32)
    alpha = colours[..., 3:] / 255
    return np.round(np.asarray(image, np.float32) * (1 - alpha) + colours[..., :3] * alpha).astype(np.uint8)
