"""Residual blocks: which sums count, and their magnitudes against an independent computation in NumPy."""

from __future__ import annotations

import json
import math
import re

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from keras_transfer.cli import main
from keras_transfer.errors import UserError
from keras_transfer.explain import Residuals, residuals
from keras_transfer.explain.blocks import blocks_table, find_blocks
from keras_transfer.plots import residual_blocks

pytestmark = pytest.mark.backend


def conv(filters, name, stride=1):
    return layers.Conv2D(filters, 1, strides=stride, use_bias=False, name=name)


def small_model():
    """A block with an identity shortcut (first Add input) and one with a projection (second); convolutions are 1 × 1."""
    image = keras.Input((8, 10, 3), name="image")
    x = conv(4, "stem")(image)
    f = conv(4, "one_b")(layers.ReLU(name="one_relu")(conv(6, "one_a")(x)))
    x = layers.ReLU(name="between")(layers.Add(name="one")([x, f]))
    f = layers.ReLU(name="two_relu")(conv(7, "two_a", stride=2)(x))
    f = layers.BatchNormalization(epsilon=1e-3, name="two_bn")(conv(5, "two_b")(f))
    x = layers.Add(name="two")([f, conv(5, "two_shortcut", stride=2)(x)])
    model = keras.Model(image, layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D(name="pool")(x)))
    rng = np.random.default_rng(5)
    for layer in model.layers:
        layer.set_weights([rng.uniform(0.1, 1, w.shape) - 0.5 * (w.ndim > 1) for w in layer.get_weights()])
    return model


def by_numpy(model, images):
    weights = {layer.name: layer.get_weights() for layer in model.layers}

    def product(x, name):
        return x @ weights[name][0][0, 0].astype(np.float64)

    x = product(images.astype(np.float64), "stem")
    f = product(np.maximum(product(x, "one_a"), 0), "one_b")
    branches = {"one": (x, f)}
    y = np.maximum(x + f, 0)[:, ::2, ::2]
    gamma, beta, mean, variance = weights["two_bn"]
    f = product(np.maximum(product(y, "two_a"), 0), "two_b")
    branches["two"] = (product(y, "two_shortcut"), (f - mean) / np.sqrt(variance + 1e-3) * gamma + beta)
    return branches


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (3, 8, 10, 3)).astype(np.uint8)


def rms(values):
    return float(np.sqrt(np.mean(values**2)))


def test_same_as_numpy(images):
    model = small_model()
    expected = by_numpy(model, images)
    found = Residuals(model)
    sizes = found.measure(images)
    assert [(one.name, one.projected, one.shape) for one in sizes] == [
        ("one", False, (8, 10, 4)),
        ("two", True, (4, 5, 5)),
    ]
    for one in sizes:
        x, f = expected[one.name]
        assert one.shortcut == pytest.approx(rms(x), rel=1e-5) and one.residual == pytest.approx(rms(f), rel=1e-5)
        assert one.output == pytest.approx(rms(x + f), rel=1e-5) and one.ratio == pytest.approx(
            rms(f) / rms(x), rel=1e-5
        )
        assert one.cosine == pytest.approx((x * f).sum() / np.sqrt((x**2).sum() * (f**2).sum()), abs=1e-5)
        for values, wanted in zip(found.maps(images[1], one.name), (x, f)):
            np.testing.assert_allclose(values, wanted[1], rtol=1e-4, atol=1e-3)


def test_follows_the_weights_without_changing_them(images):
    model = small_model()
    found = Residuals(model)
    before, weights = found.measure(images), [w.copy() for w in model.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights()))
    model.get_layer("one_b").set_weights([2 * w for w in model.get_layer("one_b").get_weights()])
    after = found.measure(images)
    assert (
        after[0].residual == pytest.approx(2 * before[0].residual, rel=1e-5) and after[0].shortcut == before[0].shortcut
    )


def test_a_block_that_adds_nothing_and_a_shortcut_of_zeros(images):
    model = small_model()
    model.get_layer("one_b").set_weights([0 * w for w in model.get_layer("one_b").get_weights()])
    model.get_layer("two_shortcut").set_weights([0 * w for w in model.get_layer("two_shortcut").get_weights()])
    one, two = residuals(model, images)
    assert one.ratio == 0 and one.output == one.shortcut and one.cosine == 0
    assert math.isinf(two.ratio) and two.output == two.residual


def test_other_sums_are_not_blocks():
    image = keras.Input((8, 8, 3))
    other = keras.Input((8, 8, 3))
    a, b = conv(3, "a")(image), conv(3, "b")(image)
    both = layers.Add(name="alike")([a, b])  # neither is a shortcut
    strange = layers.Add(name="strange")([other, conv(3, "c")(image)])  # they come from different inputs
    three = layers.Add(name="three")([image, a, b])
    deep = layers.Add(name="deep")([conv(3, "d")(conv(3, "e")(image)), conv(3, "f")(conv(3, "g")(a))])
    nested = layers.Add(name="nested")([image, conv(3, "h")(both)])
    flat = layers.GlobalAveragePooling2D()(layers.Concatenate()([strange, three, deep, nested]))
    vector = layers.Add(name="vector")([flat, layers.Dense(12)(flat)])
    model = keras.Model([image, other], vector)
    assert list(find_blocks(model)) == []
    bare = keras.Model(image, conv(3, "i")(image) + image)
    assert [block.shortcut is bare.input for block in find_blocks(bare)] == [True]
    with pytest.raises(UserError, match="no residual blocks"):
        Residuals(keras.Model(image, both))


