"""From a checkpoint to a checked Keras network."""

from __future__ import annotations

import re

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.families import Family
from keras_transfer.models.checkpoints.known import family_of
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.traced import network
from keras_transfer.models.checkpoints.traced.family import traced_family
from keras_transfer.models.initial import without_drawing

_BUFFERS = ("num_batches_tracked", "position_ids", "relative_position_index", "relative_coords_table", "attn_mask")


def convert(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build a checkpoint's network, with its weights.

    Args:
        checkpoint: from :func:`.tensors.read_checkpoint`.
        image_size: (height, width) in pixels; position embeddings are interpolated to it once.

    Returns:
        A functional model from preprocessed pixels (batch, height, width, 3) to a vector (batch, channels) or a feature map (batch,
        height, width, channels).

    Raises:
        UserError: the architecture is not supported; a tensor is missing, unused or of another shape; or the features of three noise
            pictures are not finite, or the same.
    """
    try:
        model = _built(family_of(checkpoint.facts), checkpoint, image_size)
    except Unsupported as error:
        model = _traced(checkpoint, image_size, error)
    _check_features(model, checkpoint)
    return model


def _traced(checkpoint: Part, image_size: tuple[int, int], why: Unsupported) -> keras.Model:
    """Build a network that differs from its family in an option, by way of its library."""
    obstacle = network.obstacle(checkpoint.facts)
    try:
        if obstacle:
            raise UserError(obstacle)
        return _built(traced_family(checkpoint.facts), checkpoint, image_size)
    except UserError as error:
        raise UserError(f"{why}, and cannot be traced from {checkpoint.facts.library} itself: {error}") from error


def _built(family: Family, checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build a network of a family, and check that all tensors are in it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        with without_drawing():
            model = family.build(checkpoint, image_size)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # each framework raises its own where shapes do not fit
        text = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())[:160]
        raise UserError(
            f"the checkpoint in {str(checkpoint.tensors.folder)!r} does not fit {checkpoint.facts.architecture}: {text}"
        ) from error
    finally:
        keras.config.set_dtype_policy(before)
    left = [key for key in checkpoint.tensors.left() if not family.leaves_out(key) and not key.endswith(_BUFFERS)]
    if left:
        raise UserError(
            f"the checkpoint in {str(checkpoint.tensors.folder)!r} has {len(left)} tensors that {checkpoint.facts.architecture} does"
            f" not have: {', '.join(left[:3])}{', …' if len(left) > 3 else ''}"
        )
    return model


def _check_features(model: keras.Model, checkpoint: Part) -> None:
    """Compute the features of three fixed noise pictures: as many as a trace is compared with, so that jax compiles each operation once."""
    noise = np.random.default_rng(0).standard_normal((3, *model.input_shape[1:])).astype(np.float32)
    features = keras.ops.convert_to_numpy(model(noise, training=False))
    where = f"the checkpoint in {str(checkpoint.tensors.folder)!r}"
    if not np.isfinite(features).all():
        raise UserError(
            f"{where} gives features that are not finite; its weights are damaged or of another architecture"
        )
    if np.ptp(features) == 0 or np.array_equal(features[0], features[1]):
        raise UserError(f"{where} gives the same features for every picture; its weights are damaged or untrained")
