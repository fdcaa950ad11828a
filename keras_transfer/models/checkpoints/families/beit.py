"""BEiT of timm and transformers: a vision transformer with relative positions (Bao et al. 2021, https://arxiv.org/abs/2106.08254).

transformers' data2vec (Baevski et al. 2022, https://arxiv.org/abs/2202.03555) is the same network.
"""

from __future__ import annotations

import math
from dataclasses import replace

import keras

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.families.vit import KNOWN_ARGS, network
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import known_args, numbers, stated_args, stated_heads
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.relative import relative_bias, resample_linear
from keras_transfer.models.checkpoints.resample import resample
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import Names, Style, block, mean_of, norm, patches, with_tokens

_NAMES = Names(scale1="gamma_1", scale2="gamma_2")
_TABLE = "attn.relative_position_bias_table"


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    width = checkpoint.shape("patch_embed.proj.weight")[0]
    known_args(checkpoint, (*KNOWN_ARGS, "scale_mlp", "use_abs_pos_emb", "use_fc_norm"))
    heads = stated_heads(checkpoint, width // 64)
    return network(checkpoint, image_size, _NAMES, lambda grid, prefix: _style(checkpoint, grid, heads))


def _style(checkpoint: Part, grid: tuple[int, int], heads: int) -> Style:
    trained = _trained_grid(checkpoint)

    def bias(x: Tensor, part: Part) -> Tensor:
        rows = part.take(_TABLE, ((2 * trained[0] - 1) * (2 * trained[1] - 1) + 3, heads))
        table = rows[:-3].reshape(2 * trained[0] - 1, 2 * trained[1] - 1, heads)
        table = resample_linear(table, (2 * grid[0] - 1, 2 * grid[1] - 1))
        return relative_bias(x, part.name("relative"), table, rows[-3:])

    return replace(Style(heads), bias=bias)


def _trained_grid(checkpoint: Part) -> tuple[int, int]:
    """Return rows and columns of patches that the table of distances is for."""
    count = checkpoint.shape(f"blocks.0.{_TABLE}")[0] - 3
    patch = checkpoint.shape("patch_embed.proj.weight")[2:]
    stated = stated_args(checkpoint).get("img_size", checkpoint.facts.image_size)
    size = (stated, stated) if isinstance(stated, int) else tuple(stated)
    grid = (int(size[0]) // patch[0], int(size[1]) // patch[1])
    if (2 * grid[0] - 1) * (2 * grid[1] - 1) == count:
        return grid
    side = math.isqrt(max(count, 0))
    if side * side != count or side % 2 == 0:
        raise UserError(f"the checkpoint's table of {count} relative positions is for no square grid")
    return (side + 1) // 2, (side + 1) // 2


_NAMES_OF_TRANSFORMERS = Names(
    norm1="layernorm_before",
    qkv="",
    q="attention.attention.query",
    k="attention.attention.key",
    v="attention.attention.value",
    proj="attention.output.dense",
    scale1="lambda_1",
    norm2="layernorm_after",
    fc1="intermediate.dense",
    fc2="output.dense",
    scale2="lambda_2",
)
_TABLE_OF_TRANSFORMERS = "attention.attention.relative_position_bias.relative_position_bias_table"
_SHARED_TABLE = "encoder.relative_position_bias.relative_position_bias_table"


def build_of_transformers(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network of a model of transformers; see :class:`.family.Family`."""
    config = checkpoint.facts.config
    if config.get("use_absolute_position_embeddings"):
        raise Unsupported(f"{checkpoint.facts.architecture} with use_absolute_position_embeddings is not supported")
    prefix = checkpoint.facts.architecture.replace("-", "_")
    checkpoint = checkpoint.part(prefix, "") if checkpoint.has(f"{prefix}.embeddings.cls_token") else checkpoint
    stem, head = checkpoint.part("", "stem"), checkpoint.part("", "head")
    image = keras.Input((*image_size, 3), name="pixels")
    x, grid = patches(image, stem, "embeddings.patch_embeddings.projection")
    x = with_tokens(x, image, [("stem_cls_token", stem.take("embeddings.cls_token"))])
    heads = config.get("num_attention_heads", 12)
    if type(heads) is not int or heads < 1:
        raise UserError(f"config.json: num_attention_heads: expected a number above 0, got {str(heads)[:40]!r}")
    style = Style(heads, float(config.get("layer_norm_eps", 1e-12)), str(config.get("hidden_act", "gelu")))
    if checkpoint.has(f"encoder.layer.0.{_TABLE_OF_TRANSFORMERS}"):
        style = replace(
            style, bias=lambda tokens, part: _bilinear_bias(tokens, part, _TABLE_OF_TRANSFORMERS, grid, heads)
        )
    elif config.get("use_shared_relative_position_bias"):  # of all blocks, as in BEiT's pretraining
        shared = _bilinear_bias(x, stem, _SHARED_TABLE, grid, heads)
        style = replace(style, bias=lambda tokens, part: shared)
    (depth,) = numbers([config.get("num_hidden_layers", 12)], "num_hidden_layers")
    checkpoint.check_alike([f"encoder.layer.{number}" for number in range(depth)], ("relative_position_index",))
    for number in range(depth):
        x = block(x, checkpoint.part(f"encoder.layer.{number}", f"block{number}"), _NAMES_OF_TRANSFORMERS, style)
    if not config.get("use_mean_pooling", True):
        return keras.Model(image, norm(x, head, "layernorm", style.epsilon)[:, 0], name="beit")
    x = norm(mean_of(x[:, 1:], "head_mean"), head, "pooler.layernorm", style.epsilon)
    return keras.Model(image, x, name="beit")


def _bilinear_bias(x: Tensor, part: Part, key: str, grid: tuple[int, int], heads: int) -> Tensor:
    rows = part.take(key)
    side = math.isqrt(max(len(rows) - 3, 0))
    if side * side + 3 != len(rows) or side % 2 == 0 or rows.shape[1] != heads:
        raise UserError(
            f"the checkpoint's table of relative positions has shape {rows.shape}, which is for no square grid of {heads} heads"
        )
    table = resample(rows[:-3].reshape(side, side, heads), (2 * grid[0] - 1, 2 * grid[1] - 1), "bilinear", False)
    return relative_bias(x, part.name("relative"), table, rows[-3:])


FAMILY = Family(
    name="BEiT (timm)",
    timm=r"beit_.*|beitv2_.*",
    transformers=(),
    build=build,
    left_out=(r"head\..*", "mask_token"),
    examples=("beit_base_patch16_224", "beitv2_base_patch16_224"),
    fixed_size=True,
    paper="https://arxiv.org/abs/2106.08254",
)

FAMILY_OF_TRANSFORMERS = Family(
    name="BEiT (transformers)",
    timm="",
    transformers=("beit", "data2vec-vision"),
    build=build_of_transformers,
    left_out=(r"classifier\..*", r".*mask_token", r"lm_head\..*"),
    examples=(),
    fixed_size=True,
    paper="https://arxiv.org/abs/2106.08254",
)
