"""ResNet-18 and ResNet-34, residual networks of basic blocks, with torchvision's layers.

He et al. 2015, https://arxiv.org/abs/1512.03385. torchvision pads all sides by 1 or 3, where Keras's ``same`` pads one
side only if the stride is 2. Its BatchNorm has epsilon 1e-5 and momentum 0.1, which is 0.9 in Keras's convention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_weights import set_weights, torchvision_weights
from keras_transfer.models.preprocessing import TORCH

if TYPE_CHECKING:
    import keras

_STAGES = (64, 128, 256, 512)


def _conv(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    from keras import layers

    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(filters, kernel, stride, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=name)(x)


def _block(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    """Two 3x3 convolutions with a shortcut, which is a 1x1 convolution where the shape changes."""
    from keras import layers

    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _norm(_conv(x, filters, 1, stride, f"{name}_shortcut"), f"{name}_shortcut_bn")
    x = _norm(_conv(x, filters, 3, stride, f"{name}_conv1"), f"{name}_bn1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _norm(_conv(x, filters, 3, 1, f"{name}_conv2"), f"{name}_bn2")
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _architecture(input_shape: tuple[int, int, int], blocks: tuple[int, ...], name: str) -> keras.Model:
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="preprocessed")
    x = layers.ReLU(name="stem_relu")(_norm(_conv(inputs, 64, 7, 2, "stem_conv"), "stem_bn"))
    # Zero padding does not change the maximum: nothing is negative after a ReLU.
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(layers.ZeroPadding2D(1, name="stem_pool_pad")(x))
    for i, (filters, repeats) in enumerate(zip(_STAGES, blocks), start=1):
        for j in range(repeats):
            x = _block(x, filters, 2 if j == 0 and i > 1 else 1, f"layer{i}_block{j}")
    return keras.Model(inputs, x, name=name)


def _torch_names(blocks: tuple[int, ...]) -> dict[str, str]:
    """Map the name of each layer with weights to its name in torchvision's state dict."""
    names = {"stem_conv": "conv1", "stem_bn": "bn1"}
    for i, repeats in enumerate(blocks, start=1):
        for j in range(repeats):
            ours, theirs = f"layer{i}_block{j}", f"layer{i}.{j}"
            names |= {f"{ours}_{part}": f"{theirs}.{part}" for part in ("conv1", "bn1", "conv2", "bn2")}
            if j == 0 and i > 1:
                names |= {f"{ours}_shortcut": f"{theirs}.downsample.0", f"{ours}_shortcut_bn": f"{theirs}.downsample.1"}
    return names


def _record(name: str, blocks: tuple[int, ...], file_name: str) -> Backbone:
    checkpoints = (Checkpoint("torchvision, timm", lambda: _torch_names(blocks)),)

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        model = _architecture(input_shape, blocks, name)
        return set_weights(model, weights, checkpoints, name, lambda: torchvision_weights(file_name, name))

    return Backbone(
        name=name,
        family="ResNet (basic blocks)",
        build=build,
        preprocessing=TORCH,
        image_size=224,
        min_size=32,
        groups=(("stem", r"stem_"), *((f"layer{i}", rf"layer{i}_") for i in range(1, 5))),
        licence="BSD-3-Clause",
        source="He et al. 2015, https://arxiv.org/abs/1512.03385; weights: torchvision",
        checkpoints=checkpoints,
    )


RECORDS = (
    _record("resnet18", (2, 2, 2, 2), "resnet18-f37072fd.pth"),
    _record("resnet34", (3, 4, 6, 3), "resnet34-b627a593.pth"),
)
