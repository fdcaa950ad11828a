"""Arithmetic, with constants and between tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import layers, ops

from keras_transfer.models.checkpoints.traced.builder import Builder, digits, lie
from keras_transfer.models.checkpoints.traced.operations.shapes import raised
from keras_transfer.models.checkpoints.traced.operations.table import filled, operation, same
from keras_transfer.models.checkpoints.traced.program import Constant
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, laid


def _beside(a: Value, b: Value) -> tuple[Value, Value]:
    """Return two values with as many axes each, lying alike."""
    rank = max(a.rank, b.rank)
    a, b = raised(a, rank), raised(b, rank)
    if a.batch != b.batch:
        raise Untranslated("arithmetic on tensors whose batches are different axes")
    if a.inner != b.inner:
        raise Untranslated("arithmetic on tensors of different batches")
    return (a, laid(b, a.order)) if math.prod(a.shape) >= math.prod(b.shape) else (laid(a, b.order), b)


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(m, n) for m, n in zip(a, b))


def _number(given: Any) -> float | None:
    """Return what is the same for all elements and never trained, as a number."""
    if isinstance(given, (int, float)):
        return float(given)
    if isinstance(given, Constant) and not given.name and given.tensor.numel() == 1:
        return float(given.tensor.item())
    return None


def _with_constant(make: Builder, x: Value, constant: Constant) -> tuple[Value, Value]:
    """Return a value and a constant beside it."""
    x = raised(x, max(x.rank, constant.tensor.ndim))
    given = (1,) * (x.rank - constant.tensor.ndim) + tuple(constant.tensor.shape)
    tensor = make.spread(constant, x, given)
    shape = tuple(x.shape[axis] if axis == x.batch else n for axis, n in enumerate(given))
    return x, Value(tensor, shape, x.order)


def scaled(make: Builder, x: Any, factor: float) -> Any:
    """Multiply a value or a constant by a number."""
    return Constant(x.tensor * factor, x.name) if isinstance(x, Constant) else mul(make, x, factor)


@operation("mul", "multiply")
def mul(make: Builder, a: Any, b: Any) -> Value:
    if not isinstance(a, Value):
        a, b = b, a
    number = _number(b)
    if number is not None:
        return a if number == 1 else same(a, make.layer(layers.Rescaling, "times", number)(a.tensor))
    if isinstance(b, Constant):
        a = raised(a, max(a.rank, b.tensor.ndim))
        values = lie(b, a, (1,) * (a.rank - b.tensor.ndim) + tuple(b.tensor.shape))
        if not b.name and _broadcast(values.shape[1:], [a.lying(i) for i in range(1, a.rank)]) == tuple(
            a.lying(i) for i in range(1, a.rank)
        ):
            return same(a, make.layer(layers.Rescaling, "times", digits(values[0]))(a.tensor))
        if values.size == values.shape[-1] == a.lying(a.rank - 1) and a.rank > 1:
            axes = "abcdefgh"[: a.rank - 1]
            lying = tuple(a.lying(i) for i in range(1, a.rank))
            layer = make.layer(layers.EinsumDense, "scale", f"{axes}z,z->{axes}z", output_shape=lying)
            return same(a, filled(layer, a.tensor, [values.reshape(-1)]))
        a, b = _with_constant(make, a, b)
    a, b = _beside(a, b)
    return Value(make.layer(layers.Multiply, "times")([a.tensor, b.tensor]), _broadcast(a.shape, b.shape), a.order)


@operation("add")
def add(make: Builder, a: Any, b: Any, *, alpha: float = 1) -> Value:
    if alpha != 1:
        b = scaled(make, b, alpha) if not isinstance(b, (int, float)) else alpha * b
    if not isinstance(a, Value):
        a, b = b, a
    number = _number(b)
    if number is not None:
        return a if number == 0 else same(a, make.layer(layers.Rescaling, "plus", 1.0, number)(a.tensor))
    if isinstance(b, Constant):
        a, b = _with_constant(make, a, b)
    a, b = _beside(a, b)
    return Value(make.layer(layers.Add, "add")([a.tensor, b.tensor]), _broadcast(a.shape, b.shape), a.order)


@operation("sub", "subtract")
def sub(make: Builder, a: Any, b: Any, *, alpha: float = 1) -> Value:
    if not isinstance(b, Value):
        return add(make, a, Constant(-alpha * b.tensor, b.name) if isinstance(b, Constant) else -alpha * b)
    return add(make, mul(make, b, -float(alpha)), a)


@operation("rsub")
def rsub(make: Builder, a: Any, b: Any, alpha: float = 1) -> Value:
    return sub(make, b, a, alpha=alpha)


@operation("div", "divide", "true_divide")
def div(make: Builder, a: Any, b: Any, **rest: Any) -> Value:
    if rest.get("rounding_mode"):
        raise Untranslated("a rounded division")
    number = _number(b)
    if number is not None:
        return mul(make, a, 1 / number)
    if isinstance(b, Constant):
        return mul(make, a, Constant(1 / b.tensor, b.name))
    if not isinstance(a, Value):
        a = add(make, mul(make, b, 0.0), a)
    a, b = _beside(a, b)
    return Value(ops.divide(a.tensor, b.tensor), _broadcast(a.shape, b.shape), a.order)


@operation("maximum", "minimum")
def extreme(make: Builder, a: Any, b: Any) -> Value:
    assert make.step is not None
    if not isinstance(a, Value):
        a, b = b, a
    a, b = _with_constant(make, a, b) if isinstance(b, Constant) else (a, b)
    a, b = _beside(a, b)
    kind = layers.Maximum if make.step.operation == "maximum" else layers.Minimum
    return Value(make.layer(kind, "extreme")([a.tensor, b.tensor]), _broadcast(a.shape, b.shape), a.order)


@operation("neg")
def neg(make: Builder, x: Value) -> Value:
    return mul(make, x, -1.0)


@operation("addcmul")
def addcmul(make: Builder, x: Any, a: Any, b: Any, *, value: float = 1) -> Value:
    return add(make, mul(make, mul(make, a, b), value), x)


@operation("pow")
def pow_(make: Builder, x: Value, exponent: float) -> Value:
    if exponent == 2:
        return same(x, ops.square(x.tensor))
    if exponent == 0.5:
        return same(x, ops.sqrt(x.tensor))
    return same(x, ops.power(x.tensor, float(exponent)))


@operation("sqrt")
def sqrt(make: Builder, x: Value) -> Value:
    return same(x, ops.sqrt(x.tensor))


@operation("rsqrt")
def rsqrt(make: Builder, x: Value) -> Value:
    return same(x, ops.power(x.tensor, -0.5))


@operation("reciprocal")
def reciprocal(make: Builder, x: Value) -> Value:
    return same(x, ops.power(x.tensor, -1.0))


@operation("exp")
def exp(make: Builder, x: Value) -> Value:
    return same(x, ops.exp(x.tensor))


@operation("square")
def square(make: Builder, x: Value) -> Value:
    return same(x, ops.square(x.tensor))


@operation("abs")
def absolute(make: Builder, x: Value) -> Value:
    return same(x, ops.absolute(x.tensor))


@operation("clamp", "clip")
def clamp(make: Builder, x: Value, low: float | None = None, high: float | None = None) -> Value:
    y = x.tensor if low is None else ops.maximum(x.tensor, float(low))
    return same(x, y if high is None else ops.minimum(y, float(high)))


@operation("clamp_min")
def clamp_min(make: Builder, x: Value, low: float) -> Value:
    return clamp(make, x, low)


@operation("clamp_max")
def clamp_max(make: Builder, x: Value, high: float) -> Value:
    return clamp(make, x, None, high)
