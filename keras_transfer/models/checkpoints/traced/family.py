"""Any network of timm or transformers as a family of checkpoints, where the library is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.record import Facts
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.traced import network

if TYPE_CHECKING:
    import keras
    import torch

TOLERANCE = 1e-4
"""How much features may differ from the library's own, relative to the largest."""


def traced_family(facts: Facts) -> Family:
    """Return the family that builds a checkpoint from a trace of its library's network, where :func:`.network.obstacle` sees none."""
    return Family(
        name=f"traced from {facts.library}",
        timm="",
        transformers=(),
        build=build,
        left_out=(),
        examples=(),
        fixed_size=True,
    )


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.families.family.Family`.

    Raises:
        UserError: the weights do not fit, an operation has no counterpart, or the features differ from the library's.
    """
    import keras

    from keras_transfer.models.checkpoints.traced.builder import Builder
    from keras_transfer.models.checkpoints.traced.operations import OPERATIONS
    from keras_transfer.models.checkpoints.traced.program import trace
    from keras_transfer.models.checkpoints.traced.value import BATCH, Untranslated, Value, channels_last

    original = network.features_of(checkpoint, image_size)
    pixels = keras.Input((*image_size, 3), name="pixels")
    image = Value(pixels, (BATCH, 3, *image_size), (0, 3, 1, 2))
    try:
        found = Builder().run(trace(original, image_size), image, OPERATIONS)
        if found.rank == 4:
            found = channels_last(found)
        elif found.order != tuple(range(found.rank)):
            raise Untranslated("features whose batch is not the first axis")
    except Untranslated as error:
        raise UserError(
            f"{checkpoint.facts.library} architecture {checkpoint.facts.architecture!r} is not supported: there is no counterpart for {error}"
        ) from error
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError) as error:
        text = " ".join(str(error).split())[:160]
        raise UserError(
            f"{checkpoint.facts.library} architecture {checkpoint.facts.architecture!r} is not supported: it cannot be traced at"
            f" {image_size[0]}x{image_size[1]} pixels: {text or type(error).__name__}"
        ) from error
    model = keras.Model(pixels, found.tensor, name=f"traced_{checkpoint.facts.library}")
    _compare(model, original, checkpoint)
    return model


def _compare(model: keras.Model, original: torch.nn.Module, checkpoint: Part) -> None:
    """Raise UserError unless both compute the same features of three noise pictures."""
    import keras
    import torch

    noise = np.random.default_rng(0).standard_normal((3, *model.input_shape[1:])).astype(np.float32)
    with torch.no_grad():
        wanted = original(torch.from_numpy(noise).permute(0, 3, 1, 2)).numpy()
    if not np.isfinite(wanted).all():
        return  # what convert() says of every checkpoint
    found = keras.ops.convert_to_numpy(model(noise, training=False))
    if found.ndim == 4:
        found = found.transpose(0, 3, 1, 2)
    far = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
    if not far <= TOLERANCE * max(float(np.abs(wanted).max()), 1e-6):
        raise UserError(
            f"{checkpoint.facts.library} architecture {checkpoint.facts.architecture!r} is not supported: its features differ by"
            f" {far:.2g} after the conversion"
        )
