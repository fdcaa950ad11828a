"""The contract that every backbone of the table keeps."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.backbones import get, names
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.groups import layer_groups
from keras_transfer.models.layer_names import backbone_layers, head_layers
from keras_transfer.safety.config import check_config

INPUT_LAYERS = ("image", "grey_to_rgb", "preprocess")
HEAD_LAYERS = ("pool", "dropout", "logits")

pytestmark = pytest.mark.backend

# Built in every test run; the others take long and are marked slow.
LIGHT = {
    "torch": (
        *("tiny", "efficientnet_lite0", "mobilenet", "mobilenet_v2", "mobilenet_v3_small"),
        *("resnet50", "vgg16", "nasnet_mobile", "resnet18", "alexnet"),
    ),
    "tensorflow": ("tiny", "efficientnet_lite0", "mobilenet_v3_small", "nasnet_mobile"),
    "jax": ("tiny", "efficientnet_lite0", "mobilenet_v3_small"),
}


# Above 60 million parameters; built by the same functions as their smaller kin.
LARGE = {
    "nasnet_large", "efficientnet_v2_l", "efficientnet_b7", "convnext_base", "convnext_large", "convnext_xlarge",
}  # fmt: skip


def backbone_cases():
    light = LIGHT[keras.backend.backend()]
    marks = {name: [] if name in light else [pytest.mark.exhaustive] for name in names()}
    marks |= {name: [pytest.mark.exhaustive] for name in LARGE}
    return [pytest.param(name, marks=marks[name]) for name in names()]


def test_every_classification_model_of_keras_applications_is_in_the_table():
    offered = {name for name in dir(keras.applications) if name[0].isupper()}

    def squeeze(name: str) -> str:
        return name.lower().replace("_", "")

    wrapped = [name for name in names() if "keras.applications" in get(name).source]
    assert {squeeze(name) for name in offered} == {squeeze(name) for name in wrapped}


def test_importing_the_table_does_not_import_keras():
    code = (
        "import sys, keras_transfer.models, keras_transfer.models.backbones as b; b.get('resnet50');"
        "sys.exit(sorted({'keras', 'torch', 'tensorflow', 'jax', 'keras_hub'} & set(sys.modules)) != [])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", names())
def test_record_is_complete(name):
    record = get(name)
    assert record.name == name and re.fullmatch(r"[a-z0-9_]+", name)
    pretrained = "imagenet" in record.weights
    assert record.family and record.licence and ("http" in record.source or not pretrained)
    assert {"none"} <= set(record.weights) <= {"imagenet", "none"} and pretrained >= record.embedded
    assert 8 <= record.min_size <= record.image_size <= 600
    assert record.groups is not None and len(record.groups) >= 3
    assert len({group for group, _ in record.groups}) == len(record.groups)
    assert all(re.compile(pattern) for _, pattern in record.groups)
    assert record.anchors in ("previous", "next")


def test_facts_of_some_records():
    assert get("efficientnet_lite0").embedded and not get("mobilenet_v2").embedded
    assert get("tiny").weights == ("none",) != get("resnet18").weights
    # The preprocessing itself is compared with that of keras.applications elsewhere.
    assert all(get(name).preprocessing.channel_order == "bgr" for name in ("resnet50", "resnet152", "vgg16", "vgg19"))
    assert all(get(name).preprocessing.channel_order == "rgb" for name in ("resnet50_v2", "resnet18", "mobilenet_v2"))


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'mobilenet_v2'"):
        get("mobilenetv2")


@pytest.mark.parametrize("name", backbone_cases())
def test_contract(name):
    record = get(name)
    if keras.backend.backend() in record.not_on:
        with pytest.raises(UserError, match="cannot be built on"):
            build_classifier(name, 3, weights="none")
        return
    side = max(64, record.min_size)
    if name == "nasnet_mobile":
        side = 96
    model = build_classifier(name, 3, side, weights="none")
    # What is saved can be loaded: its layers are in the list of those that a model file may name.
    check_config(json.dumps(keras.saving.serialize_keras_object(model)).encode(), name)
    assert_layers_are_in_order(model, record)
    assert_groups_cover(model, record)
    assert_every_kernel_was_drawn(model)
    # A file of such layers loads in a Keras that knows nothing of keras.applications or this package.
    assert all(type(layer) is getattr(keras.layers, type(layer).__name__) for layer in model.layers)
    assert not any(re.search(r"_\d{3,}$", layer.name) and "block" not in layer.name for layer in model.layers[:20])
    assert model.output_shape == (None, 3) and model.output.dtype == "float32"
    with pytest.raises(UserError, match=f"at least {record.min_size} px"):
        build_classifier(name, 3, record.min_size - 1, weights="none")


def assert_every_kernel_was_drawn(model):
    for layer in model.layers:
        for variable in layer.trainable_weights:
            if "kernel" in variable.name and "layer_scale" not in layer.name:
                assert keras.ops.convert_to_numpy(variable).std() > 0, f"{layer.name}/{variable.name}"


def assert_layers_are_in_order(model, record):
    found = [layer.name for layer in model.layers]
    assert found[:2] == ["image", "preprocess"] and found[-3:] == list(HEAD_LAYERS)
    assert model.get_layer("preprocess").compute_dtype == "float32"
    scale = np.ravel(model.get_layer("preprocess").scale)
    np.testing.assert_allclose(scale, record.preprocessing.scale)
    flips = [op for op in model.operations if type(op).__name__ == "Flip"]
    assert len(flips) == (record.preprocessing.channel_order == "bgr")


def assert_groups_cover(model, record):
    groups = layer_groups(model, record.name)
    assert [name for name, _ in groups] == [name for name, _ in record.groups]
    grouped = [layer for _, layers in groups for layer in layers]
    assert len(grouped) == len({id(layer) for layer in grouped}) == len(backbone_layers(model))
    assert all(any(layer.weights for layer in layers) for _, layers in groups)
    outside = {*INPUT_LAYERS, *HEAD_LAYERS}
    assert {layer.name for layer in model.layers} - {layer.name for layer in grouped} <= outside
    assert [layer.name for layer in head_layers(model)] == list(HEAD_LAYERS)
    # A pattern that matched a name of another group would shadow it.
    for layer in grouped:
        matches = [group for group, pattern in record.groups if re.match(pattern, layer.name)]
        assert len(matches) <= 1, f"{layer.name} matches {matches}"
    # Groups follow the data: no layer feeds one of an earlier group.
    number = {layer.name: i for i, (_, layers) in enumerate(groups) for layer in layers}
    for layer in grouped:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        before = [number.get(x._keras_history.operation.name, 0) for x in inputs]
        assert all(n <= number[layer.name] for n in before), layer.name
