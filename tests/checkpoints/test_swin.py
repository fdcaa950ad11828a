"""Swin and Swin V2 of timm and transformers: the same features, with windows that fit, that do not, and that are larger than the map."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.checkpoints.references import (
    by_openvino,
    check_every_weight_matters,
    check_its_file_is_taken,
    computed,
    converted,
    nchw,
    noise,
    relative,
    timm_features,
    timm_folder,
    torch,
    transformers,
    transformers_folder,
)

SMALL = {"embed_dim": 16, "depths": (2, 2, 1), "num_heads": (2, 4, 4)}
# timm's architecture → its arguments, the trained size and another
TIMM = {
    "swin_tiny_patch4_window7_224": ({"window_size": 4}, (64, 48), (48, 40)),
    "swin_s3_tiny_224": ({"window_size": (3, 4, 2)}, (48, 64), (56, 40)),
    "swinv2_tiny_window8_256": ({"window_size": 4}, (64, 48), (48, 40)),
    "swinv2_base_window12to16_192to256": ({"window_size": 6, "pretrained_window_sizes": (4, 4, 2)}, (48, 64), (72, 40)),
}


def _everywhere(names, chosen):
    return [pytest.param(name, marks=[pytest.mark.backend] if name in chosen else []) for name in names]


def _pooled(network, images):
    return computed(network, images).mean((1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", _everywhere(TIMM, ("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256")))
def test_timm(architecture, tmp_path):
    arguments, trained, other = TIMM[architecture]
    theirs = timm_folder(tmp_path, architecture, img_size=trained, **SMALL, **arguments)
    ours = converted(tmp_path, trained)
    features = _pooled(ours, noise(trained))
    assert relative(features, timm_features(theirs, noise(trained))) < 1e-5
    with torch.no_grad():
        logits = features @ theirs.head.fc.weight.numpy().T + theirs.head.fc.bias.numpy()
        assert relative(logits, theirs(nchw(noise(trained))).numpy()) < 1e-5
    assert relative(by_openvino(ours, noise(trained)).mean((1, 2)), features) < 1e-5
    check_every_weight_matters(ours, noise(trained, 1))
    check_its_file_is_taken(ours)
    theirs.set_input_size(other, window_size=arguments["window_size"])
    assert relative(_pooled(converted(tmp_path, other), noise(other)), timm_features(theirs, noise(other))) < 1e-5


T = transformers
CONFIG = {"embed_dim": 16, "depths": [2, 2, 1], "num_heads": [2, 4, 4], "patch_size": 4, "image_size": 64}
TRANSFORMERS = {
    "swin": lambda: T.SwinForImageClassification(T.SwinConfig(**CONFIG, window_size=4)),
    "swin without prefix": lambda: T.SwinModel(T.SwinConfig(**CONFIG, window_size=4, qkv_bias=False)),
    "swinv2": lambda: T.Swinv2ForImageClassification(T.Swinv2Config(**CONFIG, window_size=4)),
    "swinv2 of larger windows": lambda: T.Swinv2Model(
        T.Swinv2Config(**CONFIG, window_size=5, pretrained_window_sizes=[3, 3, 2])
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name, tmp_path):
    theirs = transformers_folder(tmp_path, TRANSFORMERS[name]())
    for size in ((64, 64), (72, 90)):  # the other fills neither its patches nor its windows
        images, ours = noise(size), converted(tmp_path, size)
        with torch.no_grad():
            expected = theirs.base_model(nchw(images)).pooler_output.numpy()
        assert relative(_pooled(ours, images), expected) < 1e-5
    check_every_weight_matters(ours, images[:1])


@pytest.mark.slow
@pytest.mark.backend
def test_gradients_are_finite_where_windows_are_padded(tmp_path):
    """Padding has keys of zero, whose direction is not defined."""
    timm_folder(tmp_path, "swinv2_tiny_window8_256", img_size=(40, 56), window_size=4, **SMALL)
    network = converted(tmp_path, (40, 56))
    features = keras.layers.GlobalAveragePooling2D()(network.output)
    model = keras.Model(network.input, keras.layers.Dense(2)(features))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [np.array(weight) for weight in model.weights]
    model.fit(noise((40, 56)), np.array([0, 1]), verbose=0)
    assert all(np.isfinite(np.array(weight)).all() for weight in model.weights)
    assert not all(np.array_equal(np.array(weight), old) for weight, old in zip(model.weights, before))


@pytest.mark.slow
def test_export_to_onnx(tmp_path):
    """Positions and masks, which are the same for every picture, are constants of the file."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    if keras.backend.backend() != "torch":
        pytest.skip("written from PyTorch")
    from keras_transfer.export import to_onnx

    small = {**SMALL, "depths": (1, 2), "num_heads": (2, 4)}
    timm_folder(tmp_path, "swinv2_tiny_window8_256", img_size=(64, 48), window_size=4, **small)
    network, images = converted(tmp_path, (64, 48)), noise((64, 48), 3)
    model = keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))
    to_onnx.write(model, tmp_path / "model.onnx", {}, "float32", images)
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert kinds.isdisjoint({"Exp", "Sigmoid", "Tile"})  # of the scale and of the network of distances
    session = to_onnx.open_file(tmp_path / "model.onnx", to_onnx.output_names(model)[0])
    assert relative(session(images), computed(model, images)) < 1e-4
