"""A network of Keras's as the function that PyTorch's packages train under the same name.

The layers are the same and hold the same weights; what differs is between them:

* Keras pads a convolution of stride 2 at the end alone where that is enough (TensorFlow's ``same``), PyTorch on all sides;
* ResNet 50 to 152 have their stride in a block's first convolution in Keras (He et al. 2015), in its second in PyTorch
  (called version 1.5, https://catalog.ngc.nvidia.com/orgs/nvidia/resources/resnet_50_v1_5_for_pytorch);
* BatchNorm has another epsilon, and PyTorch's momentum of 0.1 is 0.9 in Keras, which counts what is kept;
* ResNet's convolutions have a bias in Keras, which the BatchNorm after them takes away again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import keras

from keras_transfer.models.graph import Swap, graft, like

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def torch_graph(
    model: keras.Model, epsilon: float = 1e-5, strides: Mapping[str, int] = MappingProxyType({})
) -> keras.Model:
    """Return ``model`` as PyTorch's packages have it, under the same names of layers.

    Args:
        model: from preprocessed pixels to a feature map.
        epsilon: of BatchNorm.
        strides: convolution → its stride, where that is another one in PyTorch.
    """
    swaps: dict[int, Swap] = {}
    normalised = {id(_before(layer)) for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            swaps[id(layer)] = Swap(like(layer, epsilon=epsilon, momentum=0.9))
        elif isinstance(layer, _CONVOLUTIONS):
            swaps |= _convolution(layer, strides.get(layer.name, layer.strides[0]), id(layer) in normalised)
    inputs = keras.Input(model.input_shape[1:], name="preprocessed")
    return keras.Model(inputs, graft(model, inputs, swaps=swaps), name=f"{model.name}_torch")


def _convolution(layer: keras.layers.Layer, stride: int, normalised: bool) -> dict[int, Swap]:
    """Swaps for a convolution, and for the padding before it, given its stride and whether BatchNorm follows."""
    before, side = _before(layer), layer.kernel_size[0]
    changes: dict[str, Any] = {"strides": stride}
    swap = Swap(like(layer, **changes))
    if layer.use_bias and normalised:
        changes["use_bias"] = False
        swap = replace(swap, make=like(layer, **changes), convert=lambda weights: weights[:1])
    if isinstance(before, keras.layers.ZeroPadding2D):
        return {id(before): Swap(like(before, padding=side // 2)), id(layer): swap}
    if stride > 1 and side > 1:
        swap = replace(swap, make=like(layer, **changes, padding="valid"), padding=side // 2)
    return {id(layer): swap}


def _before(layer: keras.layers.Layer) -> Any:
    """Return the layer that feeds one with a single input."""
    return layer.input._keras_history.operation
