"""Convert a network of Keras's to the variant that PyTorch's packages train under the same name.

Both have the same layers with weights of the same shapes. The differences:

* Keras pads a convolution of stride 2 only at the end where that is enough (TensorFlow's ``same``), PyTorch on all sides;
* ResNet 50 to 152 have their stride in the first convolution of a block in Keras (He et al. 2015), in the second in PyTorch
  (called version 1.5, https://catalog.ngc.nvidia.com/orgs/nvidia/resources/resnet_50_v1_5_for_pytorch);
* BatchNorm has another epsilon, and PyTorch's momentum of 0.1 is 0.9 in Keras, where it is the share that is kept;
* ResNet's convolutions have a bias in Keras, which the BatchNorm after them cancels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import keras

from keras_transfer.keras_compat import producer
from keras_transfer.models.graph import Swap, graft, like

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def torch_graph(
    model: keras.Model, epsilon: float = 1e-5, strides: Mapping[str, int] = MappingProxyType({})
) -> keras.Model:
    """Return the PyTorch variant of ``model``, with the same layer names.

    Args:
        model: from preprocessed pixels to a feature map.
        epsilon: epsilon of BatchNorm.
        strides: name of a convolution → its stride, where PyTorch's differs.
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
    """Return swaps for a convolution and the padding before it, given its stride and whether BatchNorm follows."""
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
    return producer(layer.input)
