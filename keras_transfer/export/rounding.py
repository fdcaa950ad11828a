"""Weights rounded for int8 before a converter does, so that what rounding changes on average is put right.

A converter rounds each weight to the nearest of 255 steps. That moves the mean of what a channel puts out, most of all in
depthwise convolutions, whose few weights may nearly cancel. Here the sum of a depthwise kernel is kept, and the mean of what is left
goes into the bias: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_transfer.keras_compat import calls

_STEPS = 127
_BATCH = 8


def round_weights(model: Any, images: np.ndarray) -> None:
    """Round the kernels of a model's convolutions to symmetric int8 steps a channel, and correct their biases.

    Args:
        model: a functional model, as :func:`keras_transfer.export.fold.folded` returns it; it is changed.
        images: float32 (n, height, width, channels), to measure the mean inputs of the convolutions on.
    """
    layers = [layer for layer in model.layers if _is_plain(layer)]
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
    """Return the nearest weights among 255 steps from -max to max of each channel, float64.

    Args:
        kernel: (…, channels).
        keep_sum: round the weights that are nearest to the middle of two steps the other way, until each channel's sum is within
            half a step of what it was.
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


def _is_plain(layer: Any) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return type(layer) in kinds and layer.use_bias and getattr(layer, "groups", 1) == 1 and len(calls(layer)) == 1


def _mean_inputs(model: Any, layers: list[Any], images: np.ndarray) -> list[np.ndarray]:
    """The mean of each channel that flows into each layer, float64 (channels,)."""
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
