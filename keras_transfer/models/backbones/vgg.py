"""VGG 16 and 19 (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_names import vgg
from keras_transfer.models.backbones.torch_variant import with_torch_variant
from keras_transfer.models.preprocessing import CAFFE

_VGG: dict[str, Any] = {
    "family": "VGG",
    "preprocessing": CAFFE,
    "image_size": 224,
    "groups": tuple((f"block{i}", rf"block{i}_") for i in range(1, 6)),
    "licence": "CC-BY-4.0",
    "paper": "Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556",
}


def _record(name: str, constructor: str, blocks: tuple[int, ...]) -> Backbone:
    return with_torch_variant(
        application(name, constructor, **_VGG), Checkpoint("torchvision, timm", lambda: vgg(blocks))
    )


RECORDS = (_record("vgg16", "VGG16", (2, 2, 3, 3, 3)), _record("vgg19", "VGG19", (2, 2, 4, 4, 4)))
