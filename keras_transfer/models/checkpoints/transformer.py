"""The parts of vision transformers: patches, tokens, positions, attention, blocks (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929).

Tokens are (batch, tokens, channels). Learnt tokens and positions are the weights of Dense layers, applied to ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.layers import (
    Tensor,
    activation,
    channel_scale,
    conv_of,
    dense,
    dense_of,
    filled,
    layer_norm,
    ones_of,
    parameter,
)
from keras_transfer.models.checkpoints.tensors import Part


@dataclass(frozen=True)
class Names:
    """Names of a block's tensors; ``""``: the block has none.

    ``qkv`` is one tensor for queries, keys and values, with or without biases of their own; otherwise they are ``q``, ``k`` and ``v``. The names of the optional parts (``gate``,
    ``scale1``, ``q_norm`` …) may be given for blocks without them: what the checkpoint lacks is left out.
    """

    norm1: str = "norm1"
    qkv: str = "attn.qkv"
    q_bias: str = "attn.q_bias"
    v_bias: str = "attn.v_bias"
    q: str = "attn.q_proj"
    k: str = "attn.k_proj"
    v: str = "attn.v_proj"
    q_norm: str = "attn.q_norm"
    k_norm: str = "attn.k_norm"
    attn_norm: str = "attn.norm"
    proj: str = "attn.proj"
    scale1: str = "ls1.gamma"
    norm2: str = "norm2"
    fc1: str = "mlp.fc1"
    gate: str = "mlp.fc1_g"
    mlp_norm: str = "mlp.norm"
    fc2: str = "mlp.fc2"
    scale2: str = "ls2.gamma"


@dataclass(frozen=True)
class Style:
    """What the tensors do not tell about a transformer.

    Attributes:
        heads: number of attention heads.
        epsilon: of its layer normalizations.
        activation: of its multilayer perceptrons.
        rotate: applied to queries and keys (batch, tokens, heads, channels): rotary positions.
        bias: of a block's tokens and its part, returns what is added to its attention logits, (batch, heads, tokens, tokens).
    """

    heads: int
    epsilon: float = 1e-6
    activation: str = "gelu"
    rotate: Callable[[Tensor], Tensor] | None = None
    bias: Callable[[Tensor, Part], Tensor] | None = None


def patches(x: Tensor, part: Part, key: str, bias: bool = True) -> tuple[Tensor, tuple[int, int]]:
    """Cut pictures into patches and project each to a token; return the tokens and the grid (rows, columns).

    Args:
        x: (batch, height, width, 3); rows and columns that do not fill a patch are left out.
        part: with the tensors of a convolution whose stride is its kernel.
        key: of the tensors.
        bias: whether the projection has one.
    """
    kernel = part.take(f"{key}.weight")
    if kernel.ndim != 4:
        raise UserError(
            f"the checkpoint's {part.prefix}{key}.weight has shape {kernel.shape}, expected (channels, 3, patch, patch)"
        )
    return patches_of(conv_of(x, part.name(key), kernel, part.take(f"{key}.bias") if bias else None))


def patches_of(x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return the positions of a feature map (batch, rows, columns, channels) as tokens, and (rows, columns)."""
    rows, columns, channels = (int(n) for n in x.shape[1:])
    return keras.layers.Reshape((rows * columns, channels), name="stem_patches")(x), (rows, columns)


def with_tokens(
    tokens: Tensor, image: Tensor, extra: Sequence[tuple[str, np.ndarray]], name: str = "stem_tokens"
) -> Tensor:
    """Put learnt tokens before those of the patches: pairs of a layer name and an array (…, channels)."""
    if not extra:
        return tokens
    ones = ones_of(image, f"{extra[0][0]}_ones")
    width = int(tokens.shape[-1])
    learnt = [parameter(ones, name, values.reshape(-1, width)) for name, values in extra]
    return keras.layers.Concatenate(axis=1, name=name)([*learnt, tokens])


def with_positions(tokens: Tensor, image: Tensor, table: np.ndarray, name: str = "stem_positions") -> Tensor:
    """Add the position embeddings ``table`` (tokens, channels)."""
    if table.shape != tuple(tokens.shape[1:]):
        raise UserError(f"the checkpoint's position embeddings are {table.shape}, expected {tuple(tokens.shape[1:])}")
    learnt = parameter(ones_of(image, f"{name}_ones"), name, table)
    return keras.layers.Add(name=f"{name}_add")([tokens, learnt])


def block(x: Tensor, part: Part, names: Names, style: Style) -> Tensor:
    """Apply a transformer block with normalization before attention and perceptron."""
    y = norm(x, part, names.norm1, style.epsilon)
    y = attention(y, part, names, style)
    x = _residual(x, y, part, names.scale1, "add1")
    y = norm(x, part, names.norm2, style.epsilon)
    y = mlp(y, part, names, style)
    return _residual(x, y, part, names.scale2, "add2")


def norm(x: Tensor, part: Part, key: str, epsilon: float) -> Tensor:
    """Apply layer normalization, or root mean square normalization where no norm of the checkpoint has a bias."""
    if any(name.endswith(".bias") and "norm" in name for name in part.tensors):
        part.shape(f"{key}.bias")
        return layer_norm(x, part, key, epsilon)
    layer = keras.layers.RMSNormalization(epsilon=epsilon, name=part.name(key))
    return filled(layer, x, [part.take(f"{key}.weight")])


