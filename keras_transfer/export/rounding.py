"""Round weights for int8 before a converter does, and correct the biases for the mean rounding error.

A converter rounds each weight to the nearest of 255 steps, which shifts the mean output of a channel, most of all in
depthwise convolutions, whose few weights may nearly cancel. Here the sum of a depthwise kernel is kept, and the mean
of the remaining error goes into the bias: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_transfer.keras_compat import calls

_STEPS = 127
_BATCH = 8


def round_weights(model: Any, images: np.ndarray) -> None:
    """Round the kernels of a model's convolutions to symmetric int8 steps per channel, and correct their biases.

    Args:
        model: a functional model, as returned by :func:`keras_transfer.export.fold.folded`; changed in place.
        images: float32 (n, height, width, channels), for the mean inputs of the convolutions.
    """
    layers = [layer for layer in model.layers if _can_round(layer)]
    for layer, mean in zip(layers, _mean_inputs(model, layers, images)):
        kernel, bias = layer.get_weights()
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            rounded = rounded_kernel(kernel.reshape(*kernel.shape[:2], -1), keep_sum=True).reshape(kernel.shape)
            shift = (mean[:, None] * (rounded - kernel).sum((0, 1))).reshape(-1)
        else:
            rounded = rounded_kernel(kernel)
            shift = mean @ (rounded - kernel).sum((0, 1))
        layer.set_weights([rounded, bias - shift])


def rounded_kernel(kernel: np.ndarray, keep_sum: bool = False) -> np.ndarray:
    """Round a kernel to 255 steps from -max to max of each channel, float64.

    Args:
        kernel: (…, channels).
        keep_sum: round the weights closest to the midpoint of two steps the other way, until the sum of each channel
            changes by at most half a step.
    """
    flat = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    step = np.maximum(np.abs(flat).max(axis=0), 1e-30) / _STEPS
    exact = flat / step
    whole = np.round(exact)
    if keep_sum:
        error = exact - whole
        missing = np.round(error.sum(axis=0))
        rank = (-error * np.sign(missing)).argsort(axis=0).argsort(axis=0)
        whole = np.clip(whole + np.sign(missing) * (rank < np.abs(missing)), -_STEPS, _STEPS)
    return (whole * step).reshape(kernel.shape)


def _can_round(layer: Any) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return type(layer) in kinds and layer.use_bias and getattr(layer, "groups", 1) == 1 and len(calls(layer)) == 1


def _mean_inputs(model: Any, layers: list[Any], images: np.ndarray) -> list[np.ndarray]:
    """Return the mean of each input channel of each layer, float64 (channels,)."""
    if not layers:
        return []
    inputs = keras.Model(model.input, [layer.input for layer in layers])
    sums = [np.zeros(layer.input.shape[-1]) for layer in layers]
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        found = inputs.predict_on_batch(batch)
        for total, one in zip(sums, found if len(layers) > 1 else [found]):
            total += np.asarray(one, np.float64).mean(axis=(1, 2)).sum(axis=0)
    return [total / len(images) for total in sums]
