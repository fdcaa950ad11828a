"""Grad-CAM of a Keras classifier in plain PyTorch: walks the graph without calling Keras operations."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def gradcam_by_torch(model, images, classes):
    """Return logits (b, C) and Grad-CAM maps (b, h, w) in float64; the feature map is the input of ``pool``."""
    values = {"": torch.tensor(np.asarray(images, np.float64)).permute(0, 3, 1, 2)}
    for layer in model.operations:
        inputs = [values[name] for name in _sources(layer)]
        if layer.name == "pool":
            features = inputs[0].detach().requires_grad_()
            inputs = [features]
        values[layer.name] = _OPERATIONS[type(layer).__name__](layer, *inputs)
    logits = values[model.operations[-1].name]
    chosen = logits.argmax(1) if classes is None else torch.as_tensor(classes)
    logits[torch.arange(len(images)), chosen].sum().backward()
    maps = functional.relu((features.grad.mean((2, 3), keepdim=True) * features).sum(1))
    maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    maps = functional.interpolate(maps[:, None], images.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
    return logits.detach().numpy(), maps.detach().numpy()


def _sources(layer):
    tensors = layer._inbound_nodes[0].input_tensors
    return [tensor._keras_history.operation.name for tensor in tensors] or [""]


def _weights(layer):
    return [torch.tensor(np.asarray(weight, np.float64)) for weight in layer.get_weights()]


def _convolution(layer, x):
    kernel, *bias = _weights(layer)
    groups = kernel.shape[2] if type(layer).__name__ == "DepthwiseConv2D" else 1
    kernel = kernel.permute(2, 3, 0, 1) if groups > 1 else kernel.permute(3, 2, 0, 1)
    if layer.padding == "same":
        x = functional.pad(
            x, [end for axis in (3, 2) for end in _same(x.shape[axis], kernel.shape[axis], layer.strides[0])]
        )
    return functional.conv2d(x, kernel, *bias, stride=layer.strides, groups=groups)


def _same(side, size, stride):
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    return total // 2, total - total // 2


def _rescaling(layer, x):
    scale, offset = (
        torch.tensor(np.asarray(value, np.float64)).reshape(-1, 1, 1) for value in (layer.scale, layer.offset)
    )
    return x * scale + offset


def _batch_norm(layer, x):
    gamma, beta, mean, variance = _weights(layer)
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=layer.epsilon)


def _dense(layer, x):
    kernel, bias = _weights(layer)
    return x @ kernel + bias


def _padding(layer, x):
    (top, bottom), (left, right) = layer.padding
    return functional.pad(x, (left, right, top, bottom))


_OPERATIONS = {
    "InputLayer": lambda layer, x: x,
    "Dropout": lambda layer, x: x,
    "Activation": lambda layer, x: {"relu": functional.relu, "linear": lambda x: x}[layer.activation.__name__](x),
    "Add": lambda layer, x, y: x + y,
    "AveragePooling2D": lambda layer, x: functional.avg_pool2d(x, layer.pool_size, layer.strides),
    "BatchNormalization": _batch_norm,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _convolution,
    "Flip": lambda layer, x: x.flip(1),
    "GlobalAveragePooling2D": lambda layer, x: x.mean((2, 3)),
    "GlobalMaxPooling2D": lambda layer, x: x.amax((2, 3)),
    "MaxPooling2D": lambda layer, x: functional.max_pool2d(x, layer.pool_size, layer.strides),
    "ReLU": lambda layer, x: x.clamp(0, layer.max_value),
    "Rescaling": _rescaling,
    "ZeroPadding2D": _padding,
}
