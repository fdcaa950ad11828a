"""timm's ``VisionTransformer``: ViT, DeiT, DeiT III, DINOv2, SigLIP, CLIP, BEiT-3 and relatives.

Dosovitskiy et al. 2020 (https://arxiv.org/abs/2010.11929), Touvron et al. 2020 and 2022 (https://arxiv.org/abs/2012.12877,
https://arxiv.org/abs/2204.07118), Oquab et al. 2023 (https://arxiv.org/abs/2304.07193), Zhai et al. 2023
(https://arxiv.org/abs/2303.15343), Radford et al. 2021 (https://arxiv.org/abs/2103.00020).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import known_args, numbers, stated_args, stated_heads, stated_pool
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.resample import resample
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import (
    Names,
    Style,
    attention_pool,
    block,
    mean_of,
    norm,
    patches,
    with_positions,
    with_tokens,
)

# Heads of 64 channels, except in these widths.
_HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
_DEPTHS = {
    "xsmall": 10, "wee": 14, "little": 14, "mediumd": 20, "so150m": 18, "so150m2": 21, "large": 24, "intern300m": 24, "so400m": 27,
    "huge": 32, "giant": 40, "giantopt": 40, "gigantic": 48, "7b": 40,
}  # fmt: skip
_DEPTHS_OF_NAMES = {
    "vit_small_patch16_36x1": 36, "vit_pe_lang_large": 23, "vit_pe_lang_gigantic": 47, "vit_pe_core_gigantic": 50,
    "vit_pe_spatial_gigantic": 50, "test_vit2": 8, "test_vit3": 9, "test_vit4": 9, "test_vit": 6,
}  # fmt: skip
KNOWN_ARGS = (
    "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "init_values", "class_token", "dynamic_img_size",
)  # fmt: skip
"""Arguments of all of timm's transformers that are read here, or told by the tensors."""
_ARGS = (
    *KNOWN_ARGS, "qk_norm", "scale_attn_norm", "scale_mlp_norm", "proj_bias", "no_embed_class", "reg_tokens", "pre_norm", "fc_norm",
    "pool_include_prefix", "attn_pool_num_heads", "fix_init", "act_layer",
)  # fmt: skip
_NO_FINAL_NORM = ("vit_pe_lang_", "vit_pe_spatial_", "vit_intern300m_")
_TANH_GELU = r"vit_(so400m_patch16|giantopt_patch16|base_patch32|large_patch16)_siglip.*"


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    known_args(checkpoint, _ARGS)
    style = _style(checkpoint)
    return network(checkpoint, image_size, Names(), lambda grid, prefix: style)


def network(
    checkpoint: Part,
    image_size: tuple[int, int],
    names: Names,
    style_of: Callable[[tuple[int, int], int], Style],
) -> keras.Model:
    """Build a transformer whose tensors have timm's names.

    Args:
        checkpoint: with the tensors.
        image_size: (height, width) in pixels.
        names: of a block's tensors.
        style_of: returns the blocks' style for a grid of patches and a number of tokens before them.
    """
    image = keras.Input((*image_size, 3), name="pixels")
    stem = checkpoint.part("", "stem")
    pre_norm = checkpoint.has("norm_pre.weight")  # its bias replaces that of the patches
    x, grid = patches(image, stem, "patch_embed.proj", bias=not pre_norm)
    x, prefix = _embedded(x, image, stem, grid)
    style = style_of(grid, prefix)
    if pre_norm:
        x = norm(x, stem, "norm_pre", style.epsilon)
    for number in range(_depth(checkpoint)):
        x = block(x, checkpoint.part(f"blocks.{number}", f"block{number}"), names, style)
    head = checkpoint.part("", "head")
    after = checkpoint.has("fc_norm.weight")  # normalizes what is pooled, instead of the tokens
    if not (after or checkpoint.facts.architecture.startswith(_NO_FINAL_NORM)):
        x = norm(x, head, "norm", style.epsilon)
    x = _pooled(x, head, style, prefix)
    if after:
        x = norm(x, head, "fc_norm", style.epsilon)
    return keras.Model(image, x, name="vit")


