"""The output shape of every Keras layer and operation on the allowlist, from its configuration alone.

Nothing here imports or calls Keras, which would allocate before it can be asked. A rule takes a layer's configuration and the
shapes of its inputs; it returns the shape of its output, and how many numbers it holds besides while it computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]
Config = Mapping[str, Any]
MAX_SIDE = 1 << 40  # of a shape; keeps the arithmetic in hand


class Size(NamedTuple):
    """The size of a call.

    Attributes:
        shape: of the output, with the batch.
        inside: elements of the tensors that the layer makes on the way.
    """

    shape: Shape
    inside: int = 0


class NotJudged(ValueError):
    """A configuration whose size cannot be told; the message is the reason."""


Rule = Callable[[Config, list[Shape]], Size]


def number(config: Config, key: str, low: int = 0) -> int:
    """Return a whole number of the configuration; raises NotJudged for anything else."""
    return whole(config[key], key, low)


def whole(value: Any, what: str, low: int = 0) -> int:
    """Return ``value`` if it is a whole number from ``low`` on; raises NotJudged for anything else."""
    if type(value) is not int or not low <= value <= MAX_SIDE:
        raise NotJudged(f"{what} is {str(value)[:40]}, expected a whole number of at least {low}")
    return value


def pair(config: Config, key: str, low: int = 0) -> tuple[int, int]:
    """Return two whole numbers, given as two or as one."""
    value = config[key]
    values = value if isinstance(value, (list, tuple)) else (value, value)
    if len(values) != 2:
        raise NotJudged(f"{key} is {str(value)[:40]}, expected one or two numbers")
    return whole(values[0], key, low), whole(values[1], key, low)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that arrays of these shapes are broadcast to; raises NotJudged if they cannot be."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    sides = [{side for side in column if side != 1} for column in zip(*padded)]
    if any(len(side) > 1 for side in sides):
        raise NotJudged(f"shapes that do not fit: {shapes}")
    return tuple(side.pop() if side else 1 for side in sides)


def _first(_: Config, x: list[Shape]) -> Size:
    return Size(x[0])


def _merge(_: Config, x: list[Shape]) -> Size:
    # Keras aligns tensors of fewer dimensions behind the batch: (b, c) with (b, h, w, c) is (b, 1, 1, c).
    rank = max(map(len, x))
    return Size(broadcast(*((shape[0], *(1,) * (rank - len(shape)), *shape[1:]) for shape in x)))


def _axis(axis: Any, rank: int) -> int:
    place = axis + rank if type(axis) is int and axis < 0 else axis
    if type(place) is not int or not 0 <= place < rank:
        raise NotJudged(f"axis {str(axis)[:40]} of a tensor with {rank} dimensions")
    return place


def _concatenate(c: Config, x: list[Shape]) -> Size:
    axis = _axis(c.get("axis", 0) if c.get("axis") is not None else 0, len(x[0]))
    if any(len(shape) != len(x[0]) for shape in x):
        raise NotJudged("tensors of different ranks")
    rest = broadcast(*((*shape[:axis], 1, *shape[axis + 1 :]) for shape in x))
    return Size((*rest[:axis], sum(shape[axis] for shape in x), *rest[axis + 1 :]))


def _image(c: Config, shape: Shape) -> tuple[int, int, int]:
    """Return height, width and channels."""
    if len(shape) != 4 or c["data_format"] not in ("channels_last", "channels_first"):
        raise NotJudged(f"expected images and their data_format, got {shape} and {str(c['data_format'])[:40]}")
    return shape[1:] if c["data_format"] == "channels_last" else (shape[2], shape[3], shape[1])  # type: ignore[return-value]


def _made(c: Config, x: list[Shape], height: int, width: int, channels: int, inside: int = 0) -> Size:
    if min(height, width) < 1:
        raise NotJudged(f"an output of {height} x {width}")
    image = (height, width, channels) if c["data_format"] == "channels_last" else (channels, height, width)
    return Size((x[0][0], *image), inside)


def _window(side: int, kernel: int, stride: int, padding: Any, dilation: int = 1) -> int:
    if padding == "same":
        return -(-side // stride)
    if padding != "valid":
        raise NotJudged(f"padding {str(padding)[:40]}")
    return (side - (kernel - 1) * dilation - 1) // stride + 1


def _windows(c: Config, x: list[Shape], kernel_key: str, channels: Callable[[int], int]) -> Size:
    height, width, depth = _image(c, x[0])
    kernel = pair(c, kernel_key, 1)
    strides = kernel if c["strides"] is None else pair(c, "strides", 1)
    dilation = pair(c, "dilation_rate", 1) if "dilation_rate" in c else (1, 1)
    rows, columns = (
        _window(side, k, s, c["padding"], d) for side, k, s, d in zip((height, width), kernel, strides, dilation)
    )
    return _made(c, x, rows, columns, channels(depth))


def _conv(c: Config, x: list[Shape]) -> Size:
    return _windows(c, x, "kernel_size", lambda _: number(c, "filters", 1))


def _depthwise(c: Config, x: list[Shape]) -> Size:
    return _windows(c, x, "kernel_size", lambda depth: depth * number(c, "depth_multiplier", 1))


def _separable(c: Config, x: list[Shape]) -> Size:
    return Size(_conv(c, x).shape, math.prod(_depthwise(c, x).shape))


def _transposed(c: Config, x: list[Shape]) -> Size:
    height, width, _ = _image(c, x[0])
    sides = []
    outer = (0, 0) if c["output_padding"] is None else pair(c, "output_padding")
    rows = zip((height, width), pair(c, "kernel_size", 1), pair(c, "strides", 1), pair(c, "dilation_rate", 1), outer)
    for side, kernel, stride, dilation, more in rows:
        reach = (kernel - 1) * dilation + 1
        if c["output_padding"] is None:
            sides.append(side * stride + (max(reach - stride, 0) if c["padding"] == "valid" else 0))
        else:
            cut = 2 * (reach // 2) if c["padding"] == "same" else 0
            sides.append((side - 1) * stride + reach - cut + more)
    return _made(c, x, sides[0], sides[1], number(c, "filters", 1))


def _pool(c: Config, x: list[Shape]) -> Size:
    return _windows(c, x, "pool_size", lambda depth: depth)


def _global_2d(c: Config, x: list[Shape]) -> Size:
    channels = _image(c, x[0])[2]
    return _made(c, x, 1, 1, channels) if c["keepdims"] else Size((x[0][0], channels))


def _global_1d(c: Config, x: list[Shape]) -> Size:
    batch, *rest = x[0]
    place = {"channels_last": 1, "channels_first": 0}[c["data_format"]]
    channels = rest[place]
    if not c["keepdims"]:
        return Size((batch, channels))
    return Size((batch, 1, channels) if place else (batch, channels, 1))


def _adaptive(c: Config, x: list[Shape]) -> Size:
    return _made(c, x, *pair(c, "output_size", 1), _image(c, x[0])[2])


def _sides(c: Config, key: str) -> tuple[int, int]:
    """Return what is added or cut above and below together, and left and right together."""
    value = c[key]
    if not isinstance(value, (list, tuple)):
        return 2 * whole(value, key), 2 * whole(value, key)
    both = [pair({key: one}, key) if isinstance(one, (list, tuple)) else (whole(one, key),) * 2 for one in value]
    if len(both) != 2:
        raise NotJudged(f"{key} is {str(value)[:40]}")
    return sum(both[0]), sum(both[1])


def _padding(c: Config, x: list[Shape]) -> Size:
    (height, width, depth), (rows, columns) = _image(c, x[0]), _sides(c, "padding")
    return _made(c, x, height + rows, width + columns, depth)


def _cropping(c: Config, x: list[Shape]) -> Size:
    (height, width, depth), (rows, columns) = _image(c, x[0]), _sides(c, "cropping")
    return _made(c, x, height - rows, width - columns, depth)


def _upsampling(c: Config, x: list[Shape]) -> Size:
    (height, width, depth), (rows, columns) = _image(c, x[0]), pair(c, "size", 1)
    return _made(c, x, height * rows, width * columns, depth, height * rows * width * depth)


def _resizing(c: Config, x: list[Shape]) -> Size:
    height, width, depth = _image(c, x[0])
    rows, columns = number(c, "height", 1), number(c, "width", 1)
    # An image that is first brought to the new aspect ratio, by padding or cutting.
    padded = max(height, -(-width * rows // columns)) * max(width, -(-height * columns // rows)) * depth
    return _made(c, x, rows, columns, depth, padded if c.get("pad_to_aspect_ratio") else height * width * depth)


def _flatten(_: Config, x: list[Shape]) -> Size:
    return Size((x[0][0], math.prod(x[0][1:])))


def _reshaped(shape: Shape, wanted: Any) -> Shape:
    if not isinstance(wanted, (list, tuple)):
        wanted = (wanted,)
    free = [i for i, side in enumerate(wanted) if side in (-1, None)]
    fixed = math.prod(whole(side, "a side") for i, side in enumerate(wanted) if i not in free)
    count = math.prod(shape)
    if len(free) > 1 or (free and (not fixed or count % fixed)) or (not free and fixed != count):
        raise NotJudged(f"{shape} cannot be reshaped to {str(wanted)[:60]}")
    return tuple(count // fixed if i in free else side for i, side in enumerate(wanted))


def _reshape(c: Config, x: list[Shape]) -> Size:
    return Size((x[0][0], *_reshaped(x[0][1:], c["target_shape"])))


def _permute(c: Config, x: list[Shape]) -> Size:
    dims = c["dims"]
    if sorted(dims) != list(range(1, len(x[0]))):
        raise NotJudged(f"dims {str(dims)[:40]}")
    return Size((x[0][0], *(x[0][i] for i in dims)))


def _repeat_vector(c: Config, x: list[Shape]) -> Size:
    batch, features = x[0]
    return Size((batch, number(c, "n", 1), features))


def _dense(c: Config, x: list[Shape]) -> Size:
    return Size((*x[0][:-1], number(c, "units", 1)))


def _einsum(c: Config, x: list[Shape]) -> Size:
    left, _, made = c["equation"].replace(" ", "").partition("->")
    seen = left.split(",")[0]
    if "." in c["equation"] or len(seen) != len(x[0]) or not made or made[0] != seen[0]:
        raise NotJudged(f"equation {str(c['equation'])[:60]}")
    side = dict(zip(seen, x[0]))
    told = c["output_shape"]
    told = list(told) if isinstance(told, (list, tuple)) else [told]
    given = dict(zip(reversed(made), reversed(told)))
    return Size(tuple(side[k] if k in side else whole(given[k], "output_shape", 1) for k in made))


def _dot(c: Config, x: list[Shape]) -> Size:
    axes = c["axes"] if isinstance(c["axes"], (list, tuple)) else (c["axes"], c["axes"])
    first, second = _axis(axes[0], len(x[0])), _axis(axes[1], len(x[1]))
    kept = [side for i, side in enumerate(x[0]) if i != first]
    kept += [side for i, side in enumerate(x[1]) if i not in (0, second)]
    return Size(tuple(kept) if len(kept) > 1 else (*kept, 1))


def _attention(c: Config, x: list[Shape]) -> Size:
    query, value = x[0], x[1]
    if len(query) != 3 or len(value) != 3:
        raise NotJudged(f"attention over {query} and {value}")
    scores = query[1] * value[1] * (query[2] if c["score_mode"] != "dot" else 1)
    return Size((*query[:-1], value[-1]), 3 * scores)


def _multi_head(c: Config, x: list[Shape]) -> Size:
    query, value = x[0], x[1] if len(x) > 1 else x[0]
    heads, key = number(c, "num_heads", 1), number(c, "key_dim", 1)
    depth = key if c.get("value_dim") is None else number(c, "value_dim", 1)
    tokens, others = math.prod(query[1:-1]), math.prod(value[1:-1])
    told = c["output_shape"]
    last = (
        (query[-1],)
        if told is None
        else tuple(whole(n, "output_shape", 1) for n in (told if isinstance(told, list) else [told]))
    )
    inside = heads * (3 * tokens * others + 2 * tokens * key + 2 * others * (key + depth))
    return Size((*query[:-1], *last), inside)


def _rescaling(c: Config, x: list[Shape]) -> Size:
    return Size(broadcast(x[0], np.shape(c["scale"]), np.shape(c["offset"])))


def _elementwise(_: Config, x: list[Shape]) -> Size:
    return Size(broadcast(*x))


def _reduction(c: Config, x: list[Shape]) -> Size:
    axes = c["axis"]
    rank = len(x[0])
    axes = range(rank) if axes is None else axes if isinstance(axes, (list, tuple)) else (axes,)
    gone = {_axis(axis, rank) for axis in axes}
    kept = [(1 if i in gone else side) for i, side in enumerate(x[0]) if c["keepdims"] or i not in gone]
    return Size(tuple(kept))


def _expand(c: Config, x: list[Shape]) -> Size:
    axes = c["axis"] if isinstance(c["axis"], (list, tuple)) else [c["axis"]]
    rank = len(x[0]) + len(axes)
    added = {_axis(axis, rank) for axis in axes}
    sides = iter(x[0])
    return Size(tuple(1 if i in added else next(sides) for i in range(rank)))


def _squeeze(c: Config, x: list[Shape]) -> Size:
    axes, rank = c["axis"], len(x[0])
    axes = (
        [i for i, n in enumerate(x[0]) if n == 1]
        if axes is None
        else axes
        if isinstance(axes, (list, tuple))
        else [axes]
    )
    gone = {_axis(axis, rank) for axis in axes}
    return Size(tuple(side for i, side in enumerate(x[0]) if i not in gone))


def _transpose(c: Config, x: list[Shape]) -> Size:
    rank = len(x[0])
    axes = range(rank)[::-1] if c["axes"] is None else [_axis(axis, rank) for axis in c["axes"]]
    if sorted(axes) != list(range(rank)):
        raise NotJudged(f"axes {str(c['axes'])[:40]}")
    return Size(tuple(x[0][i] for i in axes))


def _repeat(c: Config, x: list[Shape]) -> Size:
    repeats = c["repeats"]
    shape = x[0] if c["axis"] is not None else (math.prod(x[0]),)
    axis = 0 if c["axis"] is None else _axis(c["axis"], len(shape))
    if isinstance(repeats, (list, tuple)):
        counts = [whole(n, "repeats") for n in repeats]
        side = sum(counts) if len(counts) > 1 else shape[axis] * sum(counts)
    else:
        side = shape[axis] * whole(repeats, "repeats")
    return Size((*shape[:axis], side, *shape[axis + 1 :]))


def _stack(c: Config, x: list[Shape]) -> Size:
    axis = _axis(c["axis"], len(x[0]) + 1)
    shape = broadcast(*x)
    return Size((*shape[:axis], len(x), *shape[axis:]))


def sliced(shape: Shape, key: Any) -> Shape:
    """Return the shape of ``x[key]`` for basic indexing; raises NotJudged for anything else."""
    parts = [_index(part) for part in (key if isinstance(key, list) else [key])]
    try:
        # A view of a single number, which takes no memory whatever its shape.
        return np.broadcast_to(np.zeros((), bool), shape)[tuple(parts)].shape
    except (IndexError, ValueError) as error:
        raise NotJudged(f"the index of {shape}: {error}") from None


def _index(part: Any) -> Any:
    if part is None or type(part) is int:
        return part
    name = part.get("class_name") if isinstance(part, dict) else None
    if name == "__ellipsis__":
        return Ellipsis
    if name == "__slice__":
        ends = [part["config"][end] for end in ("start", "stop", "step")]
        if all(end is None or type(end) is int for end in ends):
            return slice(*ends)
    raise NotJudged(f"the index {str(part)[:60]}")


def _dot_product_attention(_: Config, x: list[Shape]) -> Size:
    """Query, key and value: (batch, tokens, heads, channels); the scores are tokens of the query by tokens of the key."""
    if len(x) < 3 or any(len(shape) != 4 for shape in x[:3]):
        raise NotJudged(f"attention over {x}")
    query, key, value = x[:3]
    return Size((*query[:3], value[3]), 2 * query[0] * query[2] * query[1] * key[1])


def _matmul(_: Config, x: list[Shape]) -> Size:
    if len(x) != 2 or len(x[0]) != len(x[1]) or len(x[0]) < 2 or x[0][-1] != x[1][-2]:
        raise NotJudged(f"a product of {x}")
    return Size((*broadcast(x[0][:-2], x[1][:-2]), x[0][-2], x[1][-1]))


_SAME = """
    Activation ReLU LeakyReLU PReLU ELU Softmax Identity BatchNormalization LayerNormalization GroupNormalization
    RMSNormalization UnitNormalization Normalization Dropout AlphaDropout GaussianDropout GaussianNoise ActivityRegularization
    SpatialDropout2D RandomBrightness RandomContrast RandomFlip RandomRotation RandomTranslation RandomZoom
    LayerScale CustomScaleLayer
