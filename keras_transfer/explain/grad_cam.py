"""Grad-CAM: which parts of an image support a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import cv2
import keras
import numpy as np

from keras_transfer.errors import UserError, unknown
from keras_transfer.explain.gradients import logit_gradients
from keras_transfer.keras_compat.locks import lock_of

_PATCHES, _ATTENTION = "stem_patches", re.compile(r"block\d+_qkv")  # names of layers in transformers
Classes = int | Sequence[int] | np.ndarray | None


class GradCam:
    """Grad-CAM of a model, prepared once for any number of calls.

    The model is split at a layer's output: images to features, and features to logits. Both parts share the model's
    layers, so later changes of its weights apply.

    Args:
        model: a functional ``keras.Model`` from images (b, h, w, c) to logits (b, C).
        layer: name of a layer whose output is a feature map (b, h, w, c); None: the input of the pooling layer, or in a transformer the
            patches' tokens that its last attention reads (a class token reads no others).

    Raises:
        UserError: no such layer, or its output is not a feature map.
    """

    def __init__(self, model: Any, layer: str | None = None):
        features = feature_map(model, layer)
        self._lock = lock_of(model)
        self.size = tuple(int(side) for side in model.input_shape[1:3])
        self.classes = int(model.output_shape[-1])
        self.grid = patch_grid(model) if len(features.shape) == 3 else None
        self.body = keras.Model(model.input, features)
        try:
            self.head, self.separates = keras.Model(features, model.output), True
        except ValueError:  # other paths bypass the layer and start at the image
            self.head, self.separates = keras.Model([features, model.input], model.output), False

    def __call__(self, images: np.ndarray, class_index: Classes = None) -> np.ndarray:
        """Return the maps; see :func:`gradcam`."""
        images = checked_images(images, self.size)
        classes = checked_classes(class_index, len(images), self.classes)
        with self._lock:
            features = np.asarray(self.body.predict_on_batch(images), np.float32)
            _, gradient = logit_gradients(self.head, [features] if self.separates else [features, images], classes)
        features, gradient = self._as_maps(features), self._as_maps(gradient)
        importance = gradient.mean(axis=(1, 2), keepdims=True)
        maps = np.maximum((importance * features).sum(axis=-1), 0)
        highest = maps.max(axis=(1, 2), keepdims=True, initial=0)
        maps = np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)
        height, width = self.size
        enlarged = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in maps]
        return np.stack(enlarged) if enlarged else np.zeros((0, height, width), np.float32)

    def _as_maps(self, tokens: np.ndarray) -> np.ndarray:
        """Return the tokens of patches (b, tokens, c) as maps (b, h, w, c); maps stay as they are."""
        if self.grid is None:
            return tokens
        rows, columns = self.grid
        return tokens[:, tokens.shape[1] - rows * columns :].reshape(len(tokens), rows, columns, -1)


def gradcam(model: Any, images: np.ndarray, class_index: Classes = None, layer: str | None = None) -> np.ndarray:
    """Compute Grad-CAM maps: where the features that support a class are.

    Each feature channel is weighted by the mean gradient of the class logit with respect to it; the map is the positive
    part of the weighted sum of channels, scaled to a maximum of 1 and resized bilinearly to the input. The gradient is
    taken in inference mode, before softmax.

    Args:
        model: a classifier, such as ``clf.model``: a functional model from images to logits.
        images: (b, h, w, c) pixels 0..255 in the model's size.
        class_index: index of the class to explain, one for all images or one per image; None: the predicted class.
        layer: name of the layer whose feature map is used; None: the input of the pooling layer.

    Returns:
        float32 (b, h, w), 0..1, in the size of the input; all zeros if no feature supports the class.

    Raises:
        UserError: wrong image shape, or a class or layer that the model does not have.
    """
    return GradCam(model, layer)(images, class_index)


def feature_map(model: Any, layer: str | None) -> Any:
    """Return the symbolic feature map (b, h, w, c): the output of a layer, or the input of the pooling layer.

    A transformer that pools its own tokens has no such map: the tokens (b, tokens, c) that its last attention reads are returned.

    Raises:
        UserError: no layer of that name, or its output is not a feature map.
    """
    names = [one.name for one in model.layers]
    if layer is None:
        if "pool" not in names:
            raise UserError("the model has no layer 'pool': name the layer whose feature map to use")
        found = model.get_layer("pool").input
        return found if _is_feature_map(found) else _last_map(model)
    spatial = [one.name for one in model.layers if _is_feature_map(one.output)]
    if layer not in names:
        raise unknown("layer", layer, spatial[::-1])
    found = model.get_layer(layer).output
    if not _is_feature_map(found):
        raise UserError(
            f"the output of layer {layer!r} is no feature map (height, width, channels); that of {spatial[-1]!r} is"
        )
    return found


def patch_grid(model: Any) -> tuple[int, int]:
    """Return rows and columns of the patches that a transformer of :mod:`keras_transfer.models.checkpoints` cuts an image into."""
    _, rows, columns, _ = model.get_layer(_PATCHES).input.shape
    return int(rows), int(columns)


def _last_map(model: Any) -> Any:
    """Return the tokens that the last attention reads; in a convolutional network that pools itself, its last feature map."""
    names = [one.name for one in model.layers]
    attention = [name for name in names if _ATTENTION.fullmatch(name)]
    if attention and _PATCHES in names:
        return model.get_layer(attention[-1]).input
    maps = [
        one.output
        for one in model.layers
        if _is_feature_map(one.output) and one.output.shape[1] * one.output.shape[2] > 1
    ]
    if not maps:
        raise UserError("the model has no feature map before its layer 'pool': name the layer whose feature map to use")
    return maps[-1]


def _is_feature_map(tensor: Any) -> bool:
    return isinstance(tensor, keras.KerasTensor) and len(tensor.shape) == 4


def checked_images(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the images as float32 (b, h, w, c).

    Raises:
        UserError: wrong shape.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[1:3] != size:
        raise UserError(f"expected images of shape (n, {size[0]}, {size[1]}, channels), got {images.shape}")
    return images


def checked_classes(class_index: Classes, count: int, classes: int) -> np.ndarray | None:
    """Return one class index per image, int32 (count,), or None.

    Raises:
        UserError: not a single index or one per image, or outside 0..classes - 1.
    """
    if class_index is None:
        return None
    wanted = np.asarray(class_index)
    if wanted.dtype.kind not in "iu" or wanted.shape not in ((), (count,)):
        raise UserError(f"class_index: expected one integer, or {count} of them, got {class_index!r}")
    if wanted.size and (wanted.min() < 0 or wanted.max() >= classes):
        raise UserError(f"class_index: expected 0..{classes - 1}, got {class_index!r}")
    return np.broadcast_to(wanted, (count,)).astype(np.int32)
