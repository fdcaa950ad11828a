"""Vision transformers of keras-hub: built from an architecture alone, frozen, trained for a step, saved, loaded."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.models import bundle
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train

pytestmark = pytest.mark.backend

SIDE = 32
COMMON = {"image_shape": (SIDE, SIDE, 3), "num_heads": 2, "hidden_dim": 16, "num_layers": 2}
# model → its class's prefix in keras-hub, its arguments, the shape of its grid of patches
ARCHITECTURES = {
    "vit": ("ViT", {**COMMON, "patch_size": 8, "mlp_dim": 32}, (4, 4, 16)),
    "deit": ("DeiT", {**COMMON, "patch_size": 8, "intermediate_dim": 32}, (4, 4, 16)),
    "dinov2": (
        "DINOV2",
        {**COMMON, "patch_size": 8, "intermediate_dim": 32, "num_register_tokens": 4, "position_embedding_shape": (64, 64, 3)},
        (4, 4, 16),
    ),
    "swin": (
        "SwinTransformer",
        {"image_shape": (SIDE, SIDE, 3), "embed_dim": 8, "depths": (1, 2), "num_heads": (1, 2), "window_size": 2},
        (4, 4, 16),
    ),
}  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name == "vit" else [pytest.mark.exhaustive]) for name in ARCHITECTURES],
)
def preset(request, tmp_path_factory):
    """A preset folder of random weights: its name, the backbone, the grid."""
    hub = pytest.importorskip("keras_hub")
    kind, arguments, grid = ARCHITECTURES[request.param]
    backbone = getattr(hub.models, f"{kind}Backbone")(**arguments)
    folder = tmp_path_factory.mktemp(request.param)
    backbone.save_to_preset(str(folder))
    converter = getattr(hub.layers, f"{kind}ImageConverter")(image_size=(SIDE, SIDE), scale=1 / 255, offset=-0.5)
    converter.save_to_preset(str(folder))
    return f"hub:{folder}", backbone, grid


@pytest.mark.slow
def test_it_builds_freezes_trains_a_step_and_predicts(preset, tmp_path):
    name, backbone, grid = preset
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.float32)
    model = build_classifier(name, 3, weights="imagenet")
    assert model.get_layer("pool").input.shape[1:] == grid
    expected = np.asarray(backbone.predict(pixels / 255 - 0.5, verbose=0))[:, -grid[0] * grid[1] :].mean(axis=1)
    pooled = keras.Model(model.input, model.get_layer("pool").output).predict(pixels, verbose=0)
    np.testing.assert_allclose(pooled, expected, atol=1e-5 * np.abs(expected).max())

    for train in ("head", "all"):
        counts = apply_train(model, name, train)
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
        audit = FreezeAudit()
        audit.snapshot(model)
        model.fit(pixels, np.eye(3, dtype="float32")[[0, 1, 2, 0]], batch_size=4, epochs=2, verbose=0)
        audit.check(model)
        assert counts.layers == ("logits",) if train == "head" else len(counts.layers) > 2

    bundle.save(model, tmp_path / "a.keras", {"classes": ["a", "b", "c"]}, pixels.astype(np.uint8))
    loaded, facts = bundle.load(tmp_path / "a.keras")
    assert facts["requires"] == ["keras_hub"]
    np.testing.assert_allclose(loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0), atol=1e-4)


def test_another_size_of_images(preset):
    model = build_classifier(preset[0], 2, 64, weights="none")
    assert model.get_layer("pool").input.shape[1:] == (8, 8, 16)
