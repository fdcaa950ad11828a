"""Layers of convolutional networks, filled from the tensors of a checkpoint as they are made.

A layer is named after its tensors, and a convolution has the padding of the framework that
trained it: PyTorch's is symmetric, TensorFlow's ``same`` is not where the stride is 2. Number of filters and whether there is a bias are
read from the tensors; kernel size, stride and groups are stated by the network, so that a tensor in the wrong place is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import layers, ops

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.layers import Tensor, activation, filled
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.tensors import Part

_LARGEST = 1 << 14  # number of blocks or pixels, which a hostile configuration could let grow
DEPTHWISE = 0
"""As number of groups: one for each channel."""

_FREE_ARGS = (
    "num_classes",
    "in_chans",
    "img_size",
    "global_pool",
    "drop_rate",
    "drop_path_rate",
    "drop_block_rate",
    "proj_drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "attn_drop_rate",
    "weight_init",
    "head_init_scale",
    "memory_efficient",
    "zero_init_last",
)


@dataclass(frozen=True)
class ConvLayers:
    """Makes layers, calls them and fills their weights.

    Attributes:
        part: of the checkpoint.
        epsilon: of BatchNorm.
        same: whether convolutions pad as TensorFlow's ``same`` does, not by the same number of zeros on both sides.
    """

    part: Part
    epsilon: float = 1e-5
    same: bool = False

    def under(self, key: str, layer: str) -> ConvLayers:
        """Return the same for the part under ``key``; its layers' names start with ``layer``, which is their layer group."""
        return replace(self, part=self.part.part(key, layer))

    def has(self, key: str) -> bool:
        """Return whether the checkpoint has tensors under ``key``."""
        start = f"{self.part.prefix}{key}."
        return any(name.startswith(start) for name in self.part.tensors)

    def rank(self, key: str) -> int:
        """Return the number of axes of a tensor; 0: there is none."""
        return len(self.part.shape(key)) if self.part.has(key) else 0

    def take(self, key: str, *shape: int) -> np.ndarray:
        """Return a tensor, which must have ``shape``."""
        return self.part.take(key, shape)

    def conv(
        self,
        x: Tensor,
        key: str,
        kernel: int | tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        pad: int | tuple[int, int] | None = None,
        bias: bool = False,
    ) -> Tensor:
        """Convolve ``x`` (batch, height, width, channels) by ``key.weight`` (filters, channels / groups, height, width).

        Args:
            x: the feature map.
            key: the convolution in the checkpoint.
            kernel: side or (height, width).
            stride: stride.
            groups: number of groups, or :data:`DEPTHWISE`.
            pad: zeros on every side, or (above and left, below and right); None: half of the kernel, or TensorFlow's ``same`` if the
                network has it.
            bias: whether to add ``key.bias``.
        """
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        channels = int(x.shape[-1])
        groups = groups or channels
        filters = self.part.shape(f"{key}.weight")[0]
        weight = self.take(f"{key}.weight", filters, channels // groups, *size)
        name = self.part.name(key)
        zeros, padding = self._padding(size, stride, pad)
        if np.any(zeros):
            x = layers.ZeroPadding2D(zeros, name=f"{name}_pad")(x)
        common = {"strides": stride, "padding": padding, "use_bias": bias, "name": name}
        layer: layers.Layer
        if groups == channels > 1 and filters == channels:
            layer, order = layers.DepthwiseConv2D(size, **common), (2, 3, 0, 1)
        else:
            layer, order = layers.Conv2D(filters, size, groups=groups, **common), (2, 3, 1, 0)
        return filled(layer, x, [weight.transpose(order), *([self.take(f"{key}.bias", filters)] if bias else [])])

    def _padding(
        self, size: tuple[int, int], stride: int, pad: int | tuple[int, int] | None
    ) -> tuple[tuple[tuple[int, int], tuple[int, int]], str]:
        """Return the zeros (above, below), (left, right) of a layer of their own, and the padding of the convolution."""
        none = ((0, 0), (0, 0))
        if pad is None and self.same:
            return none, "same"
        half = ((size[0] // 2,) * 2, (size[1] // 2,) * 2)
        zeros = half if pad is None else ((pad, pad),) * 2 if isinstance(pad, int) else (pad, pad)
        if stride == 1 and zeros == half and all(side % 2 for side in size):
            return none, "same"
        return zeros, "valid"

    def norm(self, x: Tensor, key: str, act: str = "") -> Tensor:
        """Normalize ``x`` by the statistics of the BatchNorm ``key``; then apply an activation."""
        values = [self.take(f"{key}.{part}", x.shape[-1]) for part in ("weight", "bias", "running_mean", "running_var")]
        layer = layers.BatchNormalization(epsilon=self.epsilon, momentum=0.9, name=self.part.name(key))
        return self.act(filled(layer, x, values), f"{key}_act", act)

    def conv_norm(
        self,
        x: Tensor,
        keys: tuple[str, str],
        kernel: int | tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        act: str = "",
    ) -> Tensor:
        """Apply a convolution, its BatchNorm (``keys``) and an activation."""
        return self.norm(self.conv(x, keys[0], kernel, stride, groups), keys[1], act)

    def act(self, x: Tensor, key: str, act: str) -> Tensor:
        """Apply an activation by the name that PyTorch's packages give it; ``""``: none."""
        name = self.part.name(key)
        if not act:
            return x
        if act in ("relu", "relu6"):
            return layers.ReLU(6.0 if act == "relu6" else None, name=name)(x)
        if act in ("sigmoid", "hard_sigmoid"):
            return layers.Activation(act, name=name)(x)
        return activation(act)(x, name)

    def squeeze_excite(
        self, x: Tensor, key: str, parts: tuple[str, str], act: str = "relu", gate: str = "sigmoid"
    ) -> Tensor:
        """Scale channels by a gate computed from their means (Hu et al. 2018, https://arxiv.org/abs/1709.01507).

        ``parts`` are the names of its two convolutions below ``key``.
        """
        name = self.part.name(key)
        y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
        y = self.act(self.conv(y, f"{key}.{parts[0]}", 1, bias=True), f"{key}_act", act)
        y = self.act(self.conv(y, f"{key}.{parts[1]}", 1, bias=True), f"{key}_gate", gate)
        return layers.Multiply(name=f"{name}_excite")([x, y])

    def layer_norm(self, x: Tensor, key: str, epsilon: float) -> Tensor:
        """Normalize the channels of each position."""
        values = [self.take(f"{key}.{part}", x.shape[-1]) for part in ("weight", "bias")]
        return filled(layers.LayerNormalization(epsilon=epsilon, name=self.part.name(key)), x, values)

    def rms_norm(self, x: Tensor, key: str, epsilon: float) -> Tensor:
        """Divide the channels of each position by their root mean square."""
        layer = layers.RMSNormalization(epsilon=epsilon, name=self.part.name(key))
        return filled(layer, x, [self.take(f"{key}.weight", x.shape[-1])])

    def response_norm(self, x: Tensor, key: str) -> Tensor:
        """Global response normalization (Woo et al. 2023, https://arxiv.org/abs/2301.00808): contrast between channels."""
        name = self.part.name(key)
        area = x.shape[1] * x.shape[2]
        squares = layers.Multiply(name=f"{name}_squares")([x, x])
        # The constant keeps the gradient of the root finite where a channel is zero everywhere.
        norms = ops.sqrt(layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(squares) + 1e-20)
        # Of means, not of sums over the area: the square root of it cancels, except in the constant.
        response = norms / (ops.mean(norms, axis=-1, keepdims=True) + 1e-6 / area**0.5)
        y = self.scale(layers.Multiply(name=f"{name}_response")([x, response]), f"{key}.weight", f"{key}.bias")
        return self.add(x, y, f"{key}.add")

    def linear(self, x: Tensor, key: str) -> Tensor:
        """Map the channels of each position by ``key.weight`` (units, channels), which may be that of a 1x1 convolution, and add ``key.bias``."""
        shape = self.part.shape(f"{key}.weight")
        weight = self.take(f"{key}.weight", shape[0], x.shape[-1], *((1, 1) if len(shape) == 4 else ()))
        layer = layers.Dense(shape[0], name=self.part.name(key))
        return filled(layer, x, [weight.reshape(shape[0], -1).T, self.take(f"{key}.bias", shape[0])])

    def scale(self, x: Tensor, key: str, bias: str = "") -> Tensor:
        """Multiply each channel by the tensor ``key``, and add the tensor ``bias``; both may have leading axes of one."""
        shape = (1, 1, int(x.shape[-1]), 1)
        values = [self._channels(key, shape[2]).reshape(shape)] + ([self._channels(bias, shape[2])] if bias else [])
        return filled(layers.DepthwiseConv2D(1, use_bias=bool(bias), name=self.part.name(key)), x, values)

    def _channels(self, key: str, channels: int) -> np.ndarray:
        shape = self.part.shape(key)
        ones = [1] * (len(shape) - 1)
        return self.take(key, *(shape if sorted(shape) == sorted([*ones, channels]) else [channels])).reshape(channels)

    def max_pool(self, x: Tensor, key: str) -> Tensor:
        """Take maxima of 3x3 with stride 2 and one row and column of padding; ``x`` has to be the output of a ReLU.

        Zero padding does not change such maxima: nothing is negative.
        """
        name = self.part.name(key)
        if self.same:
            return layers.MaxPooling2D(3, 2, padding="same", name=name)(x)
        return layers.MaxPooling2D(3, 2, name=name)(layers.ZeroPadding2D(1, name=f"{name}_pad")(x))

    def add(self, x: Tensor, y: Tensor, key: str = "add") -> Tensor:
        """Add a shortcut."""
        return layers.Add(name=self.part.name(key))([x, y])


def model_args(checkpoint: Part, known: Sequence[str] = ()) -> Mapping[str, Any]:
    """Return how a timm checkpoint of a convolutional network differs from its architecture.

    Raises:
        Unsupported: it differs in something that the family does not have.
    """
    args = known_args(checkpoint, known)
    pool = stated_pool(checkpoint)
    if pool not in (None, "avg"):
        raise unsupported(checkpoint, f"global_pool {pool[:40]!r}")
    return args


def stated_pool(checkpoint: Part) -> str | None:
    """Return how a timm checkpoint pools, if it says so; for timm, what stands beside ``model_args`` is for information."""
    pools = (where.get("global_pool") for where in (stated_args(checkpoint), checkpoint.facts.config))
    return next((str(pool) for pool in pools if pool is not None), None)


def stated_args(checkpoint: Part) -> Mapping[str, Any]:
    """Return ``model_args`` of a timm checkpoint's config.json; for timm, None is as good as not stated."""
    found = checkpoint.facts.config.get("model_args")
    return {key: value for key, value in found.items() if value is not None} if isinstance(found, dict) else {}


def known_args(checkpoint: Part, known: Sequence[str]) -> Mapping[str, Any]:
    """Return :func:`stated_args`.

    Raises:
        Unsupported: one is neither in ``known`` nor without effect on features.
    """
    args = stated_args(checkpoint)
    odd = next((key for key in args if key not in (*known, *_FREE_ARGS)), None)
    if odd is not None:
        raise unsupported(checkpoint, f"model_args {str(odd)[:60]!r}")
    return args


def stated_heads(checkpoint: Part, usual: int, key: str = "num_heads") -> int:
    """Return a number of heads of attention from ``model_args``; ``usual``: not stated there."""
    return numbers([stated_args(checkpoint).get(key, usual)], key)[0]


def unsupported(checkpoint: Part, what: str) -> Unsupported:
    """Return the error of a timm checkpoint with an option that its family does not have."""
    return Unsupported(f"timm architecture {checkpoint.facts.architecture!r} with {what} is not supported")


def numbers(value: object, key: str, length: int | None = None) -> tuple[int, ...]:
    """Return a list of positive whole numbers of config.json.

    Raises:
        UserError: it is something else.
    """
    found = tuple(value) if isinstance(value, (list, tuple)) else ()
    if found and len(found) == (length or len(found)) and all(type(v) is int and 0 < v <= _LARGEST for v in found):
        return found
    wanted = f"{length} " if length else ""
    raise UserError(f"config.json: {key}: expected {wanted}whole numbers, 1..{_LARGEST}, got {str(value)[:80]}")
