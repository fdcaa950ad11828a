"""Features of several depths and of several backbones."""

import numpy as np
import pytest

from keras_transfer.errors import UserError

pytestmark = pytest.mark.backend


def _images(side):
    return np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.float32)


def test_vectors_are_pooled_normalized_and_compressed():
    import keras

    from keras_transfer.models.classifier import build_classifier

    model = build_classifier("efficientnet_lite0", 3, image_size=64, taps=3)
    names = ["top_relu", "block7a_depthwise_relu", "block6d_depthwise_relu"]
    outputs = [model.get_layer(name).output for name in names]
    *maps, features = keras.Model(model.inputs[0], [*outputs, model.get_layer("features").output]).predict(
        _images(64), verbose=0
    )
    wanted = []
    for x in maps:
        x = x.mean(axis=(1, 2))
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True))
        wanted.append(x / (1 + np.abs(x)) / np.sqrt(x.shape[1]))
    np.testing.assert_allclose(features, np.concatenate(wanted, axis=1), atol=1e-6)


@pytest.mark.slow
def test_joined_backbones_compute_what_each_computes_alone():
    import keras

    from keras_transfer.models.classifier import build_classifier

    def features(name):
        model = build_classifier(name, 3, image_size=64, taps=2)
        return keras.Model(model.inputs[0], model.get_layer("features").output).predict(_images(64), verbose=0)

    together = features("efficientnet_lite0+efficientnet_lite1")
    alone = [features("efficientnet_lite0"), features("efficientnet_lite1")]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), atol=1e-6)


def test_the_last_group_of_joined_backbones_is_that_of_each():
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.models.groups import layer_groups

    name = "efficientnet_lite0+efficientnet_lite1"
    groups = layer_groups(build_classifier(name, 3, image_size=64, taps=1), name)
    assert [name for name, _ in groups][-2:] == ["block7", "top"]
    assert {layer.name for layer in groups[-1][1]} == {
        f"top{part}{end}" for part in ("", "_bn", "_relu") for end in ("", "__2")
    }


@pytest.mark.parametrize(
    ("name", "taps", "message"),
    [
        ("efficientnet_lite0+efficientnet_lite0", 1, "different names"),
        ("efficientnet_lite0+efficientnet_lite1", 0, "model.taps of at least 1"),
        ("efficientnet_lite0+resnet51", 1, "resnet50"),
    ],
)
def test_what_cannot_be_joined_or_tapped(name, taps, message):
    from keras_transfer.models.classifier import build_classifier

    with pytest.raises(UserError, match=message):
        build_classifier(name, 3, image_size=64, taps=taps)
