"""Hand-written PyTorch backbones: plain `torch.nn`, followed by pooling and a linear layer.

They have the convolutions of the Keras models (the tests compare their kernels), but no biases before a BatchNorm, as is usual
in PyTorch, which saves a little work.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile

import torch
from torch import Tensor, nn

from keras_transfer.errors import UserError

CLASSES = 10
_LIBRARIES: list[torch.library.Library] = []


class Scale(nn.Module):
    """uint8 (b, 3, h, w) to floats in -1..1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 127.5 - 1.0


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: str = "relu") -> nn.Sequential:
    """Convolution, BatchNorm and "relu", "relu6" or "" in a row."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True) if relu == "relu" else nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


def classifier(*features: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(Scale(), *features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Bottleneck(nn.Module):
    """ResNet's block (He et al., 2015): the stride is in the first convolution, as in Keras."""

    def __init__(self, inputs: int, width: int, stride: int, project: bool):
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, width, 1, stride), conv(width, width, 3), conv(width, 4 * width, 1, relu="")
        )
        self.shortcut = conv(inputs, 4 * width, 1, stride, relu="") if project else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    blocks, inputs = [], 64
    for width, repeats, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(repeats):
            blocks.append(Bottleneck(inputs, width, stride if i == 0 else 1, i == 0))
            inputs = 4 * width
    return classifier(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks, channels=2048)


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al., 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int):
        super().__init__()
        width = inputs * expand
        self.body = nn.Sequential(
            *([conv(inputs, width, 1, relu="relu6")] if expand > 1 else []),
            conv(width, width, kernel, stride, groups=width, relu="relu6"),
            conv(width, outputs, 1, relu=""),
        )
        self.add = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.add else self.body(x)


def _inverted_residuals(stages: tuple[tuple[int, int, int, int, int], ...]) -> nn.Module:
    """Stages of (repeats, kernel, stride, expand, channels) between a stem of 32 and a top of 1280 channels."""
    blocks, inputs = [], 32
    for repeats, kernel, stride, expand, outputs in stages:
        for i in range(repeats):
            blocks.append(InvertedResidual(inputs, outputs, kernel, stride if i == 0 else 1, expand))
            inputs = outputs
    return classifier(conv(3, 32, 3, 2, relu="relu6"), *blocks, conv(320, 1280, 1, relu="relu6"), channels=1280)


def mobilenet_v2() -> nn.Module:
    return _inverted_residuals(
        (
            (1, 3, 1, 1, 16),
            (2, 3, 2, 6, 24),
            (3, 3, 2, 6, 32),
            (4, 3, 2, 6, 64),
            (3, 3, 1, 6, 96),
            (3, 3, 2, 6, 160),
            (1, 3, 1, 6, 320),
        )
    )


def efficientnet_lite0() -> nn.Module:
    return _inverted_residuals(
        (
            (1, 3, 1, 1, 16),
            (2, 3, 2, 6, 24),
            (2, 5, 2, 6, 40),
            (3, 3, 2, 6, 80),
            (3, 5, 1, 6, 112),
            (4, 5, 2, 6, 192),
            (1, 3, 1, 6, 320),
        )
    )


def vgg16() -> nn.Module:
    """Simonyan and Zisserman, 2014, without its two large layers."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return classifier(*layers, channels=512)


def vit_small() -> nn.Module:
    """timm's ViT-S/16 (Dosovitskiy et al., 2020) at 224 px, with its attention in one kernel."""
    return nn.Sequential(Scale(), _timm_vit_small())


def _timm_vit_small() -> nn.Module:
    _name_kernels_of_torchvision()
    try:
        import timm
    except ImportError:
        raise UserError("vit_small needs timm: pip install timm") from None
    return timm.create_model("vit_small_patch16_224", num_classes=CLASSES)


def _name_kernels_of_torchvision() -> None:
    """Let timm import a torchvision that was built for another PyTorch: of its kernels it needs the names of two."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        _LIBRARIES.append(torch.library.Library("torchvision", "DEF"))  # kept: the names go with it
        for name in ("nms", "qnms"):
            _LIBRARIES[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def checkpoint(name: str) -> str:
    """Write timm's vit_small with random weights as a checkpoint and return its folder, which is removed at exit."""
    assert name == "vit_small"
    module = _timm_vit_small()
    from timm.models import save_for_hf

    folder = tempfile.mkdtemp(prefix="keras_transfer_benchmark_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_for_hf(module, folder, safe_serialization=True)
    return folder


MODELS = {
    "vit_small": vit_small,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "vgg16": vgg16,
    "efficientnet_lite0": efficientnet_lite0,
}
