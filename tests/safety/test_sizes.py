"""Models that would take more memory than they hold are refused before anything of them is built."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.backend

FACTS = {"classes": ["a", "b", "c"], "image_size": [32, 32], "color": "rgb", "resize": "squash", "backbone": "tiny"}


@pytest.fixture
def layers():
    import keras

    return keras.layers


def written(model, path, change=lambda config: config, **golden):
    """Save a model as a stranger could, with a changed configuration and golden batch."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    members["config.json"] = json.dumps(change(config) or config).encode()
    members["keras_transfer/metadata.json"] = json.dumps(FACTS).encode()
    if golden:
        stream = io.BytesIO()
        np.savez(stream, **golden)
        members["keras_transfer/golden.npz"] = stream.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def functional(*steps, shape=(32, 32, 3)):
    import keras

    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def layer_of(config, kind):
    return next(one for one in config["config"]["layers"] if one["class_name"] == kind)


def enlarge(kind, **settings):
    return lambda config: layer_of(config, kind)["config"].update(settings)


def refused(path, says="too large|too many|cannot be judged|not in the file"):
    import keras_transfer as kt
    from keras_transfer.safety import Refused

    with pytest.raises(Refused, match=says) as refusal:
        kt.load(path)
    assert "\n" not in str(refusal.value)


def end(layers):
    return [layers.GlobalAveragePooling2D(), layers.Dense(3)]


class TestTooLarge:
    def test_unknown_sides(self, layers, tmp_path):
        model = functional(layers.ZeroPadding2D(2), *end(layers), shape=(None, None, 3))
        refused(written(model, tmp_path / "m.keras", enlarge("ZeroPadding2D", padding=[[20000, 0], [20000, 0]])))

    def test_sequential(self, layers, tmp_path):
        import keras

        model = keras.Sequential([keras.Input((32, 32, 3)), layers.UpSampling2D(2), *end(layers)])
        refused(written(model, tmp_path / "m.keras", enlarge("UpSampling2D", size=[900, 900])))

    def test_sequential_without_an_input_or_with_two_opinions_of_it(self, layers, tmp_path):
        import keras

        def without(config):
            config["config"]["layers"] = config["config"]["layers"][1:]
            config["config"]["build_input_shape"] = [1, 1 << 15, 1 << 15, 3]

        model = keras.Sequential([keras.Input((32, 32, 3)), *end(layers)])
        refused(written(model, tmp_path / "m.keras", without))

    def test_nested(self, layers, tmp_path):
        import keras

        inner = keras.Sequential([keras.Input((32, 32, 3)), layers.UpSampling2D(2)])

        def change(config):
            enlarge("UpSampling2D", size=[900, 900])(layer_of(config, "Sequential"))

        refused(written(functional(inner, *end(layers)), tmp_path / "m.keras", change))

    def test_attention(self, layers, tmp_path):
        def attend(x):
            return layers.Attention()([x, x])

        model = functional(
            layers.UpSampling2D(16), layers.Reshape((-1, 3)), attend, layers.GlobalAveragePooling1D(), layers.Dense(3)
        )
        refused(written(model, tmp_path / "m.keras"))

    def test_shape_of_the_input(self, layers, tmp_path):
        model = functional(*end(layers))
        refused(written(model, tmp_path / "m.keras", enlarge("InputLayer", batch_shape=[1, 20000, 20000, 3])))

    @pytest.mark.parametrize("side", ["a" * 500, [3], 2.5, True, {"a": 1}])
    def test_sides_of_another_type(self, layers, tmp_path, side):
        model = functional(*end(layers))
        refused(written(model, tmp_path / "m.keras", enlarge("InputLayer", batch_shape=[None, 1 << 32, side, 3])))

    def test_a_text_as_a_number_of_filters(self, layers, tmp_path):
        model = functional(layers.UpSampling2D(2), layers.Conv2D(3, 1), *end(layers))
        for kind, key in (("Conv2D", "filters"), ("UpSampling2D", "size"), ("Dense", "units")):
            refused(written(model, tmp_path / "m.keras", enlarge(kind, **{key: "a" * (1 << 20)})))

    def test_many_maps_of_an_allowed_size(self, layers, tmp_path):
        model = functional(layers.UpSampling2D(32), *(layers.ReLU() for _ in range(60)), *end(layers))
        refused(written(model, tmp_path / "m.keras"), "too many")

    def test_a_layer_as_an_activation(self, layers, tmp_path):
        def change(config):
            layer = {"module": "keras.layers", "class_name": "UpSampling2D", "registered_name": None,
                     "config": {"size": [900, 900], "data_format": "channels_last"}}  # fmt: skip
            layer_of(config, "Activation")["config"]["activation"] = layer

        refused(
            written(functional(layers.Activation("relu"), *end(layers)), tmp_path / "m.keras", change), "UpSampling2D"
        )

    @pytest.mark.parametrize("value", [None, "900", [900], True, -1, 2.5, {"a": 1}, [1 << 50, 1]])
    def test_settings_of_another_type(self, layers, tmp_path, value):
        model = functional(layers.UpSampling2D(2), *end(layers))
        refused(written(model, tmp_path / "m.keras", enlarge("UpSampling2D", size=value)))

    def test_a_setting_that_is_missing(self, layers, tmp_path):
        model = functional(layers.UpSampling2D(2), *end(layers))
        refused(
            written(
                model, tmp_path / "m.keras", lambda c: layer_of(c, "UpSampling2D")["config"].pop("data_format") and None
            )
        )

    def test_two_layers_of_one_name(self, layers, tmp_path):
        def change(config):
            layers_ = config["config"]["layers"]
            layers_.append(json.loads(json.dumps(layers_[1])))

        refused(written(functional(layers.UpSampling2D(2), *end(layers)), tmp_path / "m.keras", change))

    @pytest.mark.parametrize("value", [True, 7, 1.5, [1, 2], {"a": 1}])
    def test_arguments_that_are_no_tensors(self, layers, tmp_path, value):
        def change(config):
            layer_of(config, "BatchNormalization")["inbound_nodes"][0]["kwargs"]["mask"] = value

        refused(written(functional(layers.BatchNormalization(), *end(layers)), tmp_path / "m.keras", change), "mask")


