"""A map laid over its image."""

from __future__ import annotations

import matplotlib
import numpy as np

_COLOURS = "inferno"  # equal steps look equal, with any colour vision and in grey
_STRENGTH = 0.75  # of the colour where the map is highest: some of the image stays visible


def heat(values: np.ndarray) -> np.ndarray:
    """Colours of a map, transparent where it is low.

    Args:
        values: (h, w), any range; what is negative counts as zero, and the highest value as one.

    Returns:
        uint8 (h, w, 4) RGBA.
    """
    values = np.maximum(np.nan_to_num(np.asarray(values, np.float32)), 0)
    values = values / (values.max(initial=0) or 1)
    colours = matplotlib.colormaps[_COLOURS](0.25 + 0.7 * values)  # its ends are too dark and too pale to see through
    colours[..., 3] = _STRENGTH * np.sqrt(values)
    return np.round(colours * 255).astype(np.uint8)


def overlay(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lay a map over an image.

    Args:
        image: uint8 (h, w, 3) or (h, w, 1).
        values: (h, w), as in :func:`heat`.

    Returns:
        uint8 (h, w, 3).
    """
    colours = heat(values).astype(np.float32)
    alpha = colours[..., 3:] / 255
    return np.round(np.asarray(image, np.float32) * (1 - alpha) + colours[..., :3] * alpha).astype(np.uint8)
