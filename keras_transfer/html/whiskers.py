"""Error bars in the cells of a table: a point and its error, on an axis that all rows share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Whisker(NamedTuple):
    """Places on the axis, in percent from the left: the point, and both ends of its error."""

    point: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low


def whiskers(figures: Sequence[tuple[float, float]]) -> list[Whisker | None]:
    """Return the error bar of each figure, on the shortest axis that holds all of them.

    Args:
        figures: (value, standard error); an error that is not finite counts as 0.

    Returns:
        One for each; None where the value is not finite.
    """
    ends = [
        (value, value - (error if math.isfinite(error) else 0), value + (error if math.isfinite(error) else 0))
        for value, error in figures
    ]
    known = [one for one in ends if math.isfinite(one[0])]
    if not known:
        return [None] * len(ends)
    left, right = min(one[1] for one in known), max(one[2] for one in known)
    room = right - left
    return [
        Whisker(*(100 * (place - left) / room if room else 50.0 for place in one)) if math.isfinite(one[0]) else None
        for one in ends
    ]
