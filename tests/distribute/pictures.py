"""A small configuration whose batches divide badly, and the comparison of two of its runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.runs import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
CLOSE = 1e-4
PHASES = [
    {"name": "head", "epochs": 2, "learning_rate": 0.01, "schedule": "plateau", "batch_norm": "frozen"},
    {"name": "all", "epochs": 3, "learning_rate": 0.003, "schedule": "cosine", "weight_decay": 0.01, "average": "ema",
     "batch_norm": "frozen"},
]  # fmt: skip
CONFIG = {
    "name": "small",
    "precision": "float32",
    # 47 training images in batches of 15: shares of 8 and 7, and a last batch of 2.
    "data": {"image_size": 32, "batch_size": 15, "augment": ["horizontal_flip", "mixup"], "workers": 1, "accumulate": 1,
             "class_weights": {"apple": 2.0}},
    "model": {"backbone": "tiny", "weights": "none", "label_smoothing": 0.0, "dropout": 0.3},
    "phases": PHASES,
    "output": {"report": False, "plots": False, "save_every": "0 seconds"},
}  # fmt: skip


def weights(found: RunDirectory) -> list[np.ndarray]:
    return kt.load(found.path).model.get_weights()


def assert_same(one: RunDirectory, other: RunDirectory) -> None:
    rows, others = one.read_history(), other.read_history()
    assert len(rows) == len(others) == 5
    for a, b in zip(rows, others):
        for figure in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert a[figure] == pytest.approx(b[figure], abs=CLOSE), (a["phase"], a["epoch"], figure)
    for a, b in zip(weights(one), weights(other)):
        np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE)
