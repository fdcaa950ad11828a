"""The precision that a model computes in, changed at run time. Variables are always float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from keras_transfer.errors import unknown
from keras_transfer.keras_compat import all_layers
from keras_transfer.keras_compat.locks import EXCLUSIVE, lock_of
from keras_transfer.models.layer_names import stays_float32

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def set_precision(model: keras.Model, precision: str) -> None:
    """Set the precision that ``model`` computes in; compile it afterwards.

    Variables, preprocessing and logits stay float32. Functions traced before are dropped.

    Args:
        model: a classifier.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``. With float16, ``compile`` wraps the optimizer in loss
            scaling, which its small range requires.

    Raises:
        UserError: unknown precision.
    """
    if precision not in POLICIES:
        raise unknown("precision", precision, POLICIES)
    policy = keras.DTypePolicy(POLICIES[precision])
    for layer in all_layers(model)[1:]:
        layer.dtype_policy = keras.DTypePolicy("float32") if stays_float32(layer.name) else policy
    # compile() adds loss scaling by the model's own policy, by which the model itself must not cast its input.
    model.autocast = False
    model.dtype_policy = policy if precision == "float16" else keras.DTypePolicy("float32")
    model.train_function = model.test_function = model.predict_function = None


@contextmanager
def computing_in(model: keras.Model, precision: str) -> Iterator[None]:
    """Set the precision of ``model`` inside the block, and restore it afterwards; compile the model inside."""
    everything = all_layers(model)
    before = [layer.dtype_policy for layer in everything]
    autocast = model.autocast
    set_precision(model, precision)
    try:
        yield
    finally:
        if [layer.dtype_policy.name for layer in everything] != [policy.name for policy in before]:
            for layer, policy in zip(everything, before):
                layer.dtype_policy = policy
            model.train_function = model.test_function = model.predict_function = None
        model.autocast = autocast


@contextmanager
def as_float32(model: keras.Model) -> Iterator[keras.Model]:
    """Give every layer the float32 policy inside the block (for saving), and restore its own afterwards."""
    with lock_of(model):  # nobody computes with it meanwhile
        everything = all_layers(model)
        before = [layer.dtype_policy for layer in everything]
        try:
            for layer in everything:
                layer.dtype_policy = keras.DTypePolicy("float32")
            yield model
        finally:
            for layer, policy in zip(everything, before):
                layer.dtype_policy = policy


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute in full float32 inside the block, for results that are compared between machines.

    By default GPUs may round the inputs of float32 products to 10 bits of mantissa (TensorFloat-32). The switch is the whole
    process's, so one block at a time is inside; what other threads compute meanwhile may be more exact than they asked for.
    """
    backend = keras.backend.backend()
    with EXCLUSIVE, ExitStack() as stack:
        if backend == "torch":
            stack.enter_context(_torch_full())
        elif backend == "jax":
            import jax

            stack.enter_context(jax.default_matmul_precision("highest"))
        elif backend == "tensorflow":
            stack.enter_context(_tensorflow_full())
        yield


@contextmanager
def _torch_full() -> Iterator[None]:
    import torch

    places: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = False
        yield
    finally:
        for place, value in zip(places, before):
            place.allow_tf32 = value


@contextmanager
def _tensorflow_full() -> Iterator[None]:
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
