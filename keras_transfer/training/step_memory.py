"""How much memory a training step takes, estimated before it runs: a container kills what takes more than it may, without an error to catch."""

from __future__ import annotations

import math

import keras

from keras_transfer import runtime
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.formatting import images
from keras_transfer.typing import Say

SHARE = 0.7
"""Part of the memory at hand that a step may take: estimates are rough, and pages of files want some of it."""
_GRADIENTS = 1.5
"""Activations kept for the backward pass, and the gradients that replace them."""


def fit_to_memory(config: ResolvedConfig, model: keras.Model, say: Say) -> ResolvedConfig:
    """Return the configuration with micro-batches that fit into the host's memory; the training steps stay the same.

    Nothing changes on a GPU, whose memory is not the host's, or where only heads are trained. Where the user has set the batch size, the
    settings that would fit are said.
    """
    at_hand = runtime.usable_memory()
    trains = any(phase.solver != "exact" and phase.train != "head" for phase in config.phases)
    if at_hand is None or not trains or runtime.device_in_use() != "cpu":
        return config
    fitting = config
    while fitting.data.micro_batch_size > 1 and step_bytes(model, fitting.data.micro_batch_size) > SHARE * at_hand:
        fitting = fitting.in_smaller_parts()
    if fitting is config:
        return config
    at_once, needed = config.data.micro_batch_size, step_bytes(model, config.data.micro_batch_size)
    what = (
        f"a step of {images(at_once)} would take about {needed / 1024**3:.1f} of {at_hand / 1024**3:.1f} GiB of memory"
    )
    if not config.decided("data.batch_size"):
        say(f"warning: {what}; data.accumulate = {fitting.data.accumulate} gives the same result in less")
        return config
    say(f"{what}: {fitting.data.micro_batch_size} at once (data.accumulate = {fitting.data.accumulate})")
    return fitting


def step_bytes(model: keras.Model, batch_size: int) -> int:
    """Estimate the bytes that training all layers of a functional model takes for a batch: activations, weights and their slots."""
    activations: int = sum(_output_bytes(layer) for layer in model.layers)
    weights = 4 * 4 * int(model.count_params())  # values, gradients and two slots, in float32
    return int(_GRADIENTS * batch_size * activations) + weights


def _output_bytes(layer: keras.layers.Layer) -> int:
    """Return the bytes of a layer's output for one image."""
    tensors = layer.output if isinstance(layer.output, (list, tuple)) else [layer.output]
    width = 2 if "16" in str(layer.compute_dtype) else 4
    return sum(width * math.prod(side or 1 for side in tensor.shape[1:]) for tensor in tensors)
