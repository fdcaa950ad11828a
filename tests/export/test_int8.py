"""Folding and rounding, independent of any converter."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.backend


def make_model(backbone, seed=1):
    from keras_transfer.models.classifier import build_classifier

    model = build_classifier(backbone, 4, image_size=(64, 64), weights="none", seed=seed)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            shape = layer.moving_mean.shape
            layer.set_weights([rng.normal(1, 0.1, shape), rng.normal(0, 0.1, shape), rng.normal(0, 0.1, shape),
                               rng.uniform(0.8, 1.2, shape)])  # fmt: skip
    return model


def make_images(count=6):
    coarse = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3))
    return coarse.repeat(16, axis=1).repeat(16, axis=2).astype(np.float32)


# Together: convolutions with and without bias, depthwise ones, sums, a normalization that cannot be folded.
@pytest.mark.parametrize(
    "backbone",
    [
        "tiny",
        "efficientnet_lite0",
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("resnet50", "densenet121")),
    ],
)
def test_folding_changes_nothing_but_the_number_of_layers(backbone):
    from keras_transfer.export.fold import folded

    model, images = make_model(backbone), make_images()
    before, weights = model.predict_on_batch(images), [np.array(weight) for weight in model.get_weights()]
    small = folded(model)
    np.testing.assert_allclose(small.predict_on_batch(images), before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    norms = [sum(type(one).__name__ == "BatchNormalization" for one in each.layers) for each in (model, small)]
    assert norms[1] < norms[0] if backbone == "densenet121" else norms[1] == 0 < norms[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights()))


def test_rounded_weights_are_steps_and_their_sum_stays():
    from keras_transfer.export.rounding import rounded_kernel

    kernel = np.random.default_rng(0).normal(size=(3, 3, 500))
    step = np.abs(kernel).max((0, 1)) / 127
    nearest, kept = rounded_kernel(kernel), rounded_kernel(kernel, keep_sum=True)
    for rounded in (nearest, kept):
        np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-9)
        assert np.abs(rounded).max() <= np.abs(kernel).max()
    assert (np.abs(nearest - kernel) <= step * 0.5001).all() and (np.abs(kept - kernel) <= step * 1.0001).all()
    off = [np.abs((rounded - kernel).sum((0, 1)) / step) for rounded in (nearest, kept)]
    assert off[0].max() > 1 and off[1].max() <= 0.5001


@pytest.mark.exhaustive
def test_rounding_keeps_the_mean_of_every_convolution():
    """Compared with rounding to the nearest step."""
    from keras_transfer.export.fold import folded
    from keras_transfer.export.rounding import round_weights, rounded_kernel

    model, images = make_model("efficientnet_lite0"), make_images()
    exact, corrected, nearest = folded(model), folded(model), folded(model)
    round_weights(corrected, images)
    for layer in nearest.layers:
        if type(layer).__name__ == "Conv2D":
            kernel, bias = layer.get_weights()
            layer.set_weights([rounded_kernel(kernel), bias])
        elif type(layer).__name__ == "DepthwiseConv2D":
            kernel, bias = layer.get_weights()
            layer.set_weights([rounded_kernel(kernel[..., 0])[..., None], bias])
    wanted = exact.predict_on_batch(images)
    far, near = (np.abs(np.asarray(one.predict_on_batch(images)) - wanted).mean() for one in (nearest, corrected))
    assert 0 < near < 0.7 * far