def _depth(checkpoint: Part) -> int:
    """Return the number of blocks, which are all alike."""
    stated = stated_args(checkpoint).get("depth") or depth_of_name(checkpoint.facts.architecture)
    (depth,) = numbers([stated], "depth")
    checkpoint.check_alike([f"blocks.{number}" for number in range(depth)])
    return depth


def depth_of_name(name: str) -> int:
    """Return the number of blocks of one of timm's architectures."""
    found = next((depth for start, depth in _DEPTHS_OF_NAMES.items() if name.startswith(start)), None)
    return found or next((_DEPTHS[word] for word in name.split("_") if word in _DEPTHS), 12)


def tokens_of_name(name: str) -> tuple[str, ...]:
    """Return the tensors of learnt tokens and positions that one of timm's architectures must have, if its name tells so."""
    rotary_only = "_dinov3" in name or "_lingbot" in name or ("_rope_" in name and "_ape_" not in name)
    relative = name.startswith(("beit_", "beitv2_"))
    return (
        *(("cls_token",) if relative or (rotary_only and "_gap_" not in name) else ()),
        *(() if rotary_only or relative else ("pos_embed",)),
        *(("reg_token",) if (rotary_only and "_rope_" not in name) or re.search(r"_reg\d", name) else ()),
        *(("dist_token",) if "distilled" in name else ()),
    )


def _embedded(x: Tensor, image: Tensor, stem: Part, grid: tuple[int, int]) -> tuple[Tensor, int]:
    """Add class, distillation and register tokens and positions; return the tokens and how many are not patches."""
    for key in tokens_of_name(stem.facts.architecture):
        stem.shape(key)
    keys = [key for key in ("cls_token", "dist_token", "reg_token") if stem.has(key)]
    extra = [(stem.name(key), stem.take(key)[0]) for key in keys]
    count = sum(len(values) for _, values in extra)
    if not stem.has("pos_embed"):
        return with_tokens(x, image, extra), count
    table = stem.take("pos_embed")[0]
    old = _trained_grid(stem, len(table), count)
    embedded = len(table) - old[0] * old[1]  # 0: tokens other than patches have no position
    kind, antialias = ("bilinear", False) if "flexivit" in stem.facts.architecture else ("bicubic", True)
    places = resample(table[embedded:].reshape(*old, -1), grid, kind, antialias).reshape(-1, table.shape[1])
    if embedded:
        return with_positions(with_tokens(x, image, extra), image, np.concatenate([table[:embedded], places])), count
    return with_tokens(with_positions(x, image, places), image, extra), count


