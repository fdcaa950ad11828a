"""Intervals in seconds, training steps or epochs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

UNITS = {"second": ("seconds", 1), "minute": ("seconds", 60), "step": ("steps", 1), "epoch": ("epochs", 1)}
FORM = re.compile(rf"\s*([0-9.]+(?:e[+-]?\d+)?)\s*(?:({'|'.join(UNITS)})s?)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Interval:
    """An amount of time, of training steps or of epochs.

    Attributes:
        amount: at least 0 seconds, or 1 step or epoch.
        unit: ``"seconds"``, ``"steps"`` or ``"epochs"``.
    """

    amount: float
    unit: str = "seconds"

    @classmethod
    def parse(cls, value: float | str) -> Interval:
        """Read ``90 seconds``, ``2 minutes``, ``100 steps`` or ``1 epoch``; a number alone means seconds.

        Raises:
            ValueError: it is something else.
        """
        found = None if isinstance(value, bool) else FORM.fullmatch(str(value))
        try:
            number = float(found[1]) if found else math.nan
        except ValueError:  # more than one point
            number = math.nan
        unit, factor = UNITS[(found[2] or "second").lower()] if found else ("", 0)
        least = 0 if unit == "seconds" else 1
        if not (math.isfinite(number) and number >= least and (unit == "seconds" or number.is_integer())):
            raise ValueError(f"expected e.g. '90 seconds', '2 minutes', '100 steps' or '1 epoch', got {value!r}"[:200])
        return cls(number * factor, unit)

    @property
    def seconds(self) -> float:
        """The time, or 0 if steps or epochs are counted."""
        return self.amount if self.unit == "seconds" else 0.0

    def is_over(self, *, seconds: float, steps: int, epochs: int) -> bool:
        """Return whether the interval has passed, given what has elapsed since it began."""
        return {"seconds": seconds, "steps": steps, "epochs": epochs}[self.unit] >= self.amount
