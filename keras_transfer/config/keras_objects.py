"""Keras objects in a configuration: by name, by their serialized form, or, where they have none, as themselves.

An object is stored as Keras serializes it, so that a run with it can be written to a file and resumed. Importing this module does not
import Keras: who has one of its objects has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from keras_transfer.errors import UserError, unknown

OPTIMIZERS = (
    *("adam", "adamw", "sgd", "rmsprop", "nadam", "adamax", "adagrad", "adadelta", "adafactor", "ftrl", "lion", "muon"),
)
"""Keras's optimizers by the names that ``keras.optimizers.get`` takes."""
SCHEDULES = ("plateau", "constant", "cosine", "one_cycle")


class Live(dict[str, Any]):
    """A Keras object that cannot be stored: it trains, but a run with it cannot be resumed.

    As a mapping, it says so: that is what a configuration file gets.
    """

    def __init__(self, value: Any):
        super().__init__(class_name=type(value).__name__, not_stored=True)
        self.object = value


def stored_optimizer(value: Any) -> Any:
    """Return the name of an optimizer, or its serialized form.

    Raises:
        ValueError: an unknown name, or something else.
    """
    if isinstance(value, type) and _is_keras(value, "Optimizer"):
        value = value.__name__
    if isinstance(value, str):
        name = value.lower().replace("_", "")
        if name not in OPTIMIZERS:
            raise ValueError(str(unknown("optimizer", value, OPTIMIZERS)))
        return name
    return _stored(value, "Optimizer", f"an optimizer: {', '.join(OPTIMIZERS)}, or a keras.optimizers object")


def stored_schedule(value: Any) -> Any:
    """Return the name of a schedule, or the serialized form of a Keras one.

    Raises:
        ValueError: an unknown name, or something else.
    """
    if isinstance(value, str):
        if value not in SCHEDULES:
            raise ValueError(str(unknown("schedule", value, SCHEDULES)))
        return value
    what = f"a schedule: {', '.join(SCHEDULES)}, or a keras.optimizers.schedules object"
    return _stored(value, "LearningRateSchedule", what)


def is_schedule(value: Any) -> bool:
    """Return whether this is a Keras learning-rate schedule, or the serialized form of one."""
    return isinstance(value, Mapping) or _is_keras(type(value), "LearningRateSchedule")


def made(stored: Any) -> Any:
    """Return a new object from what was stored; the class must be Keras's own or registered with it.

    Raises:
        UserError: it cannot be made.
    """
    import keras

    if isinstance(stored, Live):
        config = stored.object.get_config()
        return type(stored.object).from_config(config)
    foreign = _foreign(stored)
    if foreign:
        raise UserError(
            f"{foreign} is neither a class of Keras nor registered: decorate it with keras.saving.register_keras_serializable"
        )
    try:
        return keras.saving.deserialize_keras_object(dict(stored), safe_mode=True)
    except Exception as error:  # Keras raises whatever the constructor raises
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{stored.get('class_name')!r} cannot be made from its configuration: {reason}") from error


def configuration(stored: Any) -> dict[str, Any]:
    """Return the constructor's arguments of a stored object."""
    return dict(stored.object.get_config() if isinstance(stored, Live) else stored.get("config") or {})


def title(stored: Any) -> str:
    """Return the name of a stored object, for people."""
    return str(stored.get("class_name")) if isinstance(stored, Mapping) else str(stored)


def _stored(value: Any, base: str, what: str) -> Any:
    if isinstance(value, Live):
        return value
    if isinstance(value, Mapping):
        if value.get("not_stored"):
            raise ValueError(
                f"the object {value.get('class_name')} was given as a Python object that cannot be stored, so the run cannot be resumed; "
                "register its class with keras.saving.register_keras_serializable"
            )
        if not isinstance(value.get("class_name"), str) or not isinstance(value.get("config"), Mapping):
            raise ValueError(f"expected {what}, or a mapping with class_name and config, got {dict(value)!r}"[:300])
        return dict(value)
    if not _is_keras(type(value), base):
        raise ValueError(f"expected {what}, got {value!r}"[:300])
    import keras

    try:
        form = keras.saving.serialize_keras_object(value)
    except Exception:  # whatever get_config of the caller's class raises
        return Live(value)
    return Live(value) if _foreign(form) else form


def _is_keras(kind: type, base: str) -> bool:
    return "keras" in sys.modules and any(
        each.__name__ == base and each.__module__.split(".")[0] == "keras" for each in kind.__mro__
    )


def _foreign(form: Any) -> str:
    """Return the name of a class in a serialized form that Keras could only find by importing other code, or an empty string."""
    import keras

    if isinstance(form, Mapping):
        name, module, registered = form.get("class_name"), str(form.get("module") or ""), form.get("registered_name")
        known = module.split(".")[0] == "keras" or registered in keras.saving.get_custom_objects()
        if name is not None and not known:
            return str(name)
        return next((found for part in form.values() if (found := _foreign(part))), "")
    if isinstance(form, (list, tuple)):
        return next((found for part in form if (found := _foreign(part))), "")
    return ""
