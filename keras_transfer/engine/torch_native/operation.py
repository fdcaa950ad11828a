"""The base of every native operation: it stands in for one layer's ``call`` and knows when not to."""

from __future__ import annotations

from typing import Any

import keras
import torch
from keras.src.backend.torch.core import to_torch_dtype


class LayerOperation:
    """Computes what ``layer.call`` computes, with torch's own kernels.

    An instance is put in the layer's ``__dict__`` under ``call``, where it hides the method of the class;
    the class, the configuration and the variables stay as they are. Whatever it does not accept (a
    symbolic tensor, a mask …) goes to the method it hides.
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
        """Whether these arguments can be computed natively."""
        raise NotImplementedError

    def run(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer from arguments that ``accepts`` has accepted."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer, natively where possible."""
        if self.accepts(*args, **kwargs):
            return self.run(*args, **kwargs)
        return self.stock(*args, **kwargs)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the layer computes in; it may change at run time with the layer's dtype policy."""
        return to_torch_dtype(self.layer.compute_dtype)

    def value(self, variable: keras.Variable) -> torch.Tensor:
        """Return a variable's tensor as Keras's autocasting hands it to the layer."""
        value = variable.value
        if variable._autocast and self.layer.autocast and value.dtype != self.dtype:
            return value.to(self.dtype)
        return value