def _residual(x: Tensor, y: Tensor, part: Part, scale: str, name: str) -> Tensor:
    if part.has(scale):
        y = channel_scale(y, part, scale)
    return keras.layers.Add(name=part.name(name))([x, y])


def attention(x: Tensor, part: Part, names: Names, style: Style) -> Tensor:
    """Apply multi-head self-attention with one matrix for queries, keys and values."""
    weight, bias = joined_qkv(part, names)
    tokens, width = int(x.shape[1]), weight.shape[0] // 3
    if width % style.heads or weight.shape[0] % 3:
        raise UserError(
            f"the checkpoint's {part.prefix}{names.qkv or names.q} of {width} channels has no {style.heads} heads"
        )
    shape = (tokens, 3, style.heads, width // style.heads)
    qkv = dense_of(x, part.name("qkv"), weight, bias)
    qkv = keras.layers.Reshape(shape, name=part.name("heads"))(qkv)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    if part.has(f"{names.q_norm}.weight"):
        q, k = norm(q, part, names.q_norm, style.epsilon), norm(k, part, names.k_norm, style.epsilon)
    if style.rotate is not None:
        q, k = style.rotate(q), style.rotate(k)
    x = ops.dot_product_attention(q, k, v, bias=None if style.bias is None else style.bias(x, part))
    x = keras.layers.Reshape((tokens, width), name=part.name("joined"))(x)
    if part.has(f"{names.attn_norm}.weight"):
        x = norm(x, part, names.attn_norm, style.epsilon)
    return dense(x, part, names.proj)


def joined_qkv(part: Part, names: Names) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the joined weight (3 · width, channels) and bias; biases that the checkpoint lacks are zeros."""

    def find(key: str) -> np.ndarray | None:
        return part.take(key) if part.has(key) else None

    if names.qkv and part.has(f"{names.qkv}.weight"):
        weight = part.take(f"{names.qkv}.weight")
        if part.has(f"{names.qkv}.bias"):
            return weight, part.take(f"{names.qkv}.bias")
        biases = [find(names.q_bias), None, find(names.v_bias)]
    else:
        weight = np.concatenate([part.take(f"{key}.weight") for key in (names.q, names.k, names.v)])
        biases = [find(f"{key}.bias") for key in (names.q, names.k, names.v)]
    if all(bias is None for bias in biases):
        return weight, None
    zeros = np.zeros(len(weight) // 3, np.float32)
    return weight, np.concatenate([zeros if bias is None else bias for bias in biases])


def mlp(x: Tensor, part: Part, names: Names, style: Style) -> Tensor:
    """Apply the perceptron of a block: two layers, or a gated one (SwiGLU, Shazeer 2020, https://arxiv.org/abs/2002.05202).

    A gate is a layer of its own, or the first half of the first layer's outputs.
    """
    act = activation(style.activation)
    hidden = part.shape(f"{names.fc2}.weight")[1]
    y = dense(x, part, names.fc1)
    if part.has(f"{names.gate}.weight"):
        gate = act(dense(x, part, names.gate), part.name("mlp_act"))
        y = keras.layers.Multiply(name=part.name("mlp_gated"))([gate, y])
    elif y.shape[-1] == 2 * hidden:
        y = keras.layers.Multiply(name=part.name("mlp_gated"))(
            [keras.layers.Activation("silu", name=part.name("mlp_act"))(y[..., :hidden]), y[..., hidden:]]
        )
    else:
        y = act(y, part.name("mlp_act"))
    if part.has(f"{names.mlp_norm}.weight"):
        y = norm(y, part, names.mlp_norm, style.epsilon)
    return dense(y, part, names.fc2)


def mean_of(tokens: Tensor, name: str) -> Tensor:
    """Return the mean over the tokens, (batch, channels)."""
    return keras.layers.GlobalAveragePooling1D(name=name)(tokens)


def attention_pool(
    x: Tensor,
    part: Part,
    query: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    key_value: tuple[np.ndarray, np.ndarray | None],
    names: Names,
    style: Style,
) -> Tensor:
    """Pool tokens by the attention of one learnt query, then add a perceptron (SigLIP); return (batch, channels).

    Args:
        x: tokens.
        part: with the tensors of ``names``: ``proj``, ``norm2``, ``fc1``, ``fc2``.
        query: the latent (1, channels), and weight and bias that make a query of it.
        key_value: weight (2 · channels, channels) and bias.
        names: of the tensors.
        style: as in blocks.
    """
    for key in (names.proj, names.fc1, names.fc2):
        part.shape(f"{key}.bias")
    latent, weight, bias = query
    tokens, width = int(x.shape[1]), weight.shape[0]
    head = (style.heads, width // style.heads)
    q = parameter(ones_of(x, part.name("ones")), part.name("latent"), latent.reshape(1, -1))
    q = dense_of(q, part.name("q"), weight, bias)
    q = keras.layers.Reshape((1, *head), name=part.name("q_heads"))(q)
    kv = dense_of(x, part.name("kv"), *key_value)
    kv = keras.layers.Reshape((tokens, 2, *head), name=part.name("kv_heads"))(kv)
    y = ops.dot_product_attention(q, kv[:, :, 0], kv[:, :, 1])
    y = dense(keras.layers.Reshape((width,), name=part.name("joined"))(y), part, names.proj)
    z = norm(y, part, names.norm2, style.epsilon)
    z = mlp(z, part, names, style)
    return keras.layers.Add(name=part.name("add"))([y, z])
