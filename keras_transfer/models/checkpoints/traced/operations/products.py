"""Products of matrices, and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import layers, ops

from keras_transfer.models.checkpoints.traced.builder import Builder
from keras_transfer.models.checkpoints.traced.operations.arithmetic import add, scaled
from keras_transfer.models.checkpoints.traced.operations.shapes import raised, t
from keras_transfer.models.checkpoints.traced.operations.table import array, filled, operation, same
from keras_transfer.models.checkpoints.traced.operations.weighted import linear
from keras_transfer.models.checkpoints.traced.program import Constant
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, laid, permuted, plain, reshaped


@operation("scaled_dot_product_attention")
def attention(
    make: Builder,
    q: Value,
    k: Value,
    v: Value,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Value:
    if causal:
        raise Untranslated("causal attention")
    fit = all(isinstance(one, Value) and one.rank == 4 and one.batch == 0 for one in (q, k, v))
    if not fit or q.shape[1] != k.shape[1] or q.shape[3] != v.shape[3]:
        return _attention_of_products(make, q, k, v, mask, scale)
    order = (0, 2, 1, 3)
    q, k, v = (laid(one, order) for one in (q, k, v))
    bias = None
    if isinstance(mask, Value):
        mask = raised(mask, 4)
        bias = laid(mask, (0, 1, 2, 3)).tensor
    elif mask is not None:
        given = tuple(mask.tensor.shape)
        bias = make.spread(mask, Value(q.tensor, q.shape, (0, 1, 2, 3)), (1,) * (4 - len(given)) + given)
    y = ops.dot_product_attention(q.tensor, k.tensor, v.tensor, bias=bias, scale=scale)
    return Value(y, (*q.shape[:3], v.shape[3]), order)


def _attention_of_products(make: Builder, q: Any, k: Any, v: Any, mask: Any, scale: float | None) -> Value:
    width = (q.shape if isinstance(q, Value) else q.tensor.shape)[-1]
    weights = matmul(make, scaled(make, q, width**-0.5 if scale is None else scale), t(make, k))
    if mask is not None:
        weights = add(make, weights, mask)
    return matmul(make, softmax(make, weights, -1), v)


@operation("matmul", "bmm", "mm")
def matmul(make: Builder, a: Any, b: Any) -> Value:
    if isinstance(b, Constant) and b.tensor.ndim == 2:
        return linear(make, a, Constant(b.tensor.T, b.name))
    if isinstance(a, Constant) and a.tensor.ndim == 2:
        return t(make, linear(make, t(make, b), a))
    if isinstance(a, Constant) or isinstance(b, Constant):
        like = b if isinstance(a, Constant) else a
        constant = a if isinstance(a, Constant) else b
        if constant.tensor.ndim > like.rank:
            raise Untranslated("a product with a constant of more axes")
        given = (1,) * (like.rank - constant.tensor.ndim) + tuple(constant.tensor.shape)
        beside = laid(like, plain(like))
        tensor = make.spread(Constant(constant.tensor.reshape(given), constant.name), beside, given)
        spread = Value(tensor, (like.shape[like.batch], *given[1:]) if like.batch == 0 else given, beside.order)
        a, b = (spread, beside) if isinstance(a, Constant) else (beside, spread)
    rank = max(a.rank, b.rank)
    if min(a.rank, b.rank) != rank or a.batch != b.batch or a.batch >= rank - 2:
        raise Untranslated("a product of tensors of different ranks")
    a, b = laid(a, plain(a)), laid(b, plain(b))
    shape = (*(max(m, n) for m, n in zip(a.shape[:-2], b.shape[:-2])), a.shape[-2], b.shape[-1])
    return Value(ops.matmul(a.tensor, b.tensor), shape, a.order)


@operation("einsum")
def einsum(make: Builder, equation: str, given: Sequence[Any], **_: Any) -> Value:
    *names, output = equation.replace(" ", "").replace("->", ",").split(",")
    if len(names) != 2 or "." in equation or any(len(set(one)) != len(one) for one in [*names, output]):
        raise Untranslated(f"einsum {equation}")
    (a, b), (left, right) = given, names
    if not isinstance(a, Value):
        a, b, left, right = b, a, right, left
    if isinstance(b, Constant) and a.batch == 0 and left[0] == output[0] and left[0] not in right and b.name:
        return _einsum_dense(make, a, b, f"{left},{right}->{output}")
    both = [c for c in left if c in right and c in output]
    summed = [c for c in left if c in right and c not in output]
    own, others = ([c for c in one if c not in both + summed] for one in (left, right))
    if set(output) != {*both, *own, *others} or not summed:
        raise Untranslated(f"einsum {equation}")
    sizes = {**dict(zip(left, _shape(a))), **dict(zip(right, _shape(b)))}
    p, m, k, n = (math.prod(sizes[c] for c in part) for part in (both, own, summed, others))
    x = reshaped(permuted(a, [left.index(c) for c in [*both, *own, *summed]]), (p, m, k))
    order = [right.index(c) for c in [*both, *summed, *others]]
    if isinstance(b, Value):
        y: Any = reshaped(permuted(b, order), (p, k, n))
    else:
        y = Constant(b.tensor.permute(order).reshape((p, k, n) if both else (k, n)), b.name)
    if not both:
        x = reshaped(x, (m, k))
        y = reshaped(y, (k, n)) if isinstance(y, Value) else y
    z = reshaped(matmul(make, x, y), [sizes[c] for c in [*both, *own, *others]])
    return permuted(z, [[*both, *own, *others].index(c) for c in output])


def _einsum_dense(make: Builder, x: Value, weight: Constant, equation: str) -> Value:
    assert make.step is not None and make.step.shape is not None
    x, shape = laid(x, plain(x)), make.step.shape
    layer = make.layer(layers.EinsumDense, "", equation, output_shape=shape[1:])
    return Value(filled(layer, x.tensor, [array(weight)]), shape, tuple(range(len(shape))))


def _shape(given: Any) -> tuple[int, ...]:
    return given.shape if isinstance(given, Value) else tuple(given.tensor.shape)


@operation("baddbmm")
def baddbmm(make: Builder, given: Any, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    return add(make, scaled(make, matmul(make, a, b), alpha), scaled(make, given, beta))


@operation("softmax")
def softmax(make: Builder, x: Value, axis: int, *_: Any, **__: Any) -> Value:
    return same(x, make.layer(layers.Softmax, "softmax", axis=x.axis(axis))(x.tensor))
