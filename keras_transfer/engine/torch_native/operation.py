"""Base class of native operations, which replace ``call`` of one layer."""

from __future__ import annotations

from typing import Any

import keras
import torch

from keras_transfer.keras_compat.torch import autocasts, to_torch_dtype


class LayerOperation:
    """Computes ``layer.call`` with torch's own kernels.

    An instance replaces ``call`` of one layer, whose class, configuration and variables stay unchanged. Arguments that it
    does not accept (a symbolic tensor, a mask …) are passed on to Keras's ``call``.
    """

    def __init__(self, layer: keras.layers.Layer):
        """Keep the layer and its stock ``call``."""
        self.layer = layer
        self.stock = type(layer).call.__get__(layer)

    @classmethod
    def refuses(cls, layer: keras.layers.Layer) -> str | None:
        """Return why this layer must stay stock, or ``None``."""
        return None

    def accepts(self, *args: Any, **kwargs: Any) -> bool:
        """Return whether these arguments can be computed natively."""
        raise NotImplementedError

    def run(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer for arguments that ``accepts`` accepts."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer, natively where possible."""
        if self.accepts(*args, **kwargs):
            return self.run(*args, **kwargs)
        return self.stock(*args, **kwargs)

    @property
    def dtype(self) -> torch.dtype:
        """The layer's compute dtype, which may change at run time with its dtype policy."""
        return to_torch_dtype(self.layer.compute_dtype)

    def value(self, variable: keras.Variable) -> torch.Tensor:
        """Return a variable's tensor, cast as Keras's autocasting does inside the layer."""
        value = variable.value
        if autocasts(variable) and self.layer.autocast and value.dtype != self.dtype:
            return value.to(self.dtype)
        return value
