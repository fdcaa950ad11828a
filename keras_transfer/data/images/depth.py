"""Which values of 16-bit images are used: cameras, X-ray and microscopes often fill only a part of 0..65535."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_transfer.errors import UserError

Span = tuple[int, int]
FULL: Span = (0, 65535)
"""The values that become 0 and 255 if nothing else is known."""
_NARROW = 8  # of a span that is used by less than an eighth, only that part is kept


def chosen(ranges: Iterable[Span]) -> Span | None:
    """Return the span to use for images with these (smallest, largest) values, None without any.

    It is 0 to the largest value of 8 to 16 bits that holds all of them, so that 12-bit data keep their scale; if they fill less than an
    eighth of that, it is their own range.
    """
    found = list(ranges)
    if not found:
        return None
    low, high = min(one[0] for one in found), max(one[1] for one in found)
    most = (1 << max(8, high.bit_length())) - 1
    return (low, high) if 0 < _NARROW * (high - low) < most else (0, most)


def parse(given: Any) -> Span | None:
    """Return a span from bits (8..16), from (low, high) within 0..65535, or None.

    Raises:
        UserError: something else.
    """
    if given is None:
        return None
    whole = isinstance(given, int) and not isinstance(given, bool)
    pair = isinstance(given, Sequence) and len(given) == 2 and all(type(one) is int for one in given)
    if whole and 8 <= given <= 16:
        return 0, (1 << given) - 1
    if pair and 0 <= given[0] < given[1] <= FULL[1]:
        return given[0], given[1]
    raise UserError(
        f"depth: expected 8 to 16 bits, or the lowest and the highest value within 0..65535, got {str(given)[:100]}"
    )


def to_8_bit(values: np.ndarray, span: Span = FULL) -> np.ndarray:
    """Scale uint16 values so that `span` becomes 0..255, rounded to nearest; values outside are cut off."""
    low, high = span
    scaled = (np.clip(values.astype(np.int32), low, high) - low) * 255
    return ((scaled + (high - low) // 2) // (high - low)).astype(np.uint8)


def remark(count: int, ranges: Iterable[Span], span: Span) -> str:
    """Return a line on 16-bit images."""
    found = list(ranges)
    low, high = min(one[0] for one in found), max(one[1] for one in found)
    return f"16-bit images: {count}, with values {low}..{high}; {span[0]}..{span[1]} become 0..255 (data.depth)"