def test_a_model_that_cannot_be_computed(layers, tmp_path):
    import keras_transfer as kt
    from keras_transfer.errors import UserError

    golden = {"images": np.zeros((1, 32, 32, 3), np.uint8), "logits": np.zeros((1, 3), np.float32)}
    path = written(
        functional(layers.Rescaling(2.0), *end(layers)),
        tmp_path / "m.keras",
        enlarge("Rescaling", scale="two"),
        **golden,
    )
    with pytest.raises(UserError, match="cannot be") as error:
        kt.load(path)
    assert "\n" not in str(error.value)


def test_other_shapes_to_build_for_are_not_given_to_keras():
    from keras_transfer.safety.config import check_config

    hostile = {"class_name": "Sequential", "module": "keras", "config": {"layers": [], "build_input_shape": [1 << 40]},
               "build_config": {"input_shape": [1 << 40]}, "shared_object_id": 3}  # fmt: skip
    assert check_config(json.dumps(hostile).encode(), "x") == {
        "class_name": "Sequential", "module": "keras", "config": {"layers": []}}  # fmt: skip


def test_sizes_are_those_that_keras_computes(layers, tmp_path):
    """Keras's symbolic shapes are the reference, for every kind of layer in one graph."""
    import keras

    from keras_transfer.safety.config import check_config
    from keras_transfer.safety.graph_sizes import judge

    x = inputs = keras.Input((24, 20, 6))
    for step in (
        layers.Conv2D(8, (3, 2), 2, "same"), layers.Conv2DTranspose(5, 3, 2, "valid"), layers.Conv2DTranspose(4, 3, 2, "same"),
        layers.DepthwiseConv2D(3, padding="valid", depth_multiplier=2), layers.SeparableConv2D(8, 3, dilation_rate=2),
        layers.ZeroPadding2D(((1, 2), (0, 3))), layers.Cropping2D(1), layers.UpSampling2D((2, 1)), layers.Permute((2, 1, 3)),
        layers.MaxPooling2D(3, 2, "same"), layers.AveragePooling2D(2), layers.Resizing(9, 7), layers.BatchNormalization(),
        layers.Rescaling([1.0] * 8), layers.Dense(10), layers.Reshape((-1, 10)),
        lambda t: layers.MultiHeadAttention(2, 4)(t, t), lambda t: layers.Attention()([t, t]), lambda t: layers.Add()([t, t]),
        lambda t: layers.Concatenate()([t, t]), lambda t: layers.Dot((2, 2))([t, t]), lambda t: t[:, 1:9:2, None, ..., 0],
        lambda t: keras.ops.expand_dims(t, -1) * 2 + 1, lambda t: keras.ops.repeat(keras.ops.mean(t, 1, keepdims=True), 3, 2),
        lambda t: keras.ops.stack([t, t], 1), lambda t: keras.ops.transpose(t, (0, 4, 1, 3, 2)), layers.Flatten(),
        layers.RepeatVector(5), layers.GlobalMaxPooling1D(), layers.Dense(3),
    ):  # fmt: skip
        x = step(x)
    model = keras.Model(inputs, x)
    found = judge(check_config(model.to_json().encode(), "x"), "x", None, 0)
    for operation in model.operations[1:]:
        truth = tuple(n or 1 for n in operation.output.shape)
        assert found[operation.name] == [truth], operation.name


