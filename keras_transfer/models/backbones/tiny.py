"""A backbone of a few thousand parameters, for tests and for trying out a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_transfer.models.backbones.record import Backbone
from keras_transfer.models.preprocessing import TF
from keras_transfer.models.weights import load_weights

if TYPE_CHECKING:
    import keras


def _build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Two convolutions and a depthwise-separable one, each with BatchNorm and ReLU; output stride 8."""
    import keras
    from keras import layers

    def norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    inputs = keras.Input(input_shape, name="preprocessed")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = norm_relu(x, "stem")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="block1_conv")(x)
    x = norm_relu(x, "block1")
    x = layers.MaxPooling2D(2, name="block1_pool")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="block2_depthwise")(x)
    x = norm_relu(x, "block2_depthwise")
    x = layers.Conv2D(32, 1, use_bias=False, name="block2_conv")(x)
    x = norm_relu(x, "block2")
    model = keras.Model(inputs, layers.AveragePooling2D(2, name="block2_pool")(x), name="tiny")
    if weights != "none":
        load_weights(model, weights)
    return model


RECORDS = (
    Backbone(
        name="tiny",
        family="tiny",
        build=_build,
        preprocessing=TF,
        image_size=32,
        min_size=8,
        groups=(("stem", r"stem_"), ("block1", r"block1_"), ("block2", r"block2_")),
        licence="Apache-2.0",
        source="this package; no pretrained weights",
        weights=("none",),
    ),
)
