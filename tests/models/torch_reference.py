"""PyTorch models written out layer by layer, with torchvision's names: what checkpoints are compared with.

They stand in for torchvision, which need not be installed.
"""

from __future__ import annotations

import torch
from torch import nn


class Bottleneck(nn.Module):
    """A residual block whose stride is in the 3x3 convolution."""

    def __init__(self, channels, filters, stride, project):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.downsample = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * filters, 1, stride, bias=False), nn.BatchNorm2d(4 * filters)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class BottleneckResNet(nn.Module):
    def __init__(self, blocks, classes=7):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, (filters, repeats) in enumerate(zip((64, 128, 256, 512), blocks), start=1):
            layers = []
            for j in range(repeats):
                layers.append(Bottleneck(channels, filters, 2 if i > 1 and j == 0 else 1, j == 0))
                channels = 4 * filters
            setattr(self, f"layer{i}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class VGG(nn.Module):
    """The convolutions, and one linear layer in the place of torchvision's three."""

    def __init__(self, blocks, classes=7):
        super().__init__()
        layers, channels = [], 3
        for filters, convolutions in zip((64, 128, 256, 512, 512), blocks):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, filters, 3, 1, 1), nn.ReLU()]
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(channels, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def conv_norm(channels, filters, kernel, stride, groups, activation):
    layers = [
        nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, channels, filters, stride, expand):
        super().__init__()
        width = channels * expand
        first = [conv_norm(channels, width, 1, 1, 1, nn.ReLU6)] if expand > 1 else []
        depthwise = conv_norm(width, width, 3, stride, width, nn.ReLU6)
        self.conv = nn.Sequential(*first, depthwise, nn.Conv2d(width, filters, 1, bias=False), nn.BatchNorm2d(filters))
        self.shortcut = stride == 1 and channels == filters

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, classes=7):
        super().__init__()
        layers, channels = [conv_norm(3, 32, 3, 2, 1, nn.ReLU6)], 32
        for expand, filters, repeats, stride in self.STAGES:
            for j in range(repeats):
                layers.append(InvertedResidual(channels, filters, stride if j == 0 else 1, expand))
                channels = filters
        self.features = nn.Sequential(*layers, conv_norm(channels, 1280, 1, 1, 1, nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Squeeze(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, width, squeezed):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))))


class MBConv(nn.Module):
    """EfficientNet's block."""

    def __init__(self, channels, filters, kernel, stride, expand):
        super().__init__()
        width = channels * expand
        first = [conv_norm(channels, width, 1, 1, 1, nn.SiLU)] if expand > 1 else []
        depthwise = conv_norm(width, width, kernel, stride, width, nn.SiLU)
        self.block = nn.Sequential(
            *first, depthwise, Squeeze(width, channels // 4), conv_norm(width, filters, 1, 1, 1, None)
        )
        self.shortcut = stride == 1 and channels == filters

    def forward(self, x):
        return x + self.block(x) if self.shortcut else self.block(x)


class EfficientNetB0(nn.Module):
    STAGES = (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )  # fmt: skip

    def __init__(self, classes=7):
        super().__init__()
        layers, channels = [conv_norm(3, 32, 3, 2, 1, nn.SiLU)], 32
        for expand, kernel, stride, filters, repeats in self.STAGES:
            stage = []
            for j in range(repeats):
                stage.append(MBConv(channels, filters, kernel, stride if j == 0 else 1, expand))
                channels = filters
            layers.append(nn.Sequential(*stage))
        self.features = nn.Sequential(*layers, conv_norm(channels, 1280, 1, 1, 1, nn.SiLU))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class SameConv(nn.Conv2d):
    """TensorFlow's ``same`` padding: of an odd sum, the larger half is below and to the right."""

    def forward(self, x):
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(kernel - (side % stride or stride), 0) for side in x.shape[2:])
        return super().forward(
            nn.functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        )


class LiteBlock(nn.Module):
    """EfficientNet-Lite's block, by the names of efficientnet_pytorch."""

    def __init__(self, channels, filters, kernel, stride, expand):
        super().__init__()
        width = channels * expand
        if expand > 1:
            self._expand_conv, self._bn0 = SameConv(channels, width, 1, bias=False), nn.BatchNorm2d(width, 1e-3)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, 1e-3)
        self._project_conv, self._bn2 = SameConv(width, filters, 1, bias=False), nn.BatchNorm2d(filters, 1e-3)
        self.expands, self.shortcut = expand > 1, stride == 1 and channels == filters

    def forward(self, x):
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(nn.functional.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))  # kernel, stride, expand

    def __init__(self, repeats, filters, classes=1000):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, 1e-3)
        blocks, channels = [], 32
        for (kernel, stride, expand), count, width in zip(self.STAGES, repeats, filters):
            for j in range(count):
                blocks.append(LiteBlock(channels, width, kernel, stride if j == 0 else 1, expand))
                channels = width
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280, 1e-3)
        self._fc = nn.Linear(1280, classes)

    def forward(self, x):
        x = self._blocks(nn.functional.relu6(self._bn0(self._conv_stem(x))))
        return self._fc(nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


def randomized(module):
    """Statistics and scales that are not the trivial ones, and activations that keep their size."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
            nn.init.normal_(layer.running_mean, 0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    for name, layer in module.named_modules():
        if name.endswith("bn3"):  # or a deep residual network's logits run into the thousands
            layer.weight.data *= 0.2
    return module.eval()