class TestGolden:
    IMAGES = np.zeros((2, 32, 32, 3), np.uint8)

    @pytest.mark.parametrize(
        ("images", "logits"),
        [
            (np.zeros((17, 32, 32, 3), np.uint8), np.zeros((17, 3), np.float32)),
            (np.zeros((0, 32, 32, 3), np.uint8), np.zeros((0, 3), np.float32)),
            (np.zeros((2, 9, 9, 3), np.uint8), np.zeros((2, 3), np.float32)),
            (np.zeros((2, 32), np.uint8), np.zeros((2, 3), np.float32)),
            (IMAGES, np.full((2, 3), np.inf, np.float32)),
            (IMAGES, np.full((2, 3), np.nan, np.float32)),
            (IMAGES, np.zeros((2, 4), np.float32)),
            (IMAGES, np.array([["a"] * 3] * 2)),
            (IMAGES, np.zeros((2, 3), "V2")),
        ],
    )
    def test_judged_before_it_is_computed(self, layers, tmp_path, images, logits):
        refused(written(functional(*end(layers)), tmp_path / "m.keras", images=images, logits=logits), "golden")

    def test_huge_logits_are_no_yardstick(self, layers, tmp_path):
        import keras_transfer as kt
        from keras_transfer.errors import UserError

        huge = np.array([[1e30, 5, 5]] * 2, np.float32)
        path = written(functional(*end(layers)), tmp_path / "m.keras", images=self.IMAGES, logits=huge)
        with pytest.raises(UserError, match="gives other predictions"):
            kt.load(path)

    def test_a_classifier_does_not_write_what_it_would_refuse(self, tmp_path):
        import keras_transfer as kt
        from keras_transfer.errors import UserError

        clf = kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none")
        for wrong in (
            self.IMAGES[:0],
            self.IMAGES / 255.0 + 0.1,
            self.IMAGES[:, :8],
            np.zeros((20, 32, 32, 3), np.uint8),
        ):
            with pytest.raises(UserError, match=r"golden( images)?: expected"):
                clf.save(tmp_path / "m.keras", golden=wrong)
        clf.save(tmp_path / "m.keras", golden=self.IMAGES)
        assert kt.load(tmp_path / "m.keras").classes == ("a", "b")
