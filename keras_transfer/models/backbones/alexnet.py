"""AlexNet with torchvision's layers, its two hidden fully connected layers as convolutions.

Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", https://arxiv.org/abs/1404.5997. The
feature map is average-pooled to 6x6 for every image size; ``fc6`` is a 6x6 convolution and ``fc7`` a 1x1 convolution,
which compute the same as fully connected layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_weights import set_weights, torchvision_weights
from keras_transfer.models.preprocessing import TORCH

if TYPE_CHECKING:
    import keras

_FILE = "alexnet-owt-7be5be79.pth"
_NAMES = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8", "conv5": "features.10",
    "fc6": "classifier.1", "fc7": "classifier.4",
}  # fmt: skip
_CHECKPOINTS = (Checkpoint("torchvision", lambda: _NAMES),)


def _architecture(input_shape: tuple[int, int, int]) -> keras.Model:
    import keras
    from keras import layers

    def conv(
        x: keras.KerasTensor, filters: int, kernel: int, name: str, stride: int = 1, pad: int = 0
    ) -> keras.KerasTensor:
        if pad:
            x = layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
        x = layers.Conv2D(filters, kernel, stride, kernel_initializer="he_normal", name=name)(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    inputs = keras.Input(input_shape, name="preprocessed")
    x = conv(inputs, 64, 11, "conv1", stride=4, pad=2)
    x = layers.MaxPooling2D(3, 2, name="conv1_pool")(x)
    x = conv(x, 192, 5, "conv2", pad=2)
    x = layers.MaxPooling2D(3, 2, name="conv2_pool")(x)
    x = conv(x, 384, 3, "conv3", pad=1)
    x = conv(x, 256, 3, "conv4", pad=1)
    x = conv(x, 256, 3, "conv5", pad=1)
    x = layers.MaxPooling2D(3, 2, name="conv5_pool")(x)
    if x.shape[1:3] != (6, 6):
        x = layers.AdaptiveAveragePooling2D((6, 6), name="conv5_average")(x)
    x = conv(layers.Dropout(0.5, name="fc6_dropout")(x), 4096, 6, "fc6")
    x = conv(layers.Dropout(0.5, name="fc7_dropout")(x), 4096, 1, "fc7")
    return keras.Model(inputs, x, name="alexnet")


def _build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
    model = _architecture(input_shape)
    return set_weights(model, weights, _CHECKPOINTS, "alexnet", lambda: torchvision_weights(_FILE, "alexnet"))


RECORDS = (
    Backbone(
        name="alexnet",
        family="AlexNet",
        build=_build,
        preprocessing=TORCH,
        image_size=224,
        min_size=63,
        groups=tuple((name, rf"{name}(_|$)") for name in _NAMES),
        licence="BSD-3-Clause",
        source="Krizhevsky 2014, https://arxiv.org/abs/1404.5997; weights: torchvision",
        checkpoints=_CHECKPOINTS,
    ),
)
