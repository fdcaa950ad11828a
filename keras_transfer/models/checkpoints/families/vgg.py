"""VGG of timm, with and without BatchNorm.

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556. The two fully connected layers before the classifier are convolutions, which at
other picture sizes slide over the map; their mean is what the classifier reads.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

# Convolutions of each stage.
_DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_SIDE = 7  # of the kernel of the first fully connected layer, and so of the smallest map that it reads


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    model_args(checkpoint, ("mlp_ratio",))
    name, _, normalized = checkpoint.facts.architecture.partition("_")
    step = 3 if normalized else 2  # modules of a convolution in the list that numbers them
    make = ConvLayers(checkpoint)
    x = pixels = keras.Input((*image_size, 3), name="pixels")
    number = 0
    for i, depth in enumerate(_DEPTHS[name]):
        stage = make.under("features", f"stage{i}" if i else "stem")
        for _ in range(depth):
            x = stage.conv(x, f"{number}", 3, bias=True)
            x = stage.norm(x, f"{number + 1}") if normalized else x
            x = stage.act(x, f"{number}.act", "relu")
            number += step
        x = layers.MaxPooling2D(2, 2, name=stage.part.name("pool"))(x)
        number += 1
    head = make.under("pre_logits", "head")
    x = _spread(_spread(x, 1), 2)
    x = head.act(head.conv(x, "fc1", _SIDE, pad=0, bias=True), "act1", "relu")
    x = head.act(head.conv(x, "fc2", 1, bias=True), "act2", "relu")
    return keras.Model(pixels, x, name="vgg")


def _spread(x: Tensor, axis: int) -> Tensor:
    """Average an axis that is too short into as many places as the kernel has, as PyTorch's ``adaptive_avg_pool2d`` does."""
    size = int(x.shape[axis])
    if size >= _SIDE:
        return x
    places = [(i * size // _SIDE, -(-(i + 1) * size // _SIDE)) for i in range(_SIDE)]
    parts = [x[:, start:end] if axis == 1 else x[:, :, start:end] for start, end in places]
    return layers.Concatenate(axis=axis)([ops.mean(part, axis=axis, keepdims=True) for part in parts])


FAMILY = Family(
    name="VGG",
    timm=r"vgg(11|13|16|19)(_bn)?",
    transformers=(),
    build=build,
    left_out=(r"head\.fc\.(weight|bias)",),
    examples=("vgg11", "vgg16", "vgg16_bn", "vgg19"),
    paper="https://arxiv.org/abs/1409.1556",
)
