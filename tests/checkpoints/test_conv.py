"""Convolutional checkpoints compute what timm and transformers compute, use every tensor, and train, save and export like any backbone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import UserError
from keras_transfer.export import formats
from keras_transfer.models.checkpoints.convert import convert
from keras_transfer.models.checkpoints.families import FAMILIES
from keras_transfer.models.checkpoints.tensors import read_checkpoint
from tests.checkpoints.conv_references import CASES, LARGE_CASES, Case, Reference, pictures, reference
from tests.checkpoints.references import check_every_weight_matters, check_its_file_is_taken, timm

safetensors = pytest.importorskip("safetensors.numpy")
TOLERANCE = 1e-5  # of the largest feature
Make = Callable[[Case], Reference]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that builds the reference of a case once."""
    made: dict[int, Reference] = {}

    def make(case: Case) -> Reference:
        if id(case) not in made:
            made[id(case)] = reference(case, tmp_path_factory.mktemp("checkpoint"))
        return made[id(case)]

    return make


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def _features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    found = keras.ops.convert_to_numpy(model(images, training=False))
    return found.mean((1, 2)) if found.ndim == 4 else found


def _network(folder: Path, size: tuple[int, int]) -> keras.Model:
    return convert(read_checkpoint(folder), size)


def _check(case: Case, ref: Reference) -> None:
    for size in case.sizes:
        images, checkpoint = pictures(size), read_checkpoint(ref.folder)
        network = convert(checkpoint, size)
        found, wanted = _features(network, images), ref.features(images)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= case.tolerance * np.abs(wanted).max()
        # The tolerance would notice features that do not depend on the picture.
        assert np.abs(wanted[0] - wanted[1]).max() > 1e-3 * np.abs(wanted).max()
        if ref.logits and ref.head:
            logits = ref.logits(images)
            assert np.abs(found @ ref.head[0].T + ref.head[1] - logits).max() <= case.tolerance * np.abs(logits).max()
    check_its_file_is_taken(network)
    check_every_weight_matters(network, images, "attn_key_norm/(beta|moving_mean)")
    assert len(network.weights) == len(list(checkpoint.tensors)) - len(checkpoint.tensors.left())


# Between them: both paddings, depthwise and grouped kernels, squeeze and excitation, GRN, LayerNorm, concatenation.
EVERYWHERE = ("convnextv2_nano", "densenet121", "test_efficientnet", "tf_efficientnetv2_b0", "resnext50_32x4d")
EACH = [
    pytest.param(case, id=str(case), marks=[pytest.mark.backend] if case.name in EVERYWHERE else []) for case in CASES
]


@pytest.mark.parametrize("case", EACH)
def test_features_and_logits_equal_the_reference(case: Case, saved: Make) -> None:
    _check(case, saved(case))


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", LARGE_CASES, ids=str)
def test_features_of_larger_networks(case: Case, tmp_path: Path) -> None:
    _check(case, reference(case, tmp_path))


def _changed(source: Path, target: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    tensors = safetensors.load_file(source / "model.safetensors")
    change(tensors)
    safetensors.save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text((source / "config.json").read_text())
    return target


@pytest.mark.parametrize(
    "name", ["test_convnext", "resnet10t", "test_efficientnet", "densenet121", "RegNetForImageClassification"]
)
def test_missing_or_unknown_tensor_is_an_error_that_names_it(name: str, saved: Make, tmp_path: Path) -> None:
    folder = saved(_case(name)).folder
    names = [key for key in read_checkpoint(folder).tensors if re.search(r"conv|fc1|gamma|norm", key)]
    names = [key for key in names if not re.search(r"num_batches|^head|classifier", key)]
    for key in names[1 :: len(names) // 2]:
        _changed(folder, tmp_path, lambda tensors, key=key: tensors.pop(key))
        with pytest.raises(UserError) as error:
            _network(tmp_path, (64, 64))
        assert key.rpartition(".")[0].rpartition(".")[0] in str(error.value)  # its block
    _changed(folder, tmp_path, lambda tensors: tensors.update(surplus=np.zeros(3, np.float32)))
    with pytest.raises(UserError, match="surplus"):
        _network(tmp_path, (64, 64))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("resnet10t", "layer1.0.conv1.weight", "layer2.0.downsample.1.weight"),
        ("test_convnext", "stages.1.blocks.0.mlp.fc1.weight", "stages.1.blocks.0.mlp.fc2.weight"),
        ("test_efficientnet", "blocks.1.0.conv_exp.weight", "blocks.1.0.conv_pwl.weight"),
        ("mobilenetv4_conv_small_035", "blocks.2.0.dw_start.conv.weight", "blocks.3.0.dw_start.conv.weight"),
    ],
)
def test_swapped_tensors_are_an_error(name: str, one: str, other: str, saved: Make, tmp_path: Path) -> None:
    def swap(tensors: dict[str, np.ndarray]) -> None:
        tensors[one], tensors[other] = tensors[other], tensors[one]

    folder = _changed(saved(_case(name)).folder, tmp_path, swap)
    with pytest.raises(UserError, match="shape"):
        _network(folder, (64, 64))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("resnet10t", {"architecture": "resnet18"}),
        ("resnet10t", {"architecture": "resnext50_32x4d"}),
        ("resnet10t", {"model_args": {"aa_layer": "blur"}}),
        ("resnet10t", {"model_args": {"layers": [1, 1, "1", 1]}}),
        ("test_convnext", {"architecture": "test_convnext2"}),
        ("test_efficientnet", {"architecture": "efficientnet_b0"}),
        ("ResNetForImageClassification", {"depths": [1, 3, 1, 1]}),
        ("ResNetForImageClassification", {"depths": "many"}),
        ("RegNetForImageClassification", {"groups_width": 4}),
    ],
)
def test_config_of_another_network_is_an_error(
    name: str, change: dict[str, object], saved: Make, tmp_path: Path
) -> None:
    folder = _changed(saved(_case(name)).folder, tmp_path, lambda tensors: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError):
        _network(folder, (64, 64))


