"""The plan for one image: augmentations add to it, and the pixels are computed once at the end.

Coordinates are continuous: pixel (0, 0) covers the square from 0 to 1. `matrix` maps a point of the planned canvas to a
point of the source image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Fill = int | tuple[int, int, int] | Literal["reflect"]


@dataclass
class Plan:
    """A plan for an image of `source` (height, width).

    Attributes:
        source: size of the image at full resolution.
        target: size of the result.
        resize: how an image of another shape is fitted: "squash", "crop" or "pad".
        size: current size of the canvas.
        matrix: float64 (3, 3), canvas to source.
        fill: values outside the image: a grey value, a colour, or "reflect".
        colors: colour operations, see `color.apply_colors`.
        erase: boxes to erase, (y, x, height, width, value or None, seed).
    """

    source: tuple[int, int]
    target: tuple[int, int]
    resize: str
    size: tuple[int, int] = (0, 0)
    matrix: np.ndarray = field(default_factory=lambda: np.eye(3))
    fill: Fill = 0
    colors: list[tuple[str, Any]] = field(default_factory=list)
    erase: list[tuple[int, int, int, int, int | None, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = self.source

    def box(self, y: float, x: float, height: float, width: float, size: tuple[int, int]) -> None:
        """Replace the canvas by this box of it, scaled to `size`; the box may extend beyond the canvas."""
        sy, sx = height / size[0], width / size[1]
        self.matrix = self.matrix @ np.array([[sx, 0.0, x], [0.0, sy, y], [0.0, 0.0, 1.0]])
        self.size = size

    def about_center(self, linear: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        """Apply a linear map (2, 2), output to input, about the centre, after a shift (x, y) in pixels."""
        center = np.array([self.size[1] / 2, self.size[0] / 2])
        step = np.eye(3)
        step[:2, :2] = linear
        step[:2, 2] = center - linear @ (center + np.asarray(shift))
        self.matrix = self.matrix @ step

    def flip(self, horizontal: bool) -> None:
        """Mirror the canvas."""
        self.about_center(np.diag([-1.0, 1.0] if horizontal else [1.0, -1.0]))

    def fit(self, size: tuple[int, int], how: str) -> None:
        """Fit the canvas to `size` by "squash" (change the aspect ratio), "crop" or "pad" (add a border)."""
        height, width = self.size
        box_height, box_width = float(height), float(width)
        if how != "squash":
            # Canvas pixels per pixel of the result: the smaller ratio to crop, the larger to pad.
            step = (min if how == "crop" else max)(height / size[0], width / size[1])
            box_height, box_width = size[0] * step, size[1] * step
        y, x = (height - box_height) / 2, (width - box_width) / 2
        if how == "crop":  # whole pixels need no resampling
            y, x = math.floor(y), math.floor(x)
        if (height, width) != size or how != "squash":
            self.box(y, x, box_height, box_width, size)

    def scale(self) -> tuple[float, float]:
        """Return source pixels per canvas pixel, along x and y."""
        m = self.matrix
        return math.hypot(m[0, 0], m[1, 0]), math.hypot(m[0, 1], m[1, 1])
