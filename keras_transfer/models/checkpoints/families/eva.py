"""timm's ``Eva``: vision transformers with rotary positions, such as EVA-02, DINOv3 and the Perception Encoder.

Fang et al. 2023 (https://arxiv.org/abs/2303.11331), Siméoni et al. 2025 (https://arxiv.org/abs/2508.10104), Bolya et al. 2025
(https://arxiv.org/abs/2504.13181).
"""

from __future__ import annotations

from dataclasses import replace

import keras

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.families.vit import KNOWN_ARGS, network
from keras_transfer.models.checkpoints.layers_conv import known_args, stated_args, stated_heads, unsupported
from keras_transfer.models.checkpoints.rotary import centred_angles, index_angles, rotary
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import Names, Style

_NAMES = Names(scale1="gamma_1", scale2="gamma_2")
_SPLIT_GATE = replace(_NAMES, fc1="mlp.fc1_x")
_HEADS = {1408: 16, 4096: 32}
# Sides of the grid that the positions of the Perception Encoder refer to; those of others are 16.
_REFERENCES = {
    "vit_pe_core_base_patch16_224": 14,
    "vit_pe_core_large_patch14_336": 24,
    "vit_pe_core_small_patch16_384": 24,
}
_REFERENCES["vit_pe_core_tiny_patch16_384"] = 24


_ARGS = (
    *KNOWN_ARGS, "qkv_fused", "qk_norm", "swiglu_mlp", "swiglu_align_to", "scale_mlp", "scale_attn_inner", "attn_type",
    "attn_only_layer_scale", "num_reg_tokens", "no_embed_class", "use_pre_transformer_norm", "use_fc_norm", "attn_pool_num_heads",
    "attn_pool_mlp_ratio", "ref_feat_shape",
)  # fmt: skip


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    known_args(checkpoint, _ARGS)
    names = _SPLIT_GATE if checkpoint.has("blocks.0.mlp.fc1_x.weight") else _NAMES
    return network(checkpoint, image_size, names, lambda grid, prefix: _style(checkpoint, grid, prefix))


def style_of_name(name: str, width: int) -> Style:
    """Return the style of one of timm's architectures, by name and number of channels, without its positions."""
    perception = name.startswith("vit_pe_")
    heads = 16 if perception and width == 1536 else _HEADS.get(width, max(1, width // 64))
    return Style(heads, 1e-5 if perception or "_dinov3" in name or "_lingbot" in name else 1e-6)


def _style(checkpoint: Part, grid: tuple[int, int], prefix: int) -> Style:
    name, arguments = checkpoint.facts.architecture, stated_args(checkpoint)
    width = checkpoint.shape("patch_embed.proj.weight")[0]
    perception = name.startswith("vit_pe_")
    if checkpoint.has("attn_pool.latent") and not perception:
        raise unsupported(checkpoint, "global_pool 'map'")
    style = style_of_name(name, width)
    heads = stated_heads(checkpoint, style.heads)
    gated = checkpoint.has("blocks.0.mlp.fc1_x.weight")
    style = replace(style, heads=heads, activation="silu" if gated else style.activation)
    if name.startswith("eva_giant"):
        return style
    if "_dinov3" in name or "_lingbot" in name:
        angles = centred_angles(grid, width // heads, 100.0)
        return replace(style, rotate=rotary(angles, prefix, False, "stem_rope"))
    reference = arguments.get("ref_feat_shape") or _REFERENCES.get(name, 32 if perception else 16)
    plain = name.endswith(("_rope_224", "_rope_ape_224"))  # positions that do not refer to the grid of the pretraining
    angles = index_angles(
        grid,
        width // heads,
        100.0 if plain else 10000.0,
        None if plain else (reference, reference) if isinstance(reference, int) else tuple(reference),
        offset=1.0 if perception and checkpoint.has("cls_token") else 0.0,
        columns_first=plain or perception,
    )
    return replace(style, rotate=rotary(angles, prefix, True, "stem_rope"))


FAMILY = Family(
    name="EVA (timm)",
    # Left out: blocks with normalization at their ends (enormous), learnt rotations (mixed), grouped queries (sapiens2).
    timm=r"eva02_(tiny|small|base|large)_.*|eva_giant_.*|vit_pe_.*|vit_.*_(dinov3|dinov3_qkvb|lingbot)|vit_.*_rope_reg\d_gap_\d+"
    r"|vit_.*_rope_(ape_)?224",
    transformers=(),
    build=build,
    left_out=(r"head\..*", "mask_token"),
    examples=(
        "eva02_tiny_patch14_336",
        "eva02_small_patch14_336",
        "eva02_base_patch14_448",
        "vit_small_patch16_dinov3",
        "vit_base_patch16_dinov3",
        "vit_pe_core_base_patch16_224",
        "vit_base_patch16_rope_reg1_gap_256",
    ),
    fixed_size=True,
    paper="https://arxiv.org/abs/2303.11331",
)