def _trained_grid(stem: Part, positions: int, prefix: int) -> tuple[int, int]:
    """Return the grid of the position embeddings: that of the stated image size if it fits, or a square."""
    patch = stem.shape("patch_embed.proj.weight")[2:]
    stated = stated_args(stem).get("img_size", stem.facts.image_size)
    size = (stated, stated) if isinstance(stated, int) else tuple(stated)
    grid = (int(size[0]) // patch[0], int(size[1]) // patch[1])
    if positions - grid[0] * grid[1] in (0, prefix):
        return grid
    for left in (positions - prefix, positions):
        side = math.isqrt(max(left, 0))
        if side and side * side == left:
            return side, side
    raise UserError(f"the checkpoint's {positions} position embeddings form no square grid")


def _pooled(x: Tensor, head: Part, style: Style, prefix: int) -> Tensor:
    if head.has("attn_pool.latent"):
        whole = head.facts.architecture.startswith("vit_pe_") or head.facts.architecture == "test_vit3"
        x = x if stated_args(head).get("pool_include_prefix", whole) else x[:, prefix:]
        return _attention_pool(x, head.part("attn_pool"), style)
    stated = stated_pool(head)
    pool = ("token" if head.has("cls_token") else "avg") if stated is None else stated
    if head.has("dist_token"):
        return keras.layers.Average(name="head_tokens")([x[:, 0], x[:, 1]])
    if pool == "token" and head.has("cls_token"):
        return x[:, 0]
    x = x if stated_args(head).get("pool_include_prefix") else x[:, prefix:]
    if pool == "avg":
        return mean_of(x, "head_mean")
    if pool == "max":
        return keras.layers.GlobalMaxPooling1D(name="head_max")(x)
    if pool == "avgmax":
        parts = [mean_of(x, "head_mean"), keras.layers.GlobalMaxPooling1D(name="head_max")(x)]
        return keras.layers.Average(name="head_avgmax")(parts)
    raise Unsupported(
        f"config.json: global_pool: expected token, avg, max, avgmax or map with its tensors, got {pool[:40]!r}"
    )


def _attention_pool(x: Tensor, part: Part, style: Style) -> Tensor:
    usual = 8 if part.facts.architecture.startswith("vit_pe_") else style.heads
    style = replace(style, heads=stated_heads(part, usual, "attn_pool_num_heads"))
    names = Names(proj="proj", norm2="norm")
    query = (part.take("latent").reshape(1, -1), part.take("q.weight"), part.take("q.bias"))
    return attention_pool(x, part, query, (part.take("kv.weight"), part.take("kv.bias")), names, style)


def _style(checkpoint: Part) -> Style:
    style = style_of_name(checkpoint.facts.architecture, checkpoint.shape("patch_embed.proj.weight")[0])
    act = str(stated_args(checkpoint).get("act_layer", style.activation))
    return replace(style, heads=stated_heads(checkpoint, style.heads), activation=act)


def style_of_name(name: str, width: int) -> Style:
    """Return the style of one of timm's architectures, by name and number of channels."""
    tanh = _matches(_TANH_GELU, name) and not _plain_gelu(name)
    return Style(
        heads=_heads(name, width),
        epsilon=1e-5 if "_clip_" in name or name.startswith("beit3") else 1e-6,
        activation="quick_gelu" if "quickgelu" in name else "gelu_tanh" if tanh else "gelu",
    )


def _plain_gelu(name: str) -> bool:
    """Return whether a model of SigLIP 1 keeps the exact GELU: the large one at 256 and 384 px."""
    return "large" in name and not name.endswith("512")


def _heads(name: str, width: int) -> int:
    if name == "vit_base_patch16_gap_224" or name.startswith("vit_giantopt"):
        return 16
    if name.startswith("test_vit"):
        return width // 32
    return _HEADS.get(width, max(1, width // 64))


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name) is not None


FAMILY = Family(
    name="ViT (timm)",
    # Left out: other blocks (parallel, differential, post-norm), AIMv2, and RADIO, whose head is another.
    timm=r"(?!.*(_xp_|_rpn_|18x2|_dlittle_|_dwee_|_dpwee_|_pwee_|radio|_rope|_dinov3|_lingbot|_sapiens))"
    r"(vit_(tiny|xsmall|wee|little|small|medium|mediumd|betwixt|base|large|huge|giant|giantopt|gigantic|so150m2?|so400m|intern300m)"
    r"_patch\d+_.*|deit3?_.*|flexivit_.*|eva_large_.*|beit3_.*|test_vit[234]?)",
    transformers=(),
    build=build,
    left_out=(r"head\..*", r"head_dist\..*", r"pre_logits\..*", "mask_token"),
    examples=(
        "vit_small_patch16_224",
        "vit_base_patch16_224",
        "vit_small_patch14_dinov2",
        "vit_base_patch14_reg4_dinov2",
        "deit_tiny_patch16_224",
        "deit_small_distilled_patch16_224",
        "deit3_small_patch16_224",
        "vit_base_patch16_siglip_224",
        "vit_base_patch16_clip_224",
        "vit_base_patch16_clip_quickgelu_224",
    ),
    min_size=32,
    fixed_size=True,
    paper="https://arxiv.org/abs/2010.11929",
)
