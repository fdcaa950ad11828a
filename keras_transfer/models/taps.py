"""Features from more than one depth: the last feature map and earlier ones, pooled, normalized and joined.

What the last layer of a network has learnt to ignore, earlier layers still know: on images unlike those of the pretraining, a linear
head on several layers is better than on the last alone (Evci et al., "Head2Toe", ICML 2022, https://arxiv.org/abs/2201.03529). Each
pooled vector is scaled to a root mean square of 1 and compressed by x / (1 + |x|), which does what the square root of power
normalization does (Perronnin et al., ECCV 2010): a few strong channels no longer outweigh all others. Its gradient is finite everywhere.
"""

from __future__ import annotations

import math

import keras

from keras_transfer.keras_compat import graph_nodes

ACTIVATIONS = (keras.layers.ReLU, keras.layers.Activation, keras.layers.LeakyReLU)


def tapped_maps(backbone: keras.Model, count: int) -> list[keras.KerasTensor]:
    """Return the last feature map of a backbone and up to ``count`` − 1 earlier ones, last first.

    Earlier ones are outputs of activations with at least half as many channels as the last. Activations that feed a depthwise
    convolution are left out: its own activation comes after and has the same channels.

    Args:
        backbone: functional, with one output of shape (batch, height, width, channels) or (batch, channels).
        count: at least 1.
    """
    last = backbone.outputs[0]
    refined = {
        id(tensor)
        for node in graph_nodes(backbone)
        if isinstance(node.operation, keras.layers.DepthwiseConv2D)
        for tensor in node.input_tensors
    }
    found = [last]
    for layer in reversed(backbone.layers):
        if len(found) == count:
            break
        if not isinstance(layer, ACTIVATIONS) or id(layer.output) in refined or layer.output is last:
            continue
        if len(layer.output.shape) == 4 and layer.output.shape[-1] >= last.shape[-1] / 2:
            found.append(layer.output)
    return found


def compressed(
    maps: list[keras.KerasTensor], pooling: type[keras.layers.Layer], suffix: str = ""
) -> list[keras.KerasTensor]:
    """Return the feature vector of each map: pooled, scaled to a root mean square of 1, compressed, divided by the root of its length.

    Args:
        maps: (batch, height, width, channels), the last of the network first; or vectors (batch, channels), which are not pooled.
        pooling: a global pooling layer.
        suffix: of the layers' names.
    """
    vectors = []
    for number, x in enumerate(maps):
        name = f"{f'tap{number}_' if number else ''}{{}}{suffix}".format
        x = pooling(name=name("pool"))(x) if len(x.shape) == 4 else keras.layers.Identity(name=name("pool"))(x)
        size = int(x.shape[-1])
        x = keras.layers.UnitNormalization(name=name("unit"), dtype="float32")(x)
        x = keras.layers.Rescaling(math.sqrt(size), name=name("rms"), dtype="float32")(x)
        x = keras.layers.Activation("softsign", name=name("compress"), dtype="float32")(x)
        vectors.append(keras.layers.Rescaling(1 / math.sqrt(size), name=name("weigh"), dtype="float32")(x))
    return vectors
