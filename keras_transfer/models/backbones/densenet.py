"""DenseNet 121, 169 and 201 (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.preprocessing import TORCH

_DENSENET: dict[str, Any] = {
    "family": "DenseNet",
    "preprocessing": TORCH,
    "image_size": 224,
    # A transition (pool2_ …) belongs to the dense block before it; the last BatchNorm is named "bn".
    "groups": (
        ("stem", r"conv1_|pool1"),
        ("conv2", r"conv2_|pool2_"),
        ("conv3", r"conv3_|pool3_"),
        ("conv4", r"conv4_|pool4_"),
        ("conv5", r"conv5_|bn$|relu$"),
    ),
    "licence": "BSD-3-Clause",
    "paper": "Huang et al. 2016, https://arxiv.org/abs/1608.06993",
}

RECORDS = (
    application("densenet121", "DenseNet121", **_DENSENET),
    application("densenet169", "DenseNet169", **_DENSENET),
    application("densenet201", "DenseNet201", **_DENSENET),
)
