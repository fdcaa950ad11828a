"""Inception-v3, Inception-ResNet-v2 and Xception (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.preprocessing import TF

# Keras names most layers by running numbers, but not the concatenation that ends a module: it is the anchor of all
# layers since the previous one.
_V3_GROUPS = tuple((f"mixed{i}", rf"mixed{i}$") for i in range(11))
_INCEPTION_RESNET_GROUPS = (
    ("mixed_5b", r"mixed_5b"),
    ("block35", r"block35_"),
    ("mixed_6a", r"mixed_6a"),
    ("block17", r"block17_"),
    ("mixed_7a", r"mixed_7a"),
    ("block8", r"block8_"),
    ("top", r"conv_7b"),
)
_COMMON: dict[str, Any] = {"preprocessing": TF, "image_size": 299, "licence": "Apache-2.0"}

RECORDS = (
    application(
        "inception_v3",
        "InceptionV3",
        family="Inception",
        groups=_V3_GROUPS,
        anchors="next",
        min_size=75,
        paper="Szegedy et al. 2015, https://arxiv.org/abs/1512.00567",
        **_COMMON,
    ),
    application(
        "inception_resnet_v2",
        "InceptionResNetV2",
        family="Inception-ResNet",
        groups=_INCEPTION_RESNET_GROUPS,
        anchors="next",
        min_size=75,
        paper="Szegedy et al. 2016, https://arxiv.org/abs/1602.07261",
        **_COMMON,
    ),
    application(
        "xception",
        "Xception",
        family="Xception",
        # The shortcut's convolution is named by a running number and comes after its block's first layers.
        groups=tuple((f"block{i}", rf"block{i}_") for i in range(1, 15)),
        min_size=71,
        paper="Chollet 2016, https://arxiv.org/abs/1610.02357",
        **{**_COMMON, "licence": "MIT"},
    ),
)
