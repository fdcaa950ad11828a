"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers, ops

from keras_transfer.models.checkpoints.traced.builder import Builder
from keras_transfer.models.checkpoints.traced.operations.arithmetic import add, clamp, mul, neg
from keras_transfer.models.checkpoints.traced.operations.table import OPERATIONS, operation, same
from keras_transfer.models.checkpoints.traced.program import Constant
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value


def _activation(name: str) -> Callable[..., Value]:
    def apply(make: Builder, x: Value, *_: Any, **__: Any) -> Value:
        return same(x, make.layer(layers.Activation, "act", name)(x.tensor))

    return apply


for _aten, _keras in {
    "silu": "silu",
    "hardswish": "hard_silu",
    "hardsigmoid": "hard_sigmoid",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "mish": "mish",
    "selu": "selu",
}.items():
    OPERATIONS[_aten] = _activation(_keras)


@operation("relu")
def relu(make: Builder, x: Value) -> Value:
    return same(x, make.layer(layers.ReLU, "act")(x.tensor))


@operation("relu6")
def relu6(make: Builder, x: Value) -> Value:
    return same(x, make.layer(layers.ReLU, "act", 6.0)(x.tensor))


@operation("hardtanh")
def hardtanh(make: Builder, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return relu6(make, x) if (low, high) == (0, 6) else clamp(make, x, low, high)


@operation("leaky_relu")
def leaky_relu(make: Builder, x: Value, slope: float = 0.01) -> Value:
    return same(x, make.layer(layers.LeakyReLU, "act", slope)(x.tensor))


@operation("elu")
def elu(make: Builder, x: Value, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Value:
    if (scale, inner) != (1, 1):
        raise Untranslated("a scaled ELU")
    return same(x, make.layer(layers.ELU, "act", float(alpha))(x.tensor))


@operation("prelu")
def prelu(make: Builder, x: Value, slope: Constant) -> Value:
    positive = relu(make, x)
    negative = neg(make, relu(make, neg(make, x)))
    shape = (1, -1, *[1] * (x.rank - 2))
    return add(make, positive, mul(make, negative, Constant(slope.tensor.reshape(shape), slope.name)))


@operation("gelu")
def gelu(make: Builder, x: Value, *, approximate: str = "none") -> Value:
    if approximate == "tanh":
        return same(x, ops.gelu(x.tensor, approximate=True))
    return same(x, make.layer(layers.Activation, "act", "gelu")(x.tensor))


@operation("softplus")
def softplus(make: Builder, x: Value, beta: float = 1.0, *_: Any) -> Value:
    y = mul(make, x, beta)
    return mul(make, same(y, make.layer(layers.Activation, "act", "softplus")(y.tensor)), 1 / beta)
