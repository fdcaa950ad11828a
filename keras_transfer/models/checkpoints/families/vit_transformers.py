"""The vision transformers of Hugging Face transformers: ViT, DeiT, MAE, MSN, I-JEPA, DINOv2, DINOv3, CLIP and its relatives, BLIP, SigLIP, SigLIP 2.

Of models with two towers, the vision tower is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor, conv_of
from keras_transfer.models.checkpoints.layers_conv import numbers
from keras_transfer.models.checkpoints.resample import resample
from keras_transfer.models.checkpoints.rotary import centred_angles, rotary
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import (
    Names,
    Style,
    attention_pool,
    block,
    mean_of,
    norm,
    patches_of,
    with_positions,
    with_tokens,
)


@dataclass(frozen=True)
class _Layout:
    """Names of a model's tensors, and the defaults of what its config.json may leave out."""

    patches: str
    blocks: str
    names: Names
    positions: str = ""
    tokens: tuple[str, ...] = ()
    pre_norm: str = ""
    final_norm: str = "layernorm"
    interpolation: tuple[str, bool] = ("bicubic", False)
    defaults: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


_ATTENTION = "attention.attention"
_BERT = Names(  # ViT's first port took the names of BERT
    norm1="layernorm_before",
    qkv="",
    q=f"{_ATTENTION}.query",
    k=f"{_ATTENTION}.key",
    v=f"{_ATTENTION}.value",
    proj="attention.output.dense",
    norm2="layernorm_after",
    fc1="intermediate.dense",
    fc2="output.dense",
)
_DINOV2 = replace(
    _BERT,
    norm1="norm1",
    norm2="norm2",
    fc1="mlp.fc1",
    fc2="mlp.fc2",
    scale1="layer_scale1.lambda1",
    scale2="layer_scale2.lambda1",
)
_SWIGLU = replace(_DINOV2, fc1="mlp.weights_in", fc2="mlp.weights_out")
_DINOV3 = replace(
    _DINOV2,
    q="attention.q_proj",
    k="attention.k_proj",
    v="attention.v_proj",
    proj="attention.o_proj",
    fc1="mlp.up_proj",
    gate="mlp.gate_proj",
    fc2="mlp.down_proj",
)
_CLIP = Names(
    norm1="layer_norm1",
    qkv="",
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    proj="self_attn.out_proj",
    norm2="layer_norm2",
)
_SQUARE, _TOKEN = "embeddings.position_embeddings", "embeddings.cls_token"
_VIT_LAYOUT = _Layout(
    "embeddings.patch_embeddings.projection",
    "encoder.layer",
    _BERT,
    _SQUARE,
    (_TOKEN, "embeddings.distillation_token"),
    defaults={"hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_attention_heads": 12},
)
_DINOV2_LAYOUT = replace(
    _VIT_LAYOUT,
    names=_DINOV2,
    tokens=(_TOKEN, "embeddings.register_tokens"),
    defaults={"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_attention_heads": 12},
)
_DINOV3_LAYOUT = _Layout(
    "embeddings.patch_embeddings",
    "layer",
    _DINOV3,
    tokens=(_TOKEN, "embeddings.register_tokens"),
    final_norm="norm",
    defaults={"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_attention_heads": 6, "rope_theta": 100.0},
)
_CLIP_LAYOUT = _Layout(
    "embeddings.patch_embedding",
    "encoder.layers",
    _CLIP,
    "embeddings.position_embedding.weight",
    ("embeddings.class_embedding",),
    pre_norm="pre_layrnorm",  # sic
    final_norm="post_layernorm",
    defaults={"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_attention_heads": 12},
)
_SIGLIP_LAYOUT = replace(
    _CLIP_LAYOUT,
    tokens=(),
    pre_norm="",
    defaults={"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_attention_heads": 12},
)
_BLIP_LAYOUT = replace(
    _CLIP_LAYOUT,
    names=replace(_CLIP, qkv="self_attn.qkv", proj="self_attn.projection"),
    positions="embeddings.position_embedding",
    pre_norm="",
    defaults={**_CLIP_LAYOUT.defaults, "hidden_act": "gelu"},
)
_LAYOUTS = {
    "vit": _VIT_LAYOUT,
    "deit": _VIT_LAYOUT,
    "vit_mae": _VIT_LAYOUT,
    "vit_msn": replace(_VIT_LAYOUT, defaults={**_VIT_LAYOUT.defaults, "layer_norm_eps": 1e-6}),
    "ijepa": replace(_VIT_LAYOUT, tokens=(), defaults={**_VIT_LAYOUT.defaults, "vision_use_head": False}),
    "dinov2": _DINOV2_LAYOUT,
    "dinov2_with_registers": replace(_DINOV2_LAYOUT, interpolation=("bicubic", True)),
    "dinov3_vit": _DINOV3_LAYOUT,
    "clip": _CLIP_LAYOUT,
    "metaclip_2": _CLIP_LAYOUT,
    "chinese_clip": _CLIP_LAYOUT,
    "altclip": _CLIP_LAYOUT,
    "blip": _BLIP_LAYOUT,
    "siglip": _SIGLIP_LAYOUT,
    "siglip2": replace(_SIGLIP_LAYOUT, interpolation=("bilinear", True)),
}
_TWO_TOWERS = ("clip", "metaclip_2", "chinese_clip", "altclip", "blip", "siglip", "siglip2")
_MODEL_TYPES = (*_LAYOUTS, *(f"{name}_vision_model" for name in _TWO_TOWERS))


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    layout = _LAYOUTS[checkpoint.facts.architecture.removesuffix("_vision_model")]
    config = _config(checkpoint, layout)
    root, checkpoint = checkpoint, _tower(checkpoint, layout)
    stem, head = checkpoint.part("", "stem"), checkpoint.part("", "head")
    image = keras.Input((*image_size, 3), name="pixels")
    x = conv_of(image, stem.name(layout.patches), *_patch_kernel(stem, layout.patches, bias=not layout.pre_norm))
    x, grid = patches_of(x)
    extra = [(stem.name(key), stem.take(key)) for key in _token_keys(stem, layout, config)]
    # Registers have no positions: they come after the class token, between it and the patches.
    placed = [pair for pair in extra if not pair[0].endswith("register_tokens")]
    if layout.positions:
        x = with_tokens(x, image, placed)
        x = with_positions(x, image, _positions(stem, layout, len(placed), grid))
        x = _with_registers(x, image, [pair for pair in extra if pair not in placed])
    else:
        x = with_tokens(x, image, extra)
    prefix = int(x.shape[1]) - grid[0] * grid[1]
    style = _style(config, checkpoint, layout, grid, prefix)
    if layout.pre_norm:
        x = norm(x, stem, layout.pre_norm, style.epsilon)
    names = _SWIGLU if checkpoint.has(f"{layout.blocks}.0.mlp.weights_in.weight") else layout.names
    (depth,) = numbers([config["num_hidden_layers"]], "num_hidden_layers")
    # Checkpoints of MSN's classifier have the blocks beside the tower.
    blocks = root if root.has(f"{layout.blocks}.0.{layout.names.norm1}.weight") else checkpoint
    blocks.check_alike([f"{layout.blocks}.{number}" for number in range(depth)])
    for number in range(depth):
        x = block(x, blocks.part(f"{layout.blocks}.{number}", f"block{number}"), names, style)
    x = _pooled(x, head, layout, config, style, prefix)
    return keras.Model(image, x, name="vit")


