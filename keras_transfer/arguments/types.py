"""The types of values that users give, with their ranges. Values that NumPy made count as the numbers that they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from keras_transfer.arguments.problems import short

MAX_SEED = 2**31


def plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's number, text or truth value; anything else unchanged."""
    numpy_scalar = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    return value.item() if numpy_scalar and hasattr(value, "item") else value


def number(value: Any) -> Any:
    """Return a number as Python's; refuse truth values, which count as numbers in Python but not to people."""
    value = plain(value)
    if isinstance(value, bool):
        raise ValueError("expected a number, got a boolean")
    return value


def ordered(value: Any) -> Any:
    """Return a list; refuse what has no order of its own, and text, which is a list of letters to Python."""
    value = plain(value)
    if hasattr(value, "tolist") and not isinstance(value, (str, bytes)):  # an array, or a column of a data frame
        value = value.tolist()
    if isinstance(value, (set, frozenset, Mapping)):
        raise ValueError(f"expected a list, which has an order, got a {type(value).__name__}")
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ValueError(f"expected a list, got {short(value)}")
    return list(value)


def _path(value: Any) -> Any:
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise ValueError(f"expected a path, got {short(value)}")
    text = os.fsdecode(value)
    if not text.strip() or "\0" in text:
        raise ValueError(f"expected a path, got {text!r}")
    return text


def _size(value: Any) -> Any:
    value = plain(value)
    return [plain(side) for side in value] if hasattr(value, "shape") and value.shape == (2,) else value


def _name(value: Any) -> Any:
    if isinstance(plain(value), (int, float)):
        raise ValueError(f"expected a name, got {short(value)}")
    return value


Switch = Annotated[bool, BeforeValidator(plain)]
Positive = Annotated[int, BeforeValidator(number), Field(ge=1)]
Fraction = Annotated[float, BeforeValidator(number), Field(ge=0, lt=1)]
Rate = Annotated[float, BeforeValidator(number), Field(gt=0, allow_inf_nan=False)]
Minutes = Annotated[float, BeforeValidator(number), Field(gt=0, le=10_080)]
NonNegative = Annotated[float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False)]
Natural = Annotated[int, BeforeValidator(number), Field(ge=0)]
Side = Annotated[int, BeforeValidator(number), Field(ge=1, le=4096)]
Seed = Annotated[int, BeforeValidator(number), Field(ge=0, lt=MAX_SEED)]
ImageSize = Annotated[Side | tuple[Side, Side], BeforeValidator(_size)]
"""One number of pixels, or (height, width)."""
Auto = Literal["auto"]
PathText = Annotated[str, BeforeValidator(_path)]
"""A path as text; accepts text and `os.PathLike`."""
Name = Annotated[str, BeforeValidator(_name), Field(min_length=1)]
Effort = Literal["quick", "standard", "best"] | Minutes


def _class_weights(value: Any) -> Any:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        if not value:
            raise ValueError("expected a weight for at least one class, got {}")
        named = {str(plain(name)): weight for name, weight in value.items() if not isinstance(plain(name), bool)}
        if len(named) < len(value):
            raise ValueError(f"expected class names and their weights, got {short(value)}")
        return named
    if not isinstance(value, str):
        raise ValueError(f"expected none, balanced, sqrt or class names with their weights, got {short(value)}")
    return value


ClassWeights = Annotated[Literal["none", "balanced", "sqrt"] | dict[str, NonNegative], BeforeValidator(_class_weights)]
"""How classes are weighted: by a rule, or class name → weight (1 for those that are not named)."""