def test_masked_pretraining_alone_has_no_norm(saved: Make, tmp_path: Path) -> None:
    """timm's ``fcmae`` checkpoints have no norm after pooling; timm fills in one without effect."""
    ref = saved(_case("convnextv2_nano"))

    def headless(tensors: dict[str, np.ndarray]) -> None:
        for key in [key for key in tensors if key.startswith("head.")]:
            del tensors[key]

    folder = _changed(ref.folder, tmp_path, headless)
    with pytest.raises(UserError, match=r"head\.norm"):
        _network(folder, (64, 64))
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["tag"] = "fcmae"
    (folder / "config.json").write_text(json.dumps(config))
    images = pictures((64, 64))
    tensors = safetensors.load_file(ref.folder / "model.safetensors")
    wanted = (ref.features(images) - tensors["head.norm.bias"]) / tensors["head.norm.weight"]
    assert np.abs(_features(_network(folder, (64, 64)), images) - wanted).max() <= TOLERANCE * np.abs(wanted).max()


# One for each kind of layer: layer norm, response norm, depthwise, attention, squeeze-and-excitation, groups, concatenation.
_KINDS = [
    *("convnextv2_nano", "test_efficientnet", "resnext50_32x4d"),
    *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("mobilenetv4_hybrid_medium_075", "densenet121")),
]


@pytest.mark.parametrize("name", _KINDS)
def test_saved_classifier_loads_in_plain_keras(name: str, saved: Make, tmp_path: Path) -> None:
    clf = kt.Classifier(str(saved(_case(name)).folder), classes=["a", "b"], image_size=64)
    clf.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(loaded(images)), keras.ops.convert_to_numpy(clf.model(images)), atol=1e-5
    )


@pytest.mark.parametrize(
    "name",
    [
        "convnextv2_nano",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("test_efficientnet", "resnext50_32x4d", "densenet121")
        ),
    ],
)
def test_export_to_onnx(name: str, saved: Make, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    clf = kt.Classifier(str(saved(_case(name)).folder), classes=["a", "b"], image_size=64)
    to_onnx = formats.get("onnx").module()
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.float32)
    to_onnx.write(clf.model, tmp_path / "model.onnx", {"class_names": ["a", "b"]}, "float32", images)
    found = to_onnx.open_file(tmp_path / "model.onnx")(images)
    logits = keras.ops.convert_to_numpy(clf.model(images))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert min(np.abs(found - logits).max(), np.abs(found - probabilities).max()) <= 1e-4


def test_last_groups_train_alone(saved: Make) -> None:
    """Groups are blocks; the head after the pooling belongs to the last."""
    from keras_transfer.models.freeze import apply_train
    from keras_transfer.models.groups import layer_groups

    folder = str(saved(_case("mobilenetv4_conv_small_035")).folder)
    clf = kt.Classifier(folder, classes=["a", "b"], image_size=64)
    groups = [name for name, _ in layer_groups(clf.model, folder)]
    assert groups[:3] == ["stem", "stage0block0", "stage0block1"]
    assert groups[-2:] == ["stage3block5", "stage4block0"]
    apply_train(clf.model, folder, "last 2 groups", batch_norm="train")
    trained = {weight.path.split("_")[0] for weight in clf.model.trainable_weights}
    assert trained == {"stage3block5", "stage4block0", "head", "logits/kernel", "logits/bias"}
    before = [weight.numpy() if hasattr(weight, "numpy") else np.array(weight) for weight in clf.model.weights]
    clf.model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.float32)
    loss = clf.model.fit(images, np.arange(8) % 2, verbose=0).history["loss"][0]
    assert np.isfinite(loss)
    moved = {
        weight.path.split("_")[0]
        for weight, old in zip(clf.model.weights, before)
        if weight.trainable and not np.array_equal(keras.ops.convert_to_numpy(weight), old)
    }
    assert moved == trained


def test_gradient_of_response_norm_is_finite_for_a_dead_channel(saved: Make) -> None:
    model = _network(saved(_case("convnextv2_nano")).folder, (64, 64))
    layer = next(layer for layer in model.layers if layer.name.endswith("mlp_fc1"))
    kernel, bias = layer.get_weights()
    kernel[:, 0], bias[0] = 0, -100  # GELU is exactly zero there
    layer.set_weights([kernel, bias])
    outputs = keras.layers.Dense(2)(model.output)
    whole = keras.Model(model.input, outputs)
    whole.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    whole.fit(pictures((64, 64)), np.array([0, 1]), verbose=0)
    assert all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in whole.weights)


def test_no_name_of_timm_is_of_two_families() -> None:
    for name in timm.list_models():
        owners = [family.name for family in FAMILIES if family.timm and re.fullmatch(family.timm, name)]
        assert len(owners) <= 1, (name, owners)
    for family in FAMILIES:
        for name in family.examples:
            assert not family.timm or re.fullmatch(family.timm, name), name
