"""Residual branches that begin at zero."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.residual import zero_branches

pytestmark = pytest.mark.backend


def built(name, **more):
    return build_classifier(name, 3, image_size=32, weights="none", **more)


def zeros(model):
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return {layer.name for layer in norms if not keras.ops.convert_to_numpy(layer.gamma).any()}


@pytest.mark.slow
def test_they_are_the_last_of_each_block_and_never_a_shortcut():
    model = built("resnet50")
    blocks = {
        f"conv{stage}_block{block}_3_bn"
        for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3))
        for block in range(1, count + 1)
    }
    assert zero_branches(model) == 16 and zeros(model) == blocks


def test_a_block_is_its_shortcut():
    model = built("resnet18", stem="small_image")
    assert zero_branches(model) == len(zeros(model)) == 8
    add = next(layer for layer in model.layers if isinstance(layer, keras.layers.Add))
    ways = keras.Model(model.inputs[0], [*add.input, add.output])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    *inputs, total = (keras.ops.convert_to_numpy(each) for each in ways(pixels, training=True))
    assert sum(not each.any() for each in inputs) == 1
    np.testing.assert_array_equal(total, sum(inputs))


def test_a_network_without_such_branches_is_refused():
    with pytest.raises(UserError, match=r"zero_init_residual: .*no residual branch"):
        zero_branches(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
