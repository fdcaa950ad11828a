"""Gradient accumulation: the gradients of a large batch in the memory of a small one.

Keras's own accumulation counts each micro-batch as a step in callbacks, schedules and logs, and weights all
micro-batches equally, whatever their size. Here a step is still one batch for everything around it; each
micro-batch's gradients and metrics are weighted by its share of the images, so that the result is the mean over the
batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_transfer.keras_compat import loss_tracker, stateless_metrics_update


def part_size(batch_size: int, parts: int) -> int:
    """Return the micro-batch size for a batch computed in ``parts``: at least one."""
    return -(-batch_size // parts)


class Accumulate(keras.callbacks.Callback):
    """Compute every training step of a ``fit`` in micro-batches, with one optimizer update.

    The weights equal those of whole batches up to rounding, except with layers that use batch statistics (trainable
    BatchNormalization) or random numbers (dropout), which see the micro-batches. Logs are those of whole batches.

    Args:
        size: micro-batch size.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = int(size)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Replace the train function that Keras has just made."""
        self.model.train_function = STEPS[keras.backend.backend()](self.model, self.size)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Let Keras make its own train function again."""
        self.model.train_function = None


def parts_of(batch: Any, size: int) -> Iterator[tuple[float, tuple[Any, Any, Any]]]:
    """Yield (share of the batch, (x, y, sample weights or None)) for every micro-batch."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        yield len(x[part]) / len(x), (x[part], y[part], None if weights is None else weights[part])


def _torch_step(model: keras.Model, size: int) -> Callable[[Any], Any]:
    import torch

    def step(batches: Any) -> Any:
        model.zero_grad()
        logs = {}
        for share, (x, y, weights) in parts_of(batches[0], size):
            predicted = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weights, training=True)
            loss_tracker(model).update_state(loss, sample_weight=len(x))
            model.optimizer.scale_loss(loss * share).backward()  # torch adds to the existing gradients
            logs = model.compute_metrics(x, y, predicted, sample_weight=weights)
        trained = model.trainable_weights[:]
        with torch.no_grad():
            model.optimizer.apply([variable.value.grad for variable in trained], trained)
        return logs

    return step


def _tensorflow_step(model: keras.Model, size: int) -> Callable[[Any], Any]:
    import tensorflow as tf

    trained, optimizer = model.trainable_weights[:], model.optimizer
    if not optimizer.built:
        optimizer.build(trained)
    compiled = tf.function(reduce_retracing=True, jit_compile=model.jit_compile)

    @compiled
    def add(gradients: Any, share: Any, x: Any, y: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            predicted = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weights, training=True)
            loss_tracker(model).update_state(loss, sample_weight=tf.shape(x)[0])
            scaled = optimizer.scale_loss(loss * share)
        more = tape.gradient(scaled, trained, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        logs = model.compute_metrics(x, y, predicted, sample_weight=weights)
        return logs, [old + new for old, new in zip(gradients, more)]

    @compiled
    def apply(gradients: Any) -> None:
        optimizer.apply(gradients, trained)

    # A Python loop: within one graph TensorFlow may run micro-batches at the same time, needing the memory of all.
    def step(iterator: Any) -> Any:
        logs: Any = {}
        gradients = [tf.zeros(variable.shape, variable.dtype) for variable in trained]
        for share, part in parts_of(next(iterator), size):
            logs, gradients = add(gradients, tf.constant(share, tf.float32), *part)
        apply(gradients)
        return logs

    return step


def _jax_step(model: keras.Model, size: int) -> Callable[[Any, Any], Any]:
    import jax

    update_metrics = stateless_metrics_update(model)
    differentiate = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)

    def add(state: Any, gradients: Any, share: Any, x: Any, y: Any, weights: Any) -> Any:
        trained, others, optimizer, metrics = state
        (_, (loss, predicted, others, metrics)), more = differentiate(
            trained, others, metrics, x, y, weights, training=True, optimizer_variables=optimizer
        )
        logs, metrics = update_metrics(metrics, loss, x, y, predicted, weights)
        gradients = [old + share * new for old, new in zip(gradients, more)]
        return logs, (trained, others, optimizer, metrics), gradients

    def apply(state: Any, gradients: Any) -> Any:
        trained, others, optimizer, metrics = state
        trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
        return trained, others, optimizer, metrics

    if model.jit_compile:
        add, apply = (jax.jit(function, donate_argnums=(0, 1)) for function in (add, apply))

    def step(state: Any, iterator: Any) -> Any:
        logs: Any = {}
        gradients = [jax.numpy.zeros_like(value) for value in state[0]]
        for share, part in parts_of(next(iterator), size):
            logs, state, gradients = add(state, gradients, share, *part)
        return logs, apply(state, gradients)

    return step


STEPS: dict[str, Callable[[keras.Model, int], Callable[..., Any]]] = {
    "torch": _torch_step,
    "tensorflow": _tensorflow_step,
    "jax": _jax_step,
}