"""
SAME = frozenset(_SAME.split())
"""Layers whose output has the shape of their (first) input."""

LAYERS: dict[str, Rule] = {
    **dict.fromkeys(SAME, _first),
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), _merge),
    **dict.fromkeys(("AveragePooling2D", "MaxPooling2D"), _pool),
    **dict.fromkeys(("GlobalAveragePooling2D", "GlobalMaxPooling2D"), _global_2d),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalMaxPooling1D"), _global_1d),
    **dict.fromkeys(("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"), _adaptive),
    **dict.fromkeys(("Resizing", "CenterCrop", "RandomCrop"), _resizing),
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "Conv2DTranspose": _transposed,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Cropping2D": _cropping,
    "ZeroPadding2D": _padding,
    "UpSampling2D": _upsampling,
    "Flatten": _flatten,
    "Permute": _permute,
    "Reshape": _reshape,
    "RepeatVector": _repeat_vector,
    "Rescaling": _rescaling,
    "Dense": _dense,
    "EinsumDense": _einsum,
    "Dot": _dot,
    "Attention": _attention,
    "MultiHeadAttention": _multi_head,
}
"""Keras's layers (and those of keras.applications) by class name."""

_UNARY = "Absolute Clip Exp Flip Negative Roll Sqrt Square"
_BINARY = "Add Divide Maximum Minimum Multiply Power Subtract TrueDivide"
_NN = "Elu Gelu HardSigmoid HardSilu LeakyRelu Relu Relu6 Sigmoid Silu Softmax Softplus Tanh"

OPERATIONS: dict[str, Rule] = {
    **dict.fromkeys((_UNARY + " " + _NN).split(), _first),
    **dict.fromkeys(_BINARY.split(), _elementwise),
    **dict.fromkeys(("Mean", "Sum"), _reduction),
    "Concatenate": _concatenate,
    "DotProductAttention": _dot_product_attention,
    "ExpandDims": _expand,
    "Matmul": _matmul,
    "Repeat": _repeat,
    "Reshape": lambda c, x: Size(_reshaped(x[0], c["newshape"])),
    "Squeeze": _squeeze,
    "Stack": _stack,
    "Transpose": _transpose,
}
"""Keras's operations by class name; ``GetItem`` is :func:`sliced`."""