def _config(checkpoint: Part, layout: _Layout) -> Mapping[str, Any]:
    config = checkpoint.facts.config
    tower = config.get("vision_config")
    return {"num_hidden_layers": 12, **layout.defaults, **(tower if isinstance(tower, dict) else config)}


def _tower(checkpoint: Part, layout: _Layout) -> Part:
    """Return the part of the checkpoint that is the vision transformer, whatever it is wrapped in."""
    pattern = re.compile(rf"(([\w.]*\.)?){re.escape(layout.patches)}\.weight")
    found = [match[1] for key in checkpoint.tensors if (match := pattern.fullmatch(key))]
    if len(found) != 1:
        raise UserError(f"the checkpoint has {len(found)} tensors named …{layout.patches}.weight, expected one")
    return checkpoint.part(found[0].removesuffix("."), "")


def _token_keys(stem: Part, layout: _Layout, config: Mapping[str, Any]) -> list[str]:
    """Return the names of the learnt tokens; the class token is always there, and registers if there is a number of them."""
    first, rest = layout.tokens[:1], layout.tokens[1:]
    registers = config.get("num_register_tokens", 4 if stem.facts.architecture == "dinov2_with_registers" else 0)
    needed = [key for key in rest if key.endswith("register_tokens") and registers]
    found = [key for key in rest if stem.has(key) and 0 not in stem.shape(key)]
    return [*first, *dict.fromkeys([*needed, *found])]


