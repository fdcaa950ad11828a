"""The table of native operations by layer class; a new operation is added here."""

from __future__ import annotations

import keras

from keras_transfer.engine.torch_native.convolution import Conv2D, DepthwiseConv2D, SeparableConv2D
from keras_transfer.engine.torch_native.normalization import BatchNormalization
from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.pooling import Pooling2D
from keras_transfer.keras_compat import replace_method, replaced_method, restore_method

# Exact classes only: a subclass may override anything. In stock Keras the other layers (Dense, Dropout,
# GlobalAveragePooling2D …) already are one torch kernel without a copy.
OPERATIONS: dict[type, type[LayerOperation]] = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
    keras.layers.SeparableConv2D: SeparableConv2D,
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.MaxPooling2D: Pooling2D,
    keras.layers.AveragePooling2D: Pooling2D,
}


def installed(layer: keras.layers.Layer) -> LayerOperation | None:
    """Return the native operation that replaces ``layer.call``, or ``None``."""
    call = replaced_method(layer, "call")
    return call if isinstance(call, LayerOperation) else None


def install_layer(layer: keras.layers.Layer) -> str | None:
    """Replace ``layer.call`` by its native operation; return why that is not possible, or ``None``."""
    if installed(layer) is not None:
        return None
    if replaced_method(layer, "call") is not None:
        return "its call has been replaced already"
    if not layer.built:
        return "not built"
    if layer.quantization_mode is not None:
        return "quantized"
    operation = OPERATIONS[type(layer)]
    reason = operation.refuses(layer)
    if reason is None:
        replace_method(layer, "call", operation(layer))
    return reason


def remove_layer(layer: keras.layers.Layer) -> bool:
    """Give ``layer`` its stock ``call`` back; return whether it had a native one."""
    if installed(layer) is None:
        return False
    restore_method(layer, "call")
    return True
