"""A model's own layers, for images of any size: to train at another size than the one that it predicts at."""

from __future__ import annotations

import keras

from keras_transfer.errors import UserError


def any_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """Return a functional model of the same layers, which takes images of every size, (batch, any, any, channels).

    Args:
        model: a functional classifier; what trains in one trains in the other.
        size: (height, width) that it must be able to compute.

    Raises:
        UserError: a layer needs another size: position embeddings, or a dense layer on a whole feature map.
    """
    try:
        _on_input(model, size)  # with sides unknown, layers do not notice what does not fit
        return _on_input(model, (None, None))
    except Exception as error:  # each layer raises its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        height, width = model.input_shape[1:3]
        raise UserError(
            f"a phase cannot train at {size[0]} x {size[1]} px: {model.name} is for {height} x {width} only ({reason[:120]})"
        ) from error


def _on_input(model: keras.Model, size: tuple[int | None, int | None]) -> keras.Model:
    image = keras.Input((*size, model.input_shape[-1]), name=model.inputs[0].name, dtype=model.inputs[0].dtype)
    return keras.models.clone_model(model, input_tensors=image, clone_function=lambda layer: layer)
