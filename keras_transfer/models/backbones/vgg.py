"""VGG 16 and 19 (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.preprocessing import CAFFE

_VGG: dict[str, Any] = {
    "family": "VGG",
    "preprocessing": CAFFE,
    "image_size": 224,
    "groups": tuple((f"block{i}", rf"block{i}_") for i in range(1, 6)),
    "licence": "CC-BY-4.0",
    "paper": "Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556",
}

RECORDS = (application("vgg16", "VGG16", **_VGG), application("vgg19", "VGG19", **_VGG))