@pytest.mark.parametrize(
    ("name", "count", "projected"),
    [
        ("resnet18", 8, 3),
        ("mobilenet_v2", 10, 0),
        pytest.param("resnet34", 16, 3, marks=pytest.mark.exhaustive),
        pytest.param("resnet50", 16, 4, marks=pytest.mark.exhaustive),
        pytest.param("resnet50_v2", 16, 4, marks=pytest.mark.exhaustive),
        pytest.param("efficientnet_lite0", 9, 0, marks=pytest.mark.exhaustive),
        pytest.param("efficientnet_b0", 9, 0, marks=pytest.mark.exhaustive),
        pytest.param("densenet121", 0, 0, marks=pytest.mark.exhaustive),
    ],
)
def test_blocks_of_backbones(name, count, projected):
    from keras_transfer.models.classifier import build_classifier

    blocks = list(find_blocks(build_classifier(name, 3, image_size=(32, 32), weights="none")))
    assert len(blocks) == count and sum(block.projected for block in blocks) == projected
    for block in blocks:
        assert block.shortcut.shape == block.residual.shape


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A model and its file."""
    from keras_transfer.models.bundle import save
    from keras_transfer.models.classifier import build_classifier

    model = build_classifier("resnet18", 3, image_size=(32, 32), weights="none", seed=2)
    path = tmp_path_factory.mktemp("resnet") / "model.keras"
    save(
        model,
        path,
        {"classes": ["apple", "berry", "cherry"], "image_size": [32, 32], "color": "rgb", "resize": "squash"},
    )
    return model, path


def test_native_operations_change_nothing(resnet):
    from keras_transfer.engine.native import install, remove

    images = np.random.default_rng(4).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    plain = residuals(resnet[0], images)
    install(resnet[0], keep_memory=False)
    for one, other in zip(residuals(resnet[0], images), plain):
        np.testing.assert_allclose([one.shortcut, one.residual, one.output], [other.shortcut, other.residual, other.output],
                                   rtol=1e-4)  # fmt: skip
    remove(resnet[0])


@pytest.mark.exhaustive
def test_the_command(resnet, photos, tmp_path, capsys):
    model, path = resnet
    image = photos / "apple" / "000.png"
    arguments = ["explain", "residuals", path, "--json", tmp_path / "r.json", "--output", tmp_path / "r.png", image]
    assert main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    assert [block["name"] for block in report["blocks"]] == [block.name for block in find_blocks(model)]
    assert all(block["name"] in said and f"{block['ratio']:.3g}" in said for block in report["blocks"])
    assert len(report["images"]) == 1 and report["images"][0].endswith("000.png")
    with Image.open(tmp_path / "r.png") as drawn:
        whole = drawn.size
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 20
    assert main([*map(str, arguments), "--layer", "layer2_block1_add"]) == 0
    with Image.open(tmp_path / "r.png") as drawn:
        assert drawn.width == whole[0] and drawn.height < whole[1]


def test_bad_arguments(resnet, photos, tmp_path, capsys):
    path, image, out = resnet[1], photos / "apple" / "000.png", tmp_path / "o.png"
    for arguments, says in [
        ([path, image, "--class", "apple"], "leave out --class"),
        ([path, image, "--layer", "layer2_block1_ad"], "did you mean 'layer2_block1_add'"),
        ([path, image, "--json", tmp_path], "is a folder"),
        ([path], "name the images"),
    ]:
        assert main(["explain", "residuals", *map(str, arguments), "--output", str(out)]) == 2, says
        assert says in capsys.readouterr().err
    assert main(["explain", "gradcam", str(path), str(image), "--json", "x.json", "--output", str(out)]) == 2
    assert "leave out --json" in capsys.readouterr().err
    assert not out.exists()
    for left in (["--outptu", "x"], ["a.png", "--count=2", "--nothing"]):
        with pytest.raises(SystemExit) as stop:
            main(["explain", "residuals", str(path), "--output", str(out), *left])
        assert stop.value.code == 2 and re.match("error: (unknown option|unexpected)", capsys.readouterr().err)
    with pytest.raises(UserError, match=r"\(n, 32, 32, channels\)"):
        residuals(resnet[0], np.zeros((1, 30, 32, 3), np.uint8))
    with pytest.raises(UserError, match="at least one image"):
        residuals(resnet[0], np.zeros((0, 32, 32, 3), np.uint8))


def test_plots_of_many_blocks(tmp_path, images):
    size = residuals(small_model(), images)
    residual_blocks(size * 80, [], tmp_path / "many.png")
    residual_blocks(size[:1], [("one", np.zeros((4, 5, 1)), np.zeros((4, 5, 1)))], tmp_path / "one.png", title="[a]")
    assert (tmp_path / "many.png").stat().st_size > 1000 and (tmp_path / "one.png").stat().st_size > 1000
    assert blocks_table(size).row_count == 2
    with pytest.raises(ValueError, match="at least one"):
        residual_blocks([], [], tmp_path / "none.png")
