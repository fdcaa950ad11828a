"""Which layer gets which operation: the one table to add a layer to."""

from __future__ import annotations

import keras

from keras_transfer.engine.torch_native.convolution import Conv2D, DepthwiseConv2D, SeparableConv2D
from keras_transfer.engine.torch_native.normalization import BatchNormalization
from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.pooling import Pooling2D

# Exact classes only: a subclass may have overridden anything. Layers that are missing here (Dense, Dropout,
# GlobalAveragePooling2D …) already are one torch kernel without a copy in stock Keras.
OPERATIONS: dict[type, type[LayerOperation]] = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
    keras.layers.SeparableConv2D: SeparableConv2D,
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.MaxPooling2D: Pooling2D,
    keras.layers.AveragePooling2D: Pooling2D,
}


def installed(layer: keras.layers.Layer) -> LayerOperation | None:
    """Return the native operation in the place of ``layer.call``, or ``None``."""
    call = layer.__dict__.get("call")
    return call if isinstance(call, LayerOperation) else None


def install_layer(layer: keras.layers.Layer) -> str | None:
    """Put the native operation in the place of ``layer.call``; return why not, or ``None`` when done."""
    if installed(layer) is not None:
        return None
    if "call" in layer.__dict__:
        return "its call has been replaced already"
    if not layer.built:
        return "not built"
    if layer.quantization_mode is not None:
        return "quantized"
    operation = OPERATIONS[type(layer)]
    reason = operation.refuses(layer)
    if reason is None:
        layer.__dict__["call"] = operation(layer)  # not setattr: Keras would track it as a sublayer
    return reason


def remove_layer(layer: keras.layers.Layer) -> bool:
    """Give ``layer`` its stock ``call`` back; return whether it had a native one."""
    if installed(layer) is None:
        return False
    del layer.__dict__["call"]
    return True
