"""Initial weights drawn with NumPy follow the initialiser's distribution."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.initial import draw_initial_weights, without_drawing

pytestmark = pytest.mark.backend

INITIALIZERS = [
    keras.initializers.GlorotUniform(),
    keras.initializers.HeNormal(),
    keras.initializers.LecunUniform(),
    keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal"),
    keras.initializers.TruncatedNormal(0.1, 0.02),
    keras.initializers.RandomNormal(-0.1, 0.02),
    keras.initializers.RandomUniform(-0.2, 0.1),
]


def drawn(layer: keras.layers.Layer, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    layer.build(shape)
    draw_initial_weights([layer], seed)
    return layer.get_weights()[0]


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=lambda i: type(i).__name__)
def test_distribution_is_that_of_keras(initializer):
    shape = (3, 3, 32, 48)
    ours = drawn(keras.layers.Conv2D(48, 3, kernel_initializer=initializer, name="conv"), (None, 8, 8, 32))
    keras_own = keras.ops.convert_to_numpy(initializer(shape))
    assert ours.shape == shape
    np.testing.assert_allclose(ours.std(), keras_own.std(), rtol=0.03)
    np.testing.assert_allclose(ours.mean(), keras_own.mean(), atol=0.05 * keras_own.std())
    np.testing.assert_allclose(np.abs(ours).max(), np.abs(keras_own).max(), rtol=0.25)


def test_depthwise_and_separable_kernels_are_drawn():
    depthwise = drawn(keras.layers.DepthwiseConv2D(3, name="depthwise"), (None, 8, 8, 64))
    assert depthwise.shape == (3, 3, 64, 1) and depthwise.std() > 0
    separable = keras.layers.SeparableConv2D(8, 3, name="separable")
    separable.build((None, 8, 8, 4))
    before = separable.get_weights()
    draw_initial_weights([separable], 0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, separable.get_weights())]
    assert changed == [True, True, False]  # depthwise, pointwise; the bias stays 0


def test_name_and_seed_give_different_numbers():
    first = drawn(keras.layers.Dense(4, name="a"), (None, 3))
    assert np.array_equal(first, drawn(keras.layers.Dense(4, name="a"), (None, 3)))
    assert not np.array_equal(first, drawn(keras.layers.Dense(4, name="b"), (None, 3)))
    assert not np.array_equal(first, drawn(keras.layers.Dense(4, name="a"), (None, 3), seed=1))


def test_constants_are_left_alone():
    kernel = drawn(keras.layers.Dense(4, kernel_initializer="ones", name="d"), (None, 3))
    np.testing.assert_array_equal(kernel, np.ones((3, 4)))


def test_an_unknown_rule_is_refused():
    with pytest.raises(UserError, match="Orthogonal"):
        drawn(keras.layers.Dense(4, kernel_initializer="orthogonal", name="d"), (None, 3))


def test_without_drawing_gives_zeros_and_is_over_afterwards():
    with pytest.raises(RuntimeError), without_drawing():
        quiet = keras.layers.Conv2D(4, 3)
        quiet.build((None, 8, 8, 3))
        norm = keras.layers.BatchNormalization()
        norm.build((None, 8, 8, 3))
        raise RuntimeError
    assert np.all(quiet.get_weights()[0] == 0) and quiet.get_weights()[0].dtype == np.float32
    assert [float(w.mean()) for w in norm.get_weights()] == [1, 0, 0, 1]
    loud = keras.layers.Conv2D(4, 3)
    loud.build((None, 8, 8, 3))
    assert loud.get_weights()[0].std() > 0
    assert quiet.get_config()["kernel_initializer"] == loud.get_config()["kernel_initializer"]
