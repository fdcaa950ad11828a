"""What a function returned or raised in one process, in a form that can be sent to others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def outcome(make: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Return what a function returns, or what it raises."""
    try:
        return make(), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error
