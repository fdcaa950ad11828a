"""A classifier: raw pixels → preprocessing → backbone → pooling → dropout → logits, in one flat graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import get_args

import keras

from keras_transfer.errors import UserError, unknown
from keras_transfer.models import backbones
from keras_transfer.models import stem as stems
from keras_transfer.models.backbones.torch_variant import suited
from keras_transfer.models.checkpoints.reference import is_reference
from keras_transfer.models.graph import graft
from keras_transfer.models.initial import draw_initial_weights, without_drawing
from keras_transfer.models.layer_names import backbone_layers
from keras_transfer.models.taps import compressed, tapped_maps
from keras_transfer.options import DROPOUT, Pooling
from keras_transfer.runtime import set_seed

# Keras's backbones keep up to 0.999 of their moving statistics per step, so that the initial ones dominate for thousands of
# steps: too slow for phases of a few hundred. This is the usual value (PyTorch's momentum of 0.1).
BATCH_NORM_MOMENTUM = 0.9


def build_classifier(  # longer than others: its documentation is
    backbone_name: str,
    n_classes: int,
    image_size: int | Sequence[int] | None = None,
    channels: int = 3,
    weights: str | Path = "imagenet",
    pooling: str = "avg",
    dropout: float = DROPOUT,
    stem: str = "keep",
    seed: int = 0,
    taps: int = 0,
) -> keras.Model:
    """Build a classifier on a backbone.

    The model maps RGB (or grey) pixels 0..255, float32 or uint8, of shape (batch, height, width, channels) to float32
    logits (batch, n_classes), without softmax. Its layers are, in order: ``image``, for grey images ``grey_to_rgb``,
    ``preprocess``, those of the backbone, ``pool``, ``dropout``, ``logits``. It is a functional ``keras.Model`` of Keras's
    own layers, so that its file loads without this package.

    Initial weights (``logits``, and the backbone's for ``weights="none"``) depend on ``seed`` only: they are the same on
    every backend.

    Args:
        backbone_name: a name of :data:`keras_transfer.models.backbones.BACKBONES`, ``hf:ORG/NAME``, ``timm:NAME``, the path of a
            checkpoint's folder, ``hub:PRESET``, or several names joined by ``+``.
        n_classes: number of classes, at least 2.
        image_size: side or (height, width) in pixels; None: the backbone's default.
        channels: 3 (RGB) or 1 (grey, repeated three times).
        weights: ``"imagenet"``, ``"none"`` or the path of a weights file of the backbone.
        pooling: ``"avg"`` or ``"max"`` over the feature map.
        dropout: rate before the last layer, 0 ≤ dropout < 1.
        stem: ``"keep"``, ``"small_image"`` or ``"one_channel"``: changes to the first layers
            (:mod:`keras_transfer.models.stem`).
        seed: seed of initial weights and dropout.
        taps: 0: the head reads the pooled feature map; from 1 on: at most that many feature maps of each backbone, from the last to earlier
            ones, normalized and joined (:mod:`keras_transfer.models.taps`); between ``pool`` and ``dropout`` are then further layers.
            Backbones joined by ``+`` need at least 1.

    Raises:
        UserError: an argument is out of range, or the weights are not available or do not fit.
        MissingExtra: ``hub:`` without keras-hub.
    """
    weights = str(weights)
    record = suited(backbones.get(backbone_name), weights)
    height, width = _image_size(record, image_size, stem)
    _check(record, n_classes, channels, pooling, dropout, weights, stem)
    if record.parts and (taps < 1 or stem != "keep"):
        raise UserError(f"backbones joined by + ({record.name}) need model.taps of at least 1 and model.stem keep")
    set_seed(seed)  # for initialisers of layers that are not drawn below, and Keras's dropout seeds
    image = keras.Input((height, width, channels), dtype="float32", name="image")
    parts = [suited(part, weights) for part in record.parts] or [record]
    vectors = [
        vector
        for number, part in enumerate(parts)
        for vector in _features(part, image, weights, stem, seed, taps, pooling, backbones.suffix(number))
    ]
    x = keras.layers.Concatenate(name="features", dtype="float32")(vectors) if len(vectors) > 1 else vectors[0]
    x = keras.layers.Dropout(dropout, seed=seed, name="dropout")(x)
    logits = keras.layers.Dense(n_classes, dtype="float32", name="logits")
    model = keras.Model(image, logits(x), name=_model_name(record))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, BATCH_NORM_MOMENTUM)
    draw_initial_weights([*(backbone_layers(model) if weights == "none" else []), logits], seed)
    return model


def _features(  # its arguments are those of one backbone in the classifier
    record: backbones.Backbone,
    image: keras.KerasTensor,
    weights: str,
    stem: str,
    seed: int,
    taps: int,
    pooling: str,
    suffix: str,
) -> list[keras.KerasTensor]:
    """Apply preprocessing, backbone and pooling to ``image``; return the pooled vectors."""
    pool = keras.layers.GlobalAveragePooling2D if pooling == "avg" else keras.layers.GlobalMaxPooling2D
    last = _feature_map(record, image, weights, stem, seed, suffix)
    if len(last.shape) == 2 and pooling != "avg":
        raise UserError(f"backbone {record.name} pools its features itself; leave pooling at avg")
    if taps == 0:
        return [
            pool(name=f"pool{suffix}")(last)
            if len(last.shape) == 4
            else keras.layers.Identity(name=f"pool{suffix}")(last)
        ]
    maps = tapped_maps(keras.Model(image, last), taps)
    return compressed(maps, pool, suffix)


def _feature_map(
    record: backbones.Backbone, image: keras.KerasTensor, weights: str, stem: str, seed: int, suffix: str
) -> keras.KerasTensor:
    """Apply preprocessing and backbone to ``image``."""
    # With its original stem, a backbone may not accept images as small as the new one does.
    size = (record.min_size, record.min_size) if stem == "small_image" else image.shape[1:3]
    backbone = _backbone(record, (*size, 3), weights)
    rgb = partial(_as_rgb, name=f"grey_to_rgb{suffix}") if stem != "one_channel" else (lambda x: x)
    return graft(
        backbone,
        image,
        prepare=lambda x: record.preprocessing.layers(rgb(x), f"preprocess{suffix}"),
        swaps=stems.swaps(backbone, stem),
        seed=seed,
        suffix=suffix,
    )


def _as_rgb(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    if x.shape[-1] == 3:
        return x
    return keras.layers.Concatenate(name=name, dtype="float32")([x, x, x])


def _backbone(record: backbones.Backbone, input_shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Build the backbone in float32, whatever Keras's global policy is.

    Backbones of the table are built without random weights, which are loaded or drawn afterwards.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        # Layers of keras-hub may have random weights that draw_initial_weights does not support.
        with without_drawing() if record.groups is not None else nullcontext():
            return record.build(input_shape, weights)
    finally:
        keras.config.set_dtype_policy(before)


def _image_size(record: backbones.Backbone, image_size: int | Sequence[int] | None, stem: str) -> tuple[int, int]:
    smallest = stems.SMALLEST if stem == "small_image" else record.min_size
    if image_size is None:
        image_size = record.image_size
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(int(n) for n in image_size)
    if len(size) != 2:
        raise UserError(f"image_size: expected one number or (height, width), got {image_size!r}")
    if min(size) < smallest:
        raise UserError(
            f"backbone {record.name} needs images of at least {smallest} px a side, got image_size {size[0]}x{size[1]}"
        )
    return size


def _check(
    record: backbones.Backbone, n_classes: int, channels: int, pooling: str, dropout: float, weights: str, stem: str
) -> None:
    if n_classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, got {n_classes}")
    if channels not in (1, 3):
        raise UserError(f"channels: expected 1 (grey) or 3 (RGB), got {channels}")
    if pooling not in get_args(Pooling):
        raise unknown("pooling", pooling, get_args(Pooling))
    if stem not in stems.STEMS:
        raise unknown("stem", stem, stems.STEMS)
    if stem == "one_channel" and channels != 1:
        raise UserError("model.stem: one_channel is for grey images; set data.color: grey")
    if stem == "small_image" and record.fixed_size:
        raise UserError(f"model.stem: small_image: backbone {record.name} cuts images into patches; use stem: keep")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout: expected 0 <= dropout < 1, got {dropout}")
    if weights in ("imagenet", "none") and weights not in record.weights:
        raise UserError(f"backbone {record.name} has no weights {weights!r} (expected: {' or '.join(record.weights)})")
    if keras.backend.backend() in record.not_on:
        raise UserError(
            f"backbone {record.name} cannot be built on {keras.backend.backend()}: Keras does not support it"
        )
    if keras.config.image_data_format() != "channels_last":
        raise UserError("Keras is set to image_data_format 'channels_first'; set it to 'channels_last' (keras.json)")


def _model_name(record: backbones.Backbone) -> str:
    name = re.split(r"[/\\]", record.name)[-1] if is_reference(record.name) else record.name  # no path of this machine
    return re.sub(r"\W+", "_", f"{name}_{record.variant}").strip("_") + "_classifier"
