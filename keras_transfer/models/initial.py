"""Initial weights that are the same on every backend.

Each framework draws other numbers from the same seed. Here kernels are drawn with NumPy, by the rule of the layer's own
initialiser, from the seed and the layer's name.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError

# Attribute names of Keras's layers: (variable, its initialiser).
_KERNELS = (
    ("kernel", "kernel_initializer"),
    ("kernel", "depthwise_initializer"),
    ("depthwise_kernel", "depthwise_initializer"),
    ("pointwise_kernel", "pointwise_initializer"),
)
_CONSTANT = ("Zeros", "Ones", "Constant")
# Standard deviation of a standard normal distribution truncated at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978


@contextmanager
def without_drawing() -> Iterator[None]:
    """Have Keras's random initialisers return zeros inside the block.

    For models whose weights are set right afterwards. Drawing numbers that are discarded takes most of the time of building
    a backbone: on jax every shape is compiled (28 s for EfficientNet-Lite0), on torch truncated normal numbers are drawn four
    times.
    """
    kind = keras.initializers
    changed = {
        **dict.fromkeys((kind.VarianceScaling, kind.TruncatedNormal, kind.RandomNormal, kind.RandomUniform), 0.0),
        kind.Zeros: 0.0,
        kind.Ones: 1.0,
    }
    before = {initializer: initializer.__call__ for initializer in changed}
    try:
        for initializer, value in changed.items():
            initializer.__call__ = _filled(value)
        yield
    finally:
        for initializer, call in before.items():
            initializer.__call__ = call


def _filled(value: float) -> Any:
    def call(self: Any, shape: Any, dtype: Any = None, **_: Any) -> Any:
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        # From NumPy, which compiles nothing.
        return keras.ops.convert_to_tensor(np.full(tuple(shape), value, np.float32), dtype=dtype)

    return call


def draw_initial_weights(layers: Iterable[keras.layers.Layer], seed: int) -> None:
    """Set the kernels of ``layers`` to values drawn from ``seed``, each by its layer's own initialiser.

    Variables that start at a constant (biases, normalisation) are left unchanged: they are equal on all backends.

    Raises:
        UserError: an initialiser that is not supported here.
    """
    for layer in layers:
        done: set[int] = set()
        for variable_name, initializer_name in _KERNELS:
            variable, initializer = getattr(layer, variable_name, None), getattr(layer, initializer_name, None)
            if variable is None or initializer is None or id(variable) in done:
                continue
            done.add(id(variable))
            key = [seed, zlib.crc32(f"{layer.name}/{variable_name}".encode())]
            value = _draw(initializer, tuple(variable.shape), np.random.default_rng(key))
            if value is not None:
                variable.assign(value.astype(np.float32))


def _draw(initializer: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
    kind = keras.initializers
    if type(initializer).__name__ in _CONSTANT:
        return None
    if isinstance(initializer, kind.VarianceScaling):
        return _variance_scaling(initializer, shape, rng)
    if isinstance(initializer, kind.TruncatedNormal):
        return initializer.mean + initializer.stddev * _truncated(shape, rng)
    if isinstance(initializer, kind.RandomNormal):
        return rng.normal(initializer.mean, initializer.stddev, shape)
    if isinstance(initializer, kind.RandomUniform):
        return rng.uniform(initializer.minval, initializer.maxval, shape)
    raise UserError(f"weights 'none': the initialiser {type(initializer).__name__} is not supported here")


def _variance_scaling(initializer: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """He, Glorot and LeCun initialisation, as in Keras (He et al. 2015; Glorot & Bengio 2010)."""
    receptive_field = math.prod(shape[:-2])
    fan_in, fan_out = shape[-2] * receptive_field, shape[-1] * receptive_field
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[initializer.mode]
    variance = initializer.scale / max(1.0, fan)
    if initializer.distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return rng.uniform(-limit, limit, shape)
    if initializer.distribution == "untruncated_normal":
        return rng.normal(0.0, math.sqrt(variance), shape)
    return _truncated(shape, rng) * (math.sqrt(variance) / _TRUNCATED_STD)


def _truncated(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw standard normal numbers; redraw those beyond two standard deviations."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values
