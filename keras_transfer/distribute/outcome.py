"""What a function returned or raised in one process, in a form that can be sent to others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

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


def result(found: Any, is_main: bool) -> Any:
    """Return what :func:`outcome` found in process 0, or raise it; elsewhere the error knows that process 0 tells it for all."""
    value, error = found
    if error is not None:
        error.of_process_0 = not is_main
        raise error
    return value