def _patch_kernel(stem: Part, key: str, bias: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the kernel (out, 3, patch, patch) and bias of the patch embedding; SigLIP 2 keeps a matrix (out, patch · patch · 3)."""
    kernel = stem.take(f"{key}.weight")
    if kernel.ndim == 2:
        side = math.isqrt(kernel.shape[1] // 3)
        if side * side * 3 != kernel.shape[1]:
            raise UserError(
                f"the checkpoint's {stem.prefix}{key}.weight of {kernel.shape[1]} columns forms no square patch"
            )
        kernel = kernel.reshape(-1, side, side, 3).transpose(0, 3, 1, 2)
    return kernel, stem.take(f"{key}.bias") if bias else None


def _positions(stem: Part, layout: _Layout, prefix: int, grid: tuple[int, int]) -> np.ndarray:
    table = stem.take(layout.positions)
    table = table.reshape(-1, table.shape[-1])
    side = math.isqrt(max(len(table) - prefix, 0))
    if side * side + prefix != len(table):
        raise UserError(f"the checkpoint's {len(table)} position embeddings form no square grid and {prefix} tokens")
    places = resample(table[prefix:].reshape(side, side, -1), grid, *layout.interpolation)
    return np.concatenate([table[:prefix], places.reshape(grid[0] * grid[1], -1)])


def _with_registers(x: Tensor, image: Tensor, registers: list[tuple[str, np.ndarray]]) -> Tensor:
    if not registers:
        return x
    rest = with_tokens(x[:, 1:], image, registers, "stem_registers")
    return keras.layers.Concatenate(axis=1, name="stem_class_registers")([x[:, :1], rest])


def _style(config: Mapping[str, Any], checkpoint: Part, layout: _Layout, grid: tuple[int, int], prefix: int) -> Style:
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    if type(heads) is not int or heads < 1 or not isinstance(epsilon, (int, float)):
        raise UserError(
            f"config.json: num_attention_heads {str(heads)[:40]!r}, layer_norm_eps {str(epsilon)[:40]!r}: expected numbers"
        )
    style = Style(heads, float(epsilon), str(config["hidden_act"]))
    if "rope_theta" not in layout.defaults:
        return style
    width = checkpoint.shape(f"{layout.blocks}.0.{layout.names.q}.weight")[0] // heads
    return replace(
        style, rotate=rotary(centred_angles(grid, width, float(config["rope_theta"])), prefix, False, "stem_rope")
    )


def _pooled(x: Tensor, head: Part, layout: _Layout, config: Mapping[str, Any], style: Style, prefix: int) -> Tensor:
    """Return what the classifier of the checkpoint's class reads."""
    wrapped = str((head.facts.config.get("architectures") or [""])[0])
    classifier = "ForImageClassification" in wrapped
    if classifier and layout.final_norm == "post_layernorm" and layout.tokens:  # CLIP
        head.leave("post_layernorm.")
        return mean_of(x[:, prefix:], "head_mean")
    x = norm(x, head, layout.final_norm, style.epsilon)
    if not layout.tokens:  # SigLIP, I-JEPA
        if config.get("vision_use_head", True) and not classifier:
            return _siglip_pool(x, head.part("head", "head"), style)
        head.leave("head.")
        return mean_of(x, "head_mean")
    if wrapped.endswith("WithTeacher"):
        return keras.layers.Average(name="head_tokens")([x[:, 0], x[:, 1]])
    if classifier and layout.names is _DINOV2:
        return keras.layers.Concatenate(name="head_class_and_mean")([x[:, 0], mean_of(x[:, prefix:], "head_mean")])
    return x[:, 0]


def _siglip_pool(x: Tensor, part: Part, style: Style) -> Tensor:
    weights, biases = (
        np.split(part.take("attention.in_proj_weight"), 3),
        np.split(part.take("attention.in_proj_bias"), 3),
    )
    query = (part.take("probe").reshape(1, -1), weights[0], biases[0])
    names = Names(proj="attention.out_proj", norm2="layernorm")
    return attention_pool(x, part, query, (np.concatenate(weights[1:]), np.concatenate(biases[1:])), names, style)


FAMILY = Family(
    name="ViT (transformers)",
    timm="",
    transformers=_MODEL_TYPES,
    build=build,
    left_out=(
        r"(cls_|distillation_)?classifier\..*",
        r".*mask_token",
        r"(\w+\.)?pooler\..*",
        r"(text_model|text_projection|visual_projection|decoder)\..*",
        r"(text_decoder|text_encoder|text_proj|vision_proj|itm_head)\..*",  # of BLIP's tasks
        r"logit_(scale|bias)",
    ),
    examples=(),
    fixed_size=True,
    paper="https://arxiv.org/abs/2010.11929",
)
