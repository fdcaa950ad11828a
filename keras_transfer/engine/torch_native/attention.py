"""Attention in bfloat16 on a CPU, as matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from keras_transfer.engine.torch_native.tensors import is_real
from keras_transfer.engine.torch_native.units import Unit

MOST_TOKENS = 400
"""With more, the probabilities that the gradient needs would take more memory than the rest of a layer."""


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Compute attention as ``keras.ops.dot_product_attention`` does.

    Scores and probabilities are rounded to bfloat16, the softmax between them is computed in float32: as where PyTorch's
    autocast meets attention that is written out.

    Args:
        q: (batch, queries, heads, size); ``k``, ``v``: (batch, keys, heads, size).
        bias: added to the scores, broadcast to (batch, heads, queries, keys).
        scale: of the scores.

    Returns:
        (batch, queries, heads, size).
    """
    batch, queries, heads, _ = q.shape
    q, k, v = (x.transpose(1, 2).reshape(batch * heads, x.shape[1], x.shape[3]) for x in (q, k, v))
    if bias is None:
        scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=scale)
    else:
        added = bias.to(q.dtype).expand(batch, heads, queries, k.shape[1]).reshape(batch * heads, queries, -1)
        scores = torch.baddbmm(added, q, k.transpose(1, 2), alpha=scale)
    mixed = torch.bmm(scores.softmax(-1), v)
    return mixed.view(batch, heads, queries, -1).transpose(1, 2)


@dataclass
class AttentionUnit(Unit):
    """Attention; faster than PyTorch's fused kernel in bfloat16, whose gradient is slow on a CPU, above all for few tokens."""

    scale: float = 1.0

    def ready(self, inputs: list[torch.Tensor]) -> bool:
        """Return whether these tensors are computed faster so, and in the memory at hand."""
        if not all(is_real(x, 4) and x.device.type == "cpu" for x in inputs):
            return False
        q, k, v = inputs[:3]
        same = q.dtype == k.dtype == v.dtype == torch.bfloat16 and q.shape[2] == k.shape[2] == v.shape[2]
        return same and q.shape[1] * k.shape[1] <= MOST_TOKENS**2

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Compute attention of queries, keys, values and, where there is one, the bias."""
        q, k, v, *bias = inputs
        return attention(q, k, v, bias[0] if bias else None, self.scale)
