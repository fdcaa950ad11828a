"""Modified first layers of a pretrained backbone: for small images, or for images of one channel.

The first layers of ImageNet backbones reduce an image of 224 px by a factor of four. An image of 32 px is left with 8 × 8
pixels. The usual remedy (He et al. 2015, section 4.2, https://arxiv.org/abs/1512.03385) is a first convolution of 3 × 3 without
stride, and little or no pooling after it; the rest of the network is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.graph import Swap, flat_layers, like
from keras_transfer.options import Stem as Option

STEMS = get_args(Option)
SMALLEST = 16  # smallest side in pixels with the stem for small images
_SMALL_KERNEL = 3


@dataclass(frozen=True)
class Stem:
    """The first layers of a backbone.

    Attributes:
        convolution: the first convolution.
        padding: the ZeroPadding2D before it, if there is one.
        pool: the max pooling between it and the next convolution, if there is one.
        pool_padding: the ZeroPadding2D before the pooling, if there is one.
    """

    convolution: keras.layers.Conv2D
    padding: keras.layers.Layer | None = None
    pool: keras.layers.Layer | None = None
    pool_padding: keras.layers.Layer | None = None


def find_stem(backbone: keras.Model) -> Stem:
    """Find the first layers of a backbone.

    Raises:
        UserError: it has no convolution.
    """
    layers = list(flat_layers(backbone))
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, keras.layers.Conv2D)]
    if not convolutions:
        raise UserError(f"model.stem: backbone {backbone.name} has no convolution; use stem: keep")
    first = convolutions[0]
    end = convolutions[1] if len(convolutions) > 1 else len(layers)
    pool = next((i for i in range(first, end) if isinstance(layers[i], keras.layers.MaxPooling2D)), None)
    return Stem(
        layers[first],
        _padding_before(layers, first),
        None if pool is None else layers[pool],
        None if pool is None else _padding_before(layers, pool),
    )


def _padding_before(layers: list[keras.layers.Layer], i: int) -> keras.layers.Layer | None:
    return layers[i - 1] if i and isinstance(layers[i - 1], keras.layers.ZeroPadding2D) else None


def swaps(backbone: keras.Model, kind: str) -> dict[int, Swap]:
    """Return the replacements of the first layers, ``id(layer)`` → replacement, for :func:`graph.graft`.

    Args:
        backbone: from preprocessed pixels to a feature map.
        kind: ``keep``: none. ``small_image``: the first convolution gets stride 1 and keeps the central 3 × 3 weights of its
            kernel; the pooling after it is removed or, after a kernel above 7 (AlexNet), becomes 2 × 2. ``one_channel``: the
            first convolution takes one channel, with the sum of the weights of the three channels.

    Raises:
        UserError: the backbone has no convolution.
    """
    if kind == "keep":
        return {}
    stem = find_stem(backbone)
    if kind == "one_channel":
        return {id(stem.convolution): Swap(like(stem.convolution), _summed)}
    kernel = max(stem.convolution.kernel_size)
    found: dict[int, Swap] = {
        id(stem.convolution): Swap(
            like(stem.convolution, kernel_size=min(kernel, _SMALL_KERNEL), strides=1, padding="same"), _middle
        )
    }
    removed: list[Any] = [stem.padding]
    if stem.pool is not None and kernel > _SMALL_KERNEL:  # VGG pools after its 3 × 3 convolutions, which is kept
        if kernel > 7:
            found[id(stem.pool)] = Swap(lambda name: keras.layers.MaxPooling2D(2, name=name))
            removed.append(stem.pool_padding)
        else:
            removed += [stem.pool, stem.pool_padding]
    return found | {id(layer): Swap(None) for layer in removed if layer is not None}


def _summed(weights: list[np.ndarray]) -> list[np.ndarray]:
    return [weights[0].sum(axis=2, keepdims=True), *weights[1:]]


def _middle(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Keep the central 3 × 3 weights of a kernel (height, width, in, out); even sizes lose one more before than after."""
    kernel = weights[0]
    top, left = ((side - min(side, _SMALL_KERNEL) + 1) // 2 for side in kernel.shape[:2])
    return [kernel[top : top + _SMALL_KERNEL, left : left + _SMALL_KERNEL], *weights[1:]]
