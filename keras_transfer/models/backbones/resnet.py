"""ResNet 50, 101 and 152, versions 1 and 2 (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_names import bottleneck_resnet
from keras_transfer.models.backbones.torch_variant import with_torch_variant
from keras_transfer.models.preprocessing import CAFFE, TF

_GROUPS = (
    ("stem", r"conv1_|pool1_"),
    ("conv2", r"conv2_"),
    ("conv3", r"conv3_"),
    ("conv4", r"conv4_"),
    ("conv5", r"conv5_|post_"),
)
_V1: dict[str, Any] = {
    "family": "ResNet",
    "preprocessing": CAFFE,
    "image_size": 224,
    "groups": _GROUPS,
    "licence": "MIT",
    "paper": "He et al. 2015, https://arxiv.org/abs/1512.03385",
}
_V2: dict[str, Any] = {
    "family": "ResNetV2",
    "preprocessing": TF,
    "image_size": 224,
    "groups": _GROUPS,
    "licence": "Apache-2.0",
    "paper": "He et al. 2016, https://arxiv.org/abs/1603.05027",
}


def _v1(name: str, constructor: str, blocks: tuple[int, ...]) -> Backbone:
    """A record whose torch variant has a stage's stride in the second convolution, where Keras has it in the first."""
    return with_torch_variant(
        application(name, constructor, **_V1),
        Checkpoint("torchvision, timm", lambda: bottleneck_resnet(blocks)),
        strides={f"conv{i}_block1_{k}_conv": k for i in (3, 4, 5) for k in (1, 2)},
    )


RECORDS = (
    _v1("resnet50", "ResNet50", (3, 4, 6, 3)),
    _v1("resnet101", "ResNet101", (3, 4, 23, 3)),
    _v1("resnet152", "ResNet152", (3, 8, 36, 3)),
    application("resnet50_v2", "ResNet50V2", **_V2),
    application("resnet101_v2", "ResNet101V2", **_V2),
    application("resnet152_v2", "ResNet152V2", **_V2),
)
