"""LayerNormalization as one fused kernel; stock Keras computes it in eight passes."""

from __future__ import annotations

import keras
import torch
import torch.nn.functional as F

from keras_transfer.engine.torch_native.normalization import wide_dtype
from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.tensors import is_real
from keras_transfer.keras_compat.torch import raw_value


class LayerNormalization(LayerOperation):
    """``keras.layers.LayerNormalization`` over the last axis, in float32 for half-precision inputs, as in Keras."""

    @classmethod
    def refuses(cls, layer: keras.layers.Layer) -> str | None:
        """Return why ``layer`` must stay stock, or ``None``."""
        if getattr(layer, "rms_scaling", False):
            return "root mean square"
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        variable = layer.gamma if layer.scale else layer.beta if layer.center else None
        if len(axes) != 1 or (axes != [-1] and (variable is None or axes[0] < 0)):
            return f"axes {axes}"
        return None

    def accepts(self, x: object, *args: object, **kwargs: object) -> bool:
        """Accept real floating tensors whose last axis is normalized."""
        if args or kwargs or not is_real(x, None) or not x.is_floating_point():  # type: ignore[attr-defined]
            return False
        axis = self.layer.axis if isinstance(self.layer.axis, int) else self.layer.axis[0]
        return axis in (-1, x.ndim - 1)  # type: ignore[attr-defined]

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize the last axis."""
        layer, wide = self.layer, wide_dtype(x.dtype)
        gamma = raw_value(layer.gamma).to(wide) if layer.scale else None
        beta = raw_value(layer.beta).to(wide) if layer.center else None
        return F.layer_norm(x.to(wide), x.shape[-1:], gamma, beta, layer.epsilon).to(self.dtype)
