"""Training steps on several devices of one process with tensorflow: ``MirroredStrategy`` divides every batch among them.

Keras's own step takes the mean over the devices, which is wrong where a batch does not divide by them. Here each share is weighted by its
images; a device without any computes one that counts for nothing.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_transfer.keras_compat import ADD_GRADIENTS, loss_tracker, replace_method, restore_method


class OnReplicas(keras.callbacks.Callback):
    """Replace the steps of a ``fit`` within the strategy's scope. Must be the first callback."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Replace the step, and have Keras make its functions from it."""
        model = self.model
        replace_method(model, "train_step", lambda batch: _train(model, *keras.utils.unpack_x_y_sample_weight(batch)))
        replace_method(model, "test_step", lambda batch: _test(model, *keras.utils.unpack_x_y_sample_weight(batch)))
        replace_method(model.optimizer, ADD_GRADIENTS, lambda pairs: pairs)  # they are added before they are clipped
        model.make_train_function(force=True)
        model.make_test_function(force=True)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Give Keras its own steps back."""
        for name in ("train_step", "test_step"):
            restore_method(self.model, name)
        restore_method(self.model.optimizer, ADD_GRADIENTS)
        self.model.train_function = self.model.test_function = None


def _train(model: keras.Model, x: Any, y: Any, weights: Any) -> Any:
    share = _share(x)
    trained = model.trainable_weights
    with tf.GradientTape() as tape:
        predicted, loss = _forward(model, x, y, weights, training=True)
        scaled = model.optimizer.scale_loss(loss * share)
    here = tf.distribute.get_replica_context()
    gradients = here.all_reduce(tf.distribute.ReduceOp.SUM, tape.gradient(scaled, trained))
    model.optimizer.apply_gradients(zip(gradients, trained))
    return _count(model, loss, x, y, predicted, weights)


def _test(model: keras.Model, x: Any, y: Any, weights: Any) -> Any:
    predicted, loss = _forward(model, x, y, weights, training=False)
    return _count(model, loss, x, y, predicted, weights)


def _share(x: Any) -> Any:
    """Return this device's part of the images of the whole batch."""
    here, count = tf.distribute.get_replica_context(), tf.cast(tf.shape(x)[0], tf.float32)
    return count / here.all_reduce(tf.distribute.ReduceOp.SUM, count)


def _forward(model: keras.Model, x: Any, y: Any, weights: Any, training: bool) -> tuple[Any, Any]:
    """Return predictions and loss, of at least one image."""
    x, y, weights = (None if part is None else _at_least_one(part) for part in (x, y, weights))
    predicted = model(x, training=training)
    loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weights, training=training)
    # Keras has divided it by the number of devices.
    return predicted, loss * tf.cast(tf.distribute.get_replica_context().num_replicas_in_sync, loss.dtype)


def _at_least_one(rows: Any) -> Any:
    """Add a row of zeros if there is none."""
    missing = tf.cast(tf.equal(tf.shape(rows)[0], 0), tf.int32)
    zeros = tf.zeros(tf.concat([[missing], tf.shape(rows)[1:]], axis=0), rows.dtype)
    return tf.ensure_shape(tf.concat([rows, zeros], axis=0), rows.shape)


def _count(model: keras.Model, loss: Any, x: Any, y: Any, predicted: Any, weights: Any) -> Any:
    """Add a share to loss and metrics, whose variables add up over the devices; return the metrics."""
    count = tf.shape(x)[0]
    loss_tracker(model).update_state(loss, sample_weight=count)
    return model.compute_metrics(x, y, predicted[:count], sample_weight=weights)
