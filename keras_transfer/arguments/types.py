"""The types of values that users give, with their ranges. Values that NumPy made count as the numbers that they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from keras_transfer.arguments.problems import short
from keras_transfer.errors import nearest, unknown
from keras_transfer.options import BACKENDS, DEVICES
from keras_transfer.typing import Say

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
    sides = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(sides, (list, tuple)) and len(sides) == 2:
        return [plain(side) for side in sides]
    if isinstance(sides, (list, tuple, bool)) or not isinstance(sides, (int, float, str)):
        raise ValueError(f"expected one number of pixels or two (height, width), got {short(value)}")
    return sides


def _name(value: Any) -> Any:
    if isinstance(plain(value), (int, float)):
        raise ValueError(f"expected a name, got {short(value)}")
    return value


Switch = Annotated[bool, BeforeValidator(plain)]
Positive = Annotated[int, BeforeValidator(number), Field(ge=1)]
Fraction = Annotated[float, BeforeValidator(number), Field(ge=0, lt=1)]
Share = Annotated[float, BeforeValidator(number), Field(gt=0, lt=1)]
Rate = Annotated[float, BeforeValidator(number), Field(gt=0, allow_inf_nan=False)]
Minutes = Annotated[float, BeforeValidator(number), Field(gt=0, le=10_080)]
NonNegative = Annotated[float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False)]
Natural = Annotated[int, BeforeValidator(number), Field(ge=0)]
Side = Annotated[int, BeforeValidator(number), Field(ge=1, le=4096)]
Place = Annotated[int, BeforeValidator(number)]
"""A position in a sequence."""
Seed = Annotated[int, BeforeValidator(number), Field(ge=0, lt=MAX_SEED)]
ImageSize = Annotated[Side | tuple[Side, Side], BeforeValidator(_size)]
"""One number of pixels, or (height, width)."""
if TYPE_CHECKING:
    OptionalSize = int | Sequence[int] | None
else:
    OptionalSize = ImageSize | None
Auto = Literal["auto"]
PathText = Annotated[str, BeforeValidator(_path)]
"""A path as text; accepts text and `os.PathLike`."""
if TYPE_CHECKING:  # what may be given; it arrives as text
    AnyPath = str | Path
else:
    AnyPath = PathText
Name = Annotated[str, BeforeValidator(_name), Field(min_length=1)]


def _names(value: Any) -> Any:
    names = [value] if isinstance(value, str) else ordered(value)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"expected names, got {short(name)} among them")
    return names


if TYPE_CHECKING:
    Names = str | Sequence[str]
else:
    Names = Annotated[list[str], BeforeValidator(_names), Field(min_length=1)]
"""A name, or several; it arrives as a list."""


def _name_or_model(value: Any) -> Any:
    keras = sys.modules.get("keras")
    model = keras is not None and isinstance(value, keras.Model)
    if not model and not (isinstance(value, str) and value):
        raise ValueError(f"expected a name or a keras.Model, got {short(value)}")
    return value


if TYPE_CHECKING:
    NameOrModel = Any
else:
    NameOrModel = Annotated[Any, BeforeValidator(_name_or_model)]
"""The name of a backbone, or a Keras model."""


def _effort(value: Any) -> Any:
    words = ["quick", "standard", "best"]
    if isinstance(value, str) and value not in words and not value.replace(".", "", 1).isdecimal():
        raise ValueError(f"expected quick, standard, best or minutes{nearest(value, words)}, got {value!r}")
    return value


Effort = Annotated[Literal["quick", "standard", "best"] | Minutes, BeforeValidator(_effort)]


def _verbose(value: Any) -> Any:
    value = plain(value)
    return {"auto": True, 0: False, 1: True, 2: True}.get(value, value) if isinstance(value, (str, int)) else value


Verbose = Annotated[bool, BeforeValidator(_verbose)]
"""Whether to print: a truth value, or 0, 1, 2 or "auto" as in Keras."""


Workers = Natural | Auto
"""Number of threads."""


def _table(value: Any) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping of image names to splits, got {short(value)}")
    return value


SplitTable = Annotated[dict[str, str] | None, BeforeValidator(_table)]
"""Image name → split."""


def _callbacks(value: Any) -> Any:
    value = () if value is None else ordered(value)
    keras = sys.modules.get("keras")  # without it, nothing can be one of its callbacks
    for one in value:
        if keras is None or not isinstance(one, keras.callbacks.Callback):
            hint = "; give an object, not the class" if isinstance(one, type) else ""
            raise ValueError(f"expected a list of Keras callbacks, got {short(one)} in it{hint}")
    return value


if TYPE_CHECKING:
    Callbacks = Sequence[Any]
else:
    Callbacks = Annotated[list[Any], BeforeValidator(_callbacks)]
"""Keras callbacks; None is none."""


def _metrics(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else ordered(value)


if TYPE_CHECKING:
    Metrics = Sequence[Any] | str
else:
    Metrics = Annotated[list[Any], BeforeValidator(_metrics)]
"""Keras metrics: names or objects, which :func:`keras_transfer.training.objectives.own_metrics` checks; None is none."""


def _augment(value: Any) -> Any:
    return [] if value is None else ordered(value)


if TYPE_CHECKING:
    Augment = Sequence[Any]
else:
    Augment = Annotated[list[Any], BeforeValidator(_augment)]
"""Augmentations: names, mappings or objects, which :func:`keras_transfer.data.augment.make_op` checks; None is none."""


def _settings(value: Any) -> Any:
    value = [] if value is None else ordered(value)
    for one in value:
        if not isinstance(one, str):
            raise ValueError(f"expected texts of the form KEY=VALUE, got {short(one)}")
    return value


if TYPE_CHECKING:
    Settings = Sequence[str]
else:
    Settings = Annotated[list[str], BeforeValidator(_settings)]
"""`KEY=VALUE` texts with keys of the configuration; None is none."""


def _backend(value: Any) -> Any:
    if value != "auto" and value not in BACKENDS:
        raise ValueError(str(unknown("backend", value, ("auto", *BACKENDS))))
    return value


Backend = Annotated[str, BeforeValidator(_backend)]
"""Name of a Keras backend, or `auto`."""


def _device(value: Any) -> Any:
    if value not in DEVICES:
        raise ValueError(str(unknown("device", value, DEVICES)))
    return value


Device = Annotated[str, BeforeValidator(_device)]
"""Name of a device, or `auto`."""


def _say(value: Any) -> Any:
    if not callable(value):
        raise ValueError(f"expected a function that takes a line, such as print, got {short(value)}")
    return value


if TYPE_CHECKING:
    Printer = Say
else:
    Printer = Annotated[Any, BeforeValidator(_say)]
"""A function that takes a line of text."""


Bits = Annotated[int, BeforeValidator(number), Field(ge=8, le=16)]
Value = Annotated[int, BeforeValidator(number), Field(ge=0, le=65535)]
Depth = Auto | Bits | tuple[Value, Value]
"""Values of 16-bit images: a number of bits, or the lowest and the highest value."""


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
