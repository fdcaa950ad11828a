"""Freezing: which layers train, how many parameters, and BatchNorm's mode."""

from __future__ import annotations

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_transfer
from keras_transfer.errors import UserError
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train, freeze_batch_norm, kept_flags, unfreeze
from keras_transfer.models.layer_names import backbone_layers

pytestmark = pytest.mark.backend

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)


@pytest.fixture
def model() -> keras.Model:
    return build_classifier("tiny", 4, weights="none")


def training(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if layer.trainable_weights]


def test_head(model):
    counts = apply_train(model, "tiny", "head")
    assert training(model) == ["logits"] == list(counts.layers)
    assert counts.trainable == 32 * 4 + 4
    assert counts.frozen + counts.trainable == model.count_params()
    assert str(counts).startswith("132 parameters train in 1 layers")


def test_all(model):
    counts = apply_train(model, "tiny", "all")
    assert len(counts.layers) == 9
    statistics = 2 * (8 + 16 + 16 + 32)
    assert counts.frozen == statistics and counts.trainable == model.count_params() - statistics


def test_last_groups(model):
    counts = apply_train(model, "tiny", "last 1 groups")
    assert counts.layers == ("block2_depthwise", "block2_depthwise_bn", "block2_conv", "block2_bn", "logits")
    assert apply_train(model, "tiny", " last  2 group ").layers[0] == "block1_conv"


def test_patterns_train_their_layers_and_the_head(model):
    assert apply_train(model, "tiny", ["stem_*", "block1_bn"]).layers == ("stem_conv", "stem_bn", "block1_bn", "logits")
    assert apply_train(model, "tiny", "block1_conv").layers == ("block1_conv", "logits")


def test_a_later_call_undoes_an_earlier_one(model):
    apply_train(model, "tiny", "head")
    assert len(apply_train(model, "tiny", "all").layers) == 9
    model.trainable = False
    assert apply_train(model, "tiny", "head").layers == ("logits",)


def test_batch_norm_frozen_holds_in_every_phase(model):
    counts = apply_train(model, "tiny", "all", batch_norm="frozen")
    assert counts.layers == ("stem_conv", "block1_conv", "block2_depthwise", "block2_conv", "logits")
    assert not any(la.trainable for la in model.layers if isinstance(la, keras.layers.BatchNormalization))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("last 4 groups", r"has 3 layer groups \(stem, block1, block2\), expected 1 to 3"),
        ("last 0 groups", "expected 1 to 3"),
        ("hed", "did you mean 'head'"),
        (["stem_*", "block9_conv"], "no layer matches 'block9_conv'; did you mean 'block"),
    ],
)
def test_what_matches_nothing_is_an_error(model, train, message):
    with pytest.raises(UserError, match=message):
        apply_train(model, "tiny", train)


def test_unknown_batch_norm(model):
    with pytest.raises(UserError, match="unknown batch_norm 'freeze'; did you mean 'frozen'"):
        apply_train(model, "tiny", "all", batch_norm="freeze")


def test_frozen_batch_norm_infers_while_dropout_stays_on(model):
    """A frozen backbone gives its inference features in a training step; the head's dropout still drops."""
    apply_train(model, "tiny", "head")
    features = keras.Model(model.input, model.get_layer("pool").output)
    trained = keras.ops.convert_to_numpy(features(PIXELS, training=True))
    inferred = keras.ops.convert_to_numpy(features(PIXELS, training=False))
    np.testing.assert_allclose(trained, inferred, atol=1e-5)
    steps = [keras.ops.convert_to_numpy(model(PIXELS, training=True)) for _ in range(2)]
    assert np.abs(steps[0] - steps[1]).max() > 1e-4


def test_training_batch_norm_does_not_infer(model):
    apply_train(model, "tiny", "all")
    features = keras.Model(model.input, model.get_layer("pool").output)
    trained = keras.ops.convert_to_numpy(features(PIXELS, training=True))
    inferred = keras.ops.convert_to_numpy(features(PIXELS, training=False))
    assert np.abs(trained - inferred).max() > 1e-2


def test_frozen_statistics_survive_a_fit(model):
    apply_train(model, "tiny", "all", batch_norm="frozen")
    norms = [la for la in backbone_layers(model) if isinstance(la, keras.layers.BatchNormalization)]
    before = [norm.get_weights() for norm in norms]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(PIXELS, np.arange(8) % 4, verbose=0)
    for norm, old in zip(norms, before):
        for a, b in zip(old, norm.get_weights()):
            np.testing.assert_array_equal(a, b)


def flags(model: keras.Model) -> list[bool]:
    return [layer.trainable for layer in [model, *model.layers]]


def test_flags_are_restored_even_after_an_error(model):
    apply_train(model, "tiny", "last 1 groups", batch_norm="frozen")
    before = flags(model)
    with pytest.raises(RuntimeError), kept_flags(model):
        unfreeze(model)
        assert all(flags(model))
        raise RuntimeError
    assert flags(model) == before
    for layer in [model, *model.layers]:
        layer.trainable = False
    with kept_flags(model):
        unfreeze(model)
        assert all(flags(model))
    assert not any(flags(model))


def test_freeze_batch_norm_enters_nested_models(model):
    outer = keras.Sequential([model])
    freeze_batch_norm(outer)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and not any(layer.trainable for layer in norms)
    assert model.get_layer("logits").trainable


def test_no_other_module_sets_trainable():
    root = Path(keras_transfer.__file__).parent
    for path in root.rglob("*.py"):
        if path in (root / "models" / "freeze.py", root / "models" / "adapters.py"):
            continue
        if path != root / "keras_compat" / "__init__.py":  # which has it for these two
            assert "set_trainable" not in path.read_text(encoding="utf-8"), path
        else:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found = [n for target in targets if target for n in ast.walk(target)]
            assert not any(isinstance(n, ast.Attribute) and n.attr == "trainable" for n in found), (
                f"{path}:{node.lineno}: use a function of models/freeze.py"
            )
