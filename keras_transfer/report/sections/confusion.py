"""The confusion matrix: a table if it is small, else an image with names beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from keras_transfer.evaluation.confusion import Cells
from keras_transfer.evaluation.metrics import most_confused
from keras_transfer.html.thumbnails import encoded
from keras_transfer.report.run_view import RunView

NUMBERS_UP_TO = 20
"""Maximum number of classes for a table of counts."""
NAMES_UP_TO = 300
"""Maximum number of classes with names beside the image."""
CELLS_UP_TO = 1000
"""Maximum number of classes with a pixel for every cell; of more, neighbours share one."""
PAIRS = 20
_MAX_BYTES = 190_000

# From 0 to 1; the square root in `cell_image` makes shares of a few percent visible.
_LIGHT = ((246, 248, 250), (170, 208, 234), (60, 140, 200), (0, 50, 95))
_DARK = ((24, 30, 37), (18, 74, 110), (50, 140, 200), (214, 238, 255))


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``confusion.html``."""
    return matrix(view.figures["confusion"], view.classes)


def matrix(confusion: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Return the template variables of a confusion matrix (see `Cells.read`): cells or images, and the most frequent confusions."""
    cells = Cells.read(confusion)
    shares = np.nan_to_num(cells.shares(CELLS_UP_TO))  # rows without samples are empty
    found: dict[str, Any] = {
        "pairs": most_confused(cells, classes, PAIRS),
        "right": int(cells.right()),
        "total": int(cells.count.sum()),
        "names": classes if cells.classes <= NAMES_UP_TO else [],
        "longest": max(map(len, classes)),
    }
    if cells.classes <= NUMBERS_UP_TO:
        found["rows"] = [
            (name, [(int(n), float(share)) for n, share in zip(row, part)])
            for name, row, part in zip(classes, cells.dense(), shares)
        ]
    else:
        found |= {"light": cell_image(shares, _LIGHT), "dark": cell_image(shares, _DARK)}
    return found


def cell_image(shares: np.ndarray, colours: tuple[tuple[int, int, int], ...]) -> Markup:
    """Return an image with a pixel per cell, as the data URI of a small PNG.

    Args:
        shares: (C, C), 0..1.
        colours: from 0 to 1, RGB.
    """
    for levels in (64, 16, 4, 2):
        steps = np.ceil(np.sqrt(shares) * (levels - 1) - 1e-9).astype(np.uint8)  # a mistake is never rounded away
        image = Image.fromarray(steps, "P")
        at = np.linspace(0, 1, levels)
        anchors = np.linspace(0, 1, len(colours))
        palette = np.stack([np.interp(at, anchors, channel) for channel in np.transpose(colours)], axis=1)
        image.putpalette(np.round(palette).astype(np.uint8).tobytes())
        address = encoded(image, "PNG")
        if len(address) < _MAX_BYTES:
            return address
    side = len(shares) // 2  # thousands of classes, all confused: merge 2 x 2 cells
    return cell_image(shares[: 2 * side, : 2 * side].reshape(side, 2, side, 2).max(axis=(1, 3)), colours)
