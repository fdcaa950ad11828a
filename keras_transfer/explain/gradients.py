"""Gradients of chosen logits with respect to features, computed by the active backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def logit_gradients(head: Any, inputs: list[np.ndarray], classes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Differentiate one logit per sample with respect to the first of ``inputs``.

    Args:
        head: a model from ``inputs`` to logits (b, C); it runs in inference mode.
        inputs: float32 arrays, the features (b, …) first.
        classes: integer (b,), index of the logit; None: the highest one of each sample.

    Returns:
        float32 logits (b, C), and the gradient, float32 in the shape of the features.
    """
    compute = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}[keras.backend.backend()]
    logits, gradient = compute(head, inputs, classes)
    to_numpy = keras.ops.convert_to_numpy
    return np.asarray(to_numpy(logits), np.float32), np.asarray(to_numpy(gradient), np.float32)


def _chosen(logits: Any, classes: np.ndarray | None) -> Any:
    """Sum one logit per sample; samples are independent in inference mode, so the gradient is that of each sample."""
    ops = keras.ops
    chosen = ops.argmax(ops.stop_gradient(logits), axis=-1) if classes is None else ops.convert_to_tensor(classes)
    return ops.sum(logits * ops.one_hot(chosen, logits.shape[-1], dtype=logits.dtype))


def _call(head: Any, inputs: list[Any]) -> Any:
    return head(inputs if len(inputs) > 1 else inputs[0], training=False)


def _torch(head: Any, inputs: list[np.ndarray], classes: np.ndarray | None) -> tuple[Any, Any]:
    import torch

    tensors = [keras.ops.convert_to_tensor(array) for array in inputs]
    with torch.enable_grad():
        features = tensors[0].detach().requires_grad_()
        logits = _call(head, [features, *tensors[1:]])
        (gradient,) = torch.autograd.grad(_chosen(logits, classes), features)
    return logits.detach(), gradient


def _tensorflow(head: Any, inputs: list[np.ndarray], classes: np.ndarray | None) -> tuple[Any, Any]:
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in inputs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors[0])
        logits = _call(head, tensors)
        chosen = _chosen(logits, classes)
    return logits, tape.gradient(chosen, tensors[0])


def _jax(head: Any, inputs: list[np.ndarray], classes: np.ndarray | None) -> tuple[Any, Any]:
    import jax

    first, *others = [
        keras.ops.convert_to_tensor(value) for value in inputs
    ]  # Keras rejects a mix of tensors and arrays

    def chosen(features: Any) -> tuple[Any, Any]:
        logits = _call(head, [features, *others])
        return _chosen(logits, classes), logits

    (_, logits), gradient = jax.value_and_grad(chosen, has_aux=True)(first)
    return logits, gradient
