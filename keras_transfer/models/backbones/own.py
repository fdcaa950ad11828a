"""A Keras model of the caller's as a backbone, named ``own:NAME``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from keras_transfer.errors import UserError, unknown
from keras_transfer.models.backbones.record import BACKBONES, Backbone
from keras_transfer.models.preprocessing import CAFFE, TF, TORCH, Preprocessing

PREFIX = "own:"
WEIGHTS = "own"
"""The value of ``weights`` for those that the model has."""
_ONE, _ZERO = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
PREPROCESSINGS = {
    "none": Preprocessing("none", _ONE, _ZERO),
    "unit": Preprocessing("unit", (1 / 255, 1 / 255, 1 / 255), _ZERO),
    "tf": TF,
    "torch": TORCH,
    "caffe": CAFFE,
}
"""Names that Keras's ``preprocess_input`` uses for its modes; ``none``: pixels 0..255; ``unit``: 0..1."""


def own_backbone(model: Any, preprocessing: str | Preprocessing | None = None) -> str:
    """Register a model as a backbone for this process, and return its name.

    Args:
        model: a functional or ``Sequential`` Keras model from an image (height, width, 3) to a feature map or a vector, without the
            layers that classify.
        preprocessing: what it expects: a key of :data:`PREPROCESSINGS` or a
            :class:`~keras_transfer.models.preprocessing.Preprocessing`; None, if it begins with ``Rescaling`` or ``Normalization``.

    Raises:
        UserError: a model of another kind, or no preprocessing.
    """
    model = _functional(model)
    name = PREFIX + (re.sub(r"\W+", "_", model.name).strip("_") or "model")
    size = own_size(model)
    BACKBONES[name] = Backbone(
        name=name,
        family="own",
        build=lambda shape, _: _checked_size(model, shape),
        preprocessing=_preprocessing(model, preprocessing),
        image_size=max(size) if size else 224,
        min_size=min(size) if size else 1,
        groups=None,
        licence="that of the model",
        source="a Keras model of the caller's",
        weights=(WEIGHTS, "none"),
    )
    return name


def own_size(model: Any) -> tuple[int, int] | None:
    """Return (height, width) that a model was built for, or None if it takes any."""
    height, width = model.input_shape[1:3]
    return None if height is None or width is None else (int(height), int(width))


def _functional(model: Any) -> Any:
    import keras

    if isinstance(model, keras.Sequential) and not model.built:
        raise UserError(
            f"backbone: the model {model.name!r} is not built; begin it with keras.Input((height, width, 3))"
        )
    if not isinstance(model, keras.Model):
        raise UserError(f"backbone: expected a name or a keras.Model, received {type(model).__name__}")
    inputs: Sequence[Any] = getattr(model, "inputs", None) or ()
    if len(inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"backbone: expected a functional or Sequential model of one input and one output, received {model.name!r}, a "
            f"{type(model).__name__} of {len(inputs)} inputs"
        )
    shape, output = tuple(model.input_shape), tuple(model.output_shape)
    if len(shape) != 4 or shape[-1] != 3:
        raise UserError(f"backbone: the model {model.name!r} takes {shape[1:]}, expected (height, width, 3)")
    if len(output) not in (2, 4):
        raise UserError(
            f"backbone: the model {model.name!r} gives {output[1:]}, expected a feature map (h, w, c) or a vector (d,)"
        )
    if getattr(getattr(model.layers[-1], "activation", None), "__name__", "") == "softmax":
        raise UserError(
            f"backbone: the model {model.name!r} ends in a softmax; leave out its classifier (include_top=False)"
        )
    # Of one tensor, not of lists with one: what is built on it need not know how the caller wrote it.
    return keras.Model(inputs[0], model.outputs[0], name=model.name)


def _preprocessing(model: Any, given: str | Preprocessing | None) -> Preprocessing:
    if isinstance(given, Preprocessing):
        return given
    if given is not None:
        if not isinstance(given, str) or given not in PREPROCESSINGS:
            raise unknown("preprocessing", given, PREPROCESSINGS)
        return PREPROCESSINGS[given]
    first = [type(layer).__name__ for layer in model.layers[:3]]
    if "Rescaling" in first or "Normalization" in first:
        return PREPROCESSINGS["none"]
    raise UserError(
        f"backbone: the model {model.name!r} does not scale pixels itself; say what it expects: preprocessing= 'none' (0..255), "
        "'unit' (0..1), 'tf' (-1..1), 'torch' or 'caffe', as its preprocess_input does"
    )


def _checked_size(model: Any, shape: tuple[int, int, int]) -> Any:
    size = own_size(model)
    if size is not None and size != tuple(shape[:2]):
        raise UserError(
            f"backbone: the model {model.name!r} takes images of {size[0]} x {size[1]}, got image_size {shape[0]} x {shape[1]}"
        )
    return model
