"""Grids of images with their predictions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from keras_transfer.errors import UserError
from keras_transfer.plots.style import GREEN, INK, ORANGE, PALE, figure, save, shorten, styled

__all__ = ["predicted_files", "prediction_grid"]

if TYPE_CHECKING:
    from keras_transfer.evaluation.predict import Prediction

_SIDE = 128  # longer side of an image in pixels: keeps the file small
_MANY = 12  # more images than this are drawn smaller


def prediction_grid(
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    path: str | os.PathLike[str],
    title: str = "",
    right: Sequence[bool] | None = None,
) -> None:
    """Draw a grid of images with titles below.

    Args:
        images: uint8 arrays (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), of any sizes.
        titles: a title for each, of one or more lines; long lines are shortened in the middle.
        path: the PNG to write.
        title: title of the figure.
        right: whether each prediction is correct: blue-green frame, or orange frame and title.

    Raises:
        ValueError: no images, or different numbers of images, titles and `right`.
        UserError: the file cannot be written.
    """
    if not len(images) or len(titles) != len(images) or (right is not None and len(right) != len(images)):
        raise ValueError(f"expected at least one image and a title each, got {len(images)} and {len(titles)}")
    many = len(images) > _MANY
    columns, side, letters = (8, 1.1, 16) if many else (min(len(images), 4), 1.5, 22)
    rows = math.ceil(len(images) / columns)
    labels = ["\n".join(shorten(line, letters) for line in text.splitlines() or [""]) for text in titles]
    lines = max(label.count("\n") + 1 for label in labels)
    with styled([*labels, title]):
        made = figure(max(side * columns, 2.4), (side - 0.1 + 0.16 * lines) * rows + (0.4 if title else 0.1))
        grid = made.subplots(rows, columns, squeeze=False).ravel()
        for axis in grid:
            axis.axis("off")
        for k, (axis, image, label) in enumerate(zip(grid, images, labels)):
            axis.axis("on")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.imshow(_tile(image), interpolation="nearest")
            colour = PALE if right is None else (GREEN if right[k] else ORANGE)
            for spine in axis.spines.values():
                spine.set(visible=True, color=colour, linewidth=0.8 if right is None else 2)
            axis.set_xlabel(
                label, fontsize=7 if many else 8, color=ORANGE if right is not None and not right[k] else INK
            )
        if title:
            made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        save(made, path, photographs=True)


def predicted_files(predictions: Sequence[Prediction], path: str | os.PathLike[str], limit: int = 32) -> None:
    """Draw the first `limit` readable files with name and most probable class.

    Args:
        predictions: of image files.
        path: the PNG to write.
        limit: images to draw at most.

    Raises:
        UserError: none of the predictions has a readable image, or `path` cannot be written.
    """
    from keras_transfer.data.images.store import FileStore

    readable = [p for p in predictions if p.error is None]
    if not readable:
        raise UserError("no image grid: none of the files could be read")
    shown = readable[:limit]
    store = FileStore([p.path for p in shown], None)
    titles = [
        f"{Path(p.path).name}\n{p.classes[0]}\n{p.probabilities[0]:.1%}"
        if p.labels is None
        else f"{Path(p.path).name}\n{', '.join(p.labels) or 'no label'}"
        for p in shown
    ]
    note = f"the first {len(shown)} of {len(readable)} images" if len(shown) < len(readable) else ""
    prediction_grid([store.read(i) for i in range(len(shown))], titles, path, title=note)


def _tile(image: np.ndarray) -> np.ndarray:
    """Return the image scaled to `_SIDE` pixels, centred on a light square, uint8 (h, w, 3)."""
    image = np.asarray(image, np.uint8)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    tile = Image.fromarray(image)
    if tile.mode == "RGBA":  # transparency shows the background
        tile = Image.alpha_composite(Image.new("RGBA", tile.size, "white"), tile)
    tile = tile.convert("RGB")
    scale = _SIDE / max(tile.size)
    width, height = (max(1, round(v * scale)) for v in tile.size)
    # Small images are enlarged without smoothing: their pixels are what the model sees.
    tile = tile.resize((width, height), Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
    square = Image.new("RGB", (_SIDE, _SIDE), "#f6f8fa")
    square.paste(tile, ((_SIDE - width) // 2, (_SIDE - height) // 2))
    return np.asarray(square)
