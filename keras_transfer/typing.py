"""Types that several rooms share."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Prints, logs or shows one line."""


def quiet(line: str) -> None:
    """Print nothing: a :data:`Say` for those who are not to speak."""
