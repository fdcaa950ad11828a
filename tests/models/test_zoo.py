"""Every kind of network that tutorials name builds, freezes, trains a step and predicts."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from benchmarks.zoo import TABLE, page_table, write_page
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.backbones import get
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train

pytestmark = pytest.mark.backend


def one_step(model, side):
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.float32)
    # Through the resting BatchNorms of a network that nothing has trained, features come out as small as 1e-11.
    model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-14), keras.losses.CategoricalCrossentropy(from_logits=True))
    audit = FreezeAudit()
    audit.snapshot(model)
    model.fit(pixels, np.eye(3, dtype="float32")[[0, 2]], batch_size=2, verbose=0)
    audit.check(model)
    assert np.isfinite(model.predict_on_batch(pixels)).all()


# In the contract test of the backbones, mobilenet_v3_small stands for all on every backend; the rest are slow.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "mobilenet_v3_small" else [pytest.mark.exhaustive])
        for name in TABLE
        if name != "alexnet"
    ],  # a recipe does all this with it
)
def test_it_freezes_trains_a_step_and_predicts(name):
    side = max(32, get(name).min_size)
    model = build_classifier(name, 3, side, weights="none")
    counts = apply_train(model, name, "last 1 groups")
    assert counts.trainable > 0 and counts.frozen > 0
    one_step(model, side)


@pytest.mark.exhaustive
def test_the_first_ten_convolutions_of_vgg16_are_frozen_by_its_last_group():
    model = build_classifier("vgg16", 3, 32, weights="none")
    apply_train(model, "vgg16", "last 1 groups")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.trainable for layer in convolutions] == [False] * 10 + [True] * 3


def test_the_table_of_the_page(tmp_path):
    figures = {"parameters": 11_700_000, "MB": 46.8, "prediction images/s": 41.26}
    good = {"name": "resnet18", "status": "ok", "median": 12.34, "figures": figures}
    bad = {"name": "Swin-T", "status": "skipped", "reason": "needs keras-hub"}
    rows = page_table([{"rivals": [good]}, {"rivals": [bad]}]).splitlines()
    assert rows[2].startswith(
        "| ResNet (basic blocks) | `resnet18` | 11.7 | 47 | 12.3 | 41.3 | torchvision | BSD-3-Clause"
    )
    assert rows[3].startswith("| Swin-T | `hub:swin_tiny_224` | skipped |")
    page, measured = tmp_path / "a.md", tmp_path / "a.json"
    page.write_text("before\n<!-- table: begin -->\n<!-- table: end -->\nafter\n")
    measured.write_text(json.dumps({"cases": [{"rivals": [good]}]}))
    for _ in range(2):  # again and again
        write_page([measured], page)
        assert page.read_text() == "\n".join(
            ["before", "<!-- table: begin -->", *rows[:3], "<!-- table: end -->", "after", ""]
        )
