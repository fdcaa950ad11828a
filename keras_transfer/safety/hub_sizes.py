"""Upper bounds for the layers of keras-hub's image backbones, each of which holds a whole block of a network.

The output of such a layer is what the configuration claims, which is compared with the truth once Keras has built the model;
here it must not exceed what the numbers of the layer can make.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from keras_transfer.safety.layer_sizes import Config, NotJudged, Shape, Size, whole

MAX_NUMBER = 1 << 16
"""Of channels, sides and the like in a block."""
MAX_COUNT = 512
"""Of blocks, layers and heads: they are built one by one."""

_COUNT = re.compile(
    r"num_layers|depths|num_blocks|num_of_layers|layer_num|block_num|num_heads|num_experts|num_register"
)
_RATIO = re.compile(r"ratio|expan")


def size_of(config: Config, inputs: list[Shape], claimed: list[Shape]) -> Size:
    """Return the size of a call of one of keras-hub's layers.

    Args:
        config: of the layer.
        inputs: shapes of its inputs.
        claimed: shapes of its outputs, as the layers that use them state.

    Raises:
        NotJudged: numbers out of bounds; outputs larger than the layer can make.
    """
    for key, value in _numbers(config):
        if value > (MAX_COUNT if _COUNT.search(key) else MAX_NUMBER):
            raise NotJudged(f"{key} is {value}")
    image = config.get("image_shape")
    sides = inputs[0][1:] if not isinstance(image, list) else [whole(side, "image_shape", 1) for side in image]
    if "patch_size" in config and "hidden_dim" in config:
        inside = _transformer(config, math.prod(sorted(sides)[-2:]))
    elif "window_size" in config:
        inside = _windows(config, math.prod(sorted(sides)[-2:]))
    else:
        inside = _block(config, inputs[0])
    bound = max(inside, math.prod(inputs[0]))
    for shape in claimed:
        if math.prod(shape) > bound:
            raise NotJudged(f"it claims an output of {shape}")
    return Size(claimed[0] if claimed else inputs[0], inside)


def _numbers(config: Config) -> Iterator[tuple[str, int]]:
    stack: list[tuple[str, Any]] = list(config.items())
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            stack += [(str(name), part) for name, part in value.items()]
        elif isinstance(value, (list, tuple)):
            stack += [(key, part) for part in value]
        elif type(value) is int and "seed" not in key:
            yield key, value


def _largest(config: Config, pattern: str, least: int = 1) -> int:
    return max([value for key, value in _numbers(config) if re.search(pattern, key)], default=least)


def _transformer(config: Config, pixels: int) -> int:
    patch = _largest({"patch_size": config["patch_size"]}, "patch")
    tokens = pixels // max(1, patch) ** 2 + 2 + _largest(config, "num_register", 0)
    width = _largest(config, "hidden_dim|mlp_dim|intermediate_dim")
    return _largest(config, "num_layers") * (2 * _largest(config, "num_heads") * tokens**2 + 8 * tokens * width)


def _windows(config: Config, pixels: int) -> int:
    patch, window = _largest(config, "patch_size"), _largest(config, "window_size")
    tokens, heads, width = (
        pixels // max(1, patch) ** 2 + 1,
        _largest(config, "num_heads"),
        _largest(config, "embed_dim"),
    )
    return _largest(config, "depths") * 4 * tokens * (2 * heads * window**2 + 8 * width)


def _block(config: Config, shape: Shape) -> int:
    places = math.prod(shape[1:-1]) if len(shape) > 2 else 1
    ratios = [float(v) for k, v in config.items() if _RATIO.search(k) and isinstance(v, (int, float)) and v == v]
    width = max(shape[-1], _largest(config, "filters|filter|chs|channels|dim"))
    inside = math.ceil(4 * places * width * min(max([1.0, *ratios]), MAX_NUMBER))
    if "num_heads" in config:
        inside += 2 * _largest(config, "num_heads") * places**2
    return inside
